"""Looking up what options name, and trying out what they ask for."""

from collections.abc import Callable, Iterator
from typing import Any

from basicsr.utils.registry import MODEL_REGISTRY, Registry

from constyle_arch.errors import UserError

Options = dict[str, Any]
Problems = Iterator[str]

REGISTRY_SUFFIX = "_basicsr"  # of some names, which BasicSR finds without it too


def registered(registry: Registry, name: object, option: str) -> Problems:
    """Refuse a name that BasicSR's registry does not have."""
    names = sorted(known.removesuffix(REGISTRY_SUFFIX) for known, _ in registry)
    if str(name).removesuffix(REGISTRY_SUFFIX) not in names:
        yield f"{option} is {name!r}, which is not registered; there are {', '.join(names)}."


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
