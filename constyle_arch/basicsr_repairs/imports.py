"""Repairs that must be in place before BasicSR, or spandrel, is imported."""

import contextlib
import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

REGISTRIES = "basicsr.utils.registry"


def repair_before_import() -> None:
    """Have the repairs below run right before the first such import, whoever makes it."""
    if "basicsr" not in sys.modules and not any(
        isinstance(finder, _BeforeImport) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _BeforeImport())


def declare_torchvision_operators() -> None:
    """Import torchvision even where its compiled operators do not fit the installed torch.

    Such a pair (a CUDA torchvision beside a CPU torch, say) fails with "operator torchvision::nms
    does not exist". Neither BasicSR's image path nor spandrel calls these operators, so declaring
    their schemas is enough.
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


def load_registries() -> None:
    """Load BasicSR's registries without the rest of BasicSR, which takes three times as long to
    import as torch: its networks, data sets and models are for training.

    A later `import basicsr` takes this module and fills it.
    """
    package = None if "basicsr" in sys.modules else PathFinder.find_spec("basicsr")
    if REGISTRIES in sys.modules or package is None or package.origin is None:
        return
    file = Path(package.origin).parent / "utils" / "registry.py"
    spec = spec_from_file_location(REGISTRIES, file)
    if spec is None or spec.loader is None:
        return
    sys.modules[REGISTRIES] = module = module_from_spec(spec)
    spec.loader.exec_module(module)


_torchvision_library = None
"""Keeps the declared schemas alive: they end with the object that declares them."""


class _Loaded(Loader):
    """Loads a module that is there already."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        pass


class _BeforeImport(MetaPathFinder):
    """Notices the import of `basicsr` or `spandrel` and repairs what it is about to need; finds
    nothing but registries that were loaded alone.
    """

    registries: ModuleType | None = None

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in ("basicsr", "spandrel"):
            # without torchvision there is nothing to repair
            with contextlib.suppress(ModuleNotFoundError):
                declare_torchvision_operators()
                alias_functional_tensor()
        if fullname == "basicsr":
            # so that the import of this module makes it one of its package
            self.registries = sys.modules.pop(REGISTRIES, self.registries)
        if fullname == REGISTRIES and self.registries:
            return ModuleSpec(fullname, _Loaded(self.registries))
        return None
