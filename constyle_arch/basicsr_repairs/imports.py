"""Repairs that must be in place before BasicSR is imported."""

import contextlib
import importlib
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def repair_before_import() -> None:
    """Have the repairs below run right before the first `import basicsr`, whoever makes it."""
    if "basicsr" not in sys.modules and not any(
        isinstance(finder, _BeforeBasicSR) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _BeforeBasicSR())


def declare_torchvision_operators() -> None:
    """Import torchvision even where its compiled operators do not fit the installed torch.

    Such a pair (a CUDA torchvision beside a CPU torch, say) fails with "operator torchvision::nms
    does not exist". BasicSR's image path calls none of these operators, so declaring their schemas
    is enough.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        import torch

        global _torchvision_library
        _torchvision_library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            _torchvision_library.define(schema)  # type: ignore[no-untyped-call]
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # what the failed import left half-made
        import torchvision  # noqa: F401


def alias_functional_tensor() -> None:
    """Restore `torchvision.transforms.functional_tensor`, which torchvision 0.17 removed."""
    functional = importlib.import_module("torchvision.transforms.functional")
    sys.modules.setdefault("torchvision.transforms.functional_tensor", functional)


_torchvision_library = None
"""Keeps the declared schemas alive: they end with the object that declares them."""


class _BeforeBasicSR(MetaPathFinder):
    """Finds nothing; notices the import of `basicsr` and repairs what it is about to need."""

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "basicsr":
            # without torchvision there is nothing to repair
            with contextlib.suppress(ModuleNotFoundError):
                declare_torchvision_operators()
                alias_functional_tensor()
        return None
