"""Putting samples together to a batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import default_collate

from constyle_arch.images import in_unit_range

Sample = dict[str, Any]


def collate(samples: Sequence[Sample]) -> Sample:
    """As `default_collate`; where uint8 images meet others in [0, 1], all become the latter."""
    mixed = [
        key
        for key, value in samples[0].items()
        if isinstance(value, torch.Tensor) and len({sample[key].dtype for sample in samples}) > 1
    ]
    return default_collate(
        [{**sample, **{key: in_unit_range(sample[key]) for key in mixed}} for sample in samples]
    )
