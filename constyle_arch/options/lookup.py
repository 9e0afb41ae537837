"""Looking up what options name, and trying out what they ask for."""

from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

from basicsr.utils.registry import MODEL_REGISTRY, Registry

from constyle_arch.errors import UserError

Options = dict[str, Any]
Problems = Iterator[str]
Made = TypeVar("Made")

REGISTRY_SUFFIX = "_basicsr"  # of some names, which BasicSR finds without it too


def registered(registry: Registry, name: object, option: str) -> Generator[str, None, Any]:
    """What BasicSR's registry has under a name; None, and a problem, where it has nothing."""
    names = sorted(known.removesuffix(REGISTRY_SUFFIX) for known, _ in registry)
    if str(name).removesuffix(REGISTRY_SUFFIX) in names:
        return registry.get(str(name))
    yield f"{option} is {name!r}, which is not registered; there are {', '.join(names)}."
    return None


def tried(make: Callable[[], Made], where: str) -> Generator[str, None, Made | None]:
    """What something makes; None, and a problem of the option `where`, if it raises an error."""
    try:
        return make()
    except Exception as error:  # of any project's constructor: it is the answer to the option
        plain = isinstance(error, TypeError | ValueError | UserError)
        yield f"{where}: {error if plain else repr(error)}"
        return None


def model_of(options: Options) -> object:
    """The class that `model_type` names, or None."""
    return dict(iter(MODEL_REGISTRY)).get(options.get("model_type"))


def is_subclass(candidate: object, parent: type) -> bool:
    """Whether `candidate` is a class, and of this kind."""
    return isinstance(candidate, type) and issubclass(candidate, parent)
