"""Looking up what options name, and trying out what they ask for."""

from collections.abc import Callable, Generator, Iterator
from typing import Any

from basicsr.utils.registry import MODEL_REGISTRY, Registry

from constyle_arch.errors import UserError

Options = dict[str, Any]
Problems = Iterator[str]

REGISTRY_SUFFIX = "_basicsr"  # of some names, which BasicSR finds without it too


def registered(registry: Registry, name: object, option: str) -> Generator[str, None, Any]:
    """What BasicSR's registry has under a name; None, and a problem, where it has nothing."""
    names = sorted(known.removesuffix(REGISTRY_SUFFIX) for known, _ in registry)
    if str(name).removesuffix(REGISTRY_SUFFIX) in names:
        return registry.get(str(name))
    yield f"{option} is {name!r}, which is not registered; there are {', '.join(names)}."
    return None


def tried(make: Callable[[], object], where: str) -> Problems:
    """Try something out; whatever it raises is a problem of the option `where`."""
    try:
        make()
    except (
        Exception
    ) as error:  # what an option makes a constructor of any project raise is its answer
        plain = isinstance(error, TypeError | ValueError | UserError)
        yield f"{where}: {error if plain else repr(error)}"


def model_of(options: Options) -> object:
    """The class that `model_type` names, or None."""
    return dict(iter(MODEL_REGISTRY)).get(options.get("model_type"))


def is_subclass(candidate: object, parent: type) -> bool:
    """Whether `candidate` is a class, and of this kind."""
    return isinstance(candidate, type) and issubclass(candidate, parent)
