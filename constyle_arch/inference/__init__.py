"""Restoring images of any size in bounded memory."""

from constyle_arch.archs.local_statistics import use_local_statistics
from constyle_arch.inference.restoring import restore

__all__ = ["restore", "use_local_statistics"]
