"""Results of tests, pictures, training curves, the space of ConStyle's codes."""

SIDE = 256
"""Of the image for which computations are counted, in pixels; the field's custom."""
