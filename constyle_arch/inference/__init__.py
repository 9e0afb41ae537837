"""Restoring images of any size in bounded memory."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from constyle_arch.archs.local_statistics import use_local_statistics
    from constyle_arch.inference.restoring import restore

__all__ = ["restore", "use_local_statistics"]

if not TYPE_CHECKING:
    HOMES = {"restore": "inference.restoring", "use_local_statistics": "archs.local_statistics"}

    def __getattr__(name: str) -> object:
        """Import torch once it is asked for: finding photographs needs none."""
        if name in HOMES:
            return getattr(import_module(f"constyle_arch.{HOMES[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
