"""The registry of architectures: BasicSR's, or a substitute where BasicSR is not installed.

Restoring needs no more of BasicSR than this. Data sets, losses and models are registered with
BasicSR itself.
"""

from collections.abc import Callable, Iterator
from typing import Any

from constyle_arch.basicsr_repairs.imports import load_registries
from constyle_arch.errors import RunError

__all__ = ["ARCH_REGISTRY", "HAS_BASICSR", "Registry", "is_architecture", "require_basicsr"]

INSTALL = 'pip install --no-build-isolation "constyle-arch[train]"'

load_registries()

try:
    from basicsr.utils.registry import ARCH_REGISTRY, Registry

    HAS_BASICSR = True
except ModuleNotFoundError as error:
    if error.name != "basicsr":
        raise
    HAS_BASICSR = False

    class Registry:  # type: ignore[no-redef]
        """Objects by their names."""

        def __init__(self, name: str) -> None:
            self.name, self.objects = name, dict[str, Any]()

        def register(self) -> Callable[[Any], Any]:
            """A decorator that adds a class or function under its name."""

            def add(entry: Any) -> Any:
                self.objects[entry.__name__] = entry
                return entry

            return add

        def get(self, name: str) -> Any:
            """The object of that name; KeyError where there is none."""
            return self.objects[name]

        def __contains__(self, name: object) -> bool:
            return name in self.objects

        def __iter__(self) -> Iterator[tuple[str, Any]]:
            return iter(self.objects.items())

    ARCH_REGISTRY = Registry("arch")


def is_architecture(name: str) -> bool:
    """Whether a network of this package, of BasicSR or of a plugin is called so."""
    if name and name not in ARCH_REGISTRY:
        import constyle_arch

        constyle_arch.register()  # BasicSR's networks
    return name in ARCH_REGISTRY


def require_basicsr(what: str) -> None:
    """Refuse `what` where BasicSR is not installed.

    Raises:
        RunError: it is not.
    """
    if not HAS_BASICSR:
        raise RunError(f"{what} needs BasicSR, which is not installed: {INSTALL}")
