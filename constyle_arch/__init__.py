"""IRConStyle (arXiv 2402.15784) for BasicSR: networks, contrastive training, one command.

Importing this package is cheap and makes `import basicsr` work on today's PyTorch.
`constyle_arch.register()` registers what the package adds with BasicSR. Restoring does without
BasicSR, training needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from constyle_arch.basicsr_repairs.imports import repair_before_import

if TYPE_CHECKING:
    from constyle_arch.checkpoints.loading import load_network
    from constyle_arch.inference.restoring import restore

__all__ = ["__version__", "load_network", "register", "restore"]
__version__ = "0.1.0"

repair_before_import()


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """`load_network` and `restore`, which import torch, as soon as one of them is asked for."""
        homes = {"load_network": "checkpoints.loading", "restore": "inference.restoring"}
        if name in homes:
            return getattr(import_module(f"constyle_arch.{homes[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def register() -> None:
    """Register the package's architectures, data sets, losses and models, and repair BasicSR.

    After that BasicSR's own `train_pipeline` trains them, from your own script, too. Where
    BasicSR is not installed, the architectures alone are registered, which is what restoring needs.
    """
    import constyle_arch.archs
    from constyle_arch.registry import HAS_BASICSR

    if not HAS_BASICSR:
        return
    import basicsr  # noqa: F401 - its networks, of which the registry knows nothing before

    import constyle_arch.data.classified_image_dataset
    import constyle_arch.data.degraded_image_dataset
    import constyle_arch.data.mixed_dataset
    import constyle_arch.data.paired_restoration_dataset
    import constyle_arch.losses
    import constyle_arch.metrics
    import constyle_arch.models  # noqa: F401
    from constyle_arch import basicsr_repairs

    basicsr_repairs.apply()
