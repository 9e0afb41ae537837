"""IRConStyle (arXiv 2402.15784) for BasicSR: networks, contrastive training and the `basicsr` command.

Importing this package is cheap and makes `import basicsr` work on today's PyTorch. Importing one of
`constyle_arch.archs`, `.data`, `.losses` or `.models` registers what it holds with BasicSR;
`constyle_arch.register()` imports all four.
"""

from constyle_arch.repairs.imports import repair_before_import

__all__ = ["__version__", "register"]
__version__ = "0.1.0"

repair_before_import()


def register() -> None:
    """Register every architecture, data set, loss and model of this package with BasicSR."""
    import constyle_arch.archs
    import constyle_arch.data
    import constyle_arch.losses
    import constyle_arch.models  # noqa: F401
