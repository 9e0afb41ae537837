"""Results of tests, pictures, training curves, the space of ConStyle's codes."""

from constyle_arch.errors import UserError

SIDE = 256
"""Of the image for which computations are counted, in pixels; the field's custom."""


def require_matplotlib() -> None:
    """Check that pictures can be drawn; called before anything that imports matplotlib.

    Raises:
        UserError: matplotlib is not installed, or cannot be imported.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise UserError(
            f'Pictures are drawn with matplotlib ({error}): pip install "constyle-arch[plot]".'
        ) from error
