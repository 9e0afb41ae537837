"""IRConStyle (arXiv 2402.15784) for BasicSR: networks, contrastive training and the `basicsr` command.

Importing this package is cheap and makes `import basicsr` work on today's PyTorch. `constyle_arch.register()` registers
what the package adds with BasicSR.
"""

from typing import TYPE_CHECKING, Any

from constyle_arch.basicsr_repairs.imports import repair_before_import

if TYPE_CHECKING:
    from torch import nn

__all__ = ["__version__", "load_network", "register", "restore"]
__version__ = "0.1.0"

repair_before_import()


def load_network(*args: Any, **kwargs: Any) -> "nn.Module":
    """The network a checkpoint holds, or one that comes trained, `load_network("denoise")`, ready to call.

    See `constyle_arch.checkpoints.loading.load_network`.
    """
    register()
    from constyle_arch.checkpoints import loading

    return loading.load_network(*args, **kwargs)


def restore(network: "nn.Module", image: Any, **options: Any) -> Any:
    """Restore an array or a tensor, in tiles or whole; see `constyle_arch.inference.restore`."""
    from constyle_arch.inference import restore

    return restore(network, image, **options)


def register() -> None:
    """Register every architecture, data set, loss and model of this package with BasicSR, and repair BasicSR.

    After that BasicSR's own `train_pipeline` trains them, from a script of one's own, too.
    """
    import constyle_arch.archs
    import constyle_arch.data.degraded_image_dataset
    import constyle_arch.data.mixed_dataset
    import constyle_arch.data.paired_restoration_dataset
    import constyle_arch.losses
    import constyle_arch.models  # noqa: F401
    from constyle_arch import basicsr_repairs

    basicsr_repairs.apply()
