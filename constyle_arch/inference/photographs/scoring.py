"""Scores of restored photographs, computed by BasicSR."""

import numpy as np

from constyle_arch.images import to_8_bit
from constyle_arch.inference.photographs.photograph import Photograph
from constyle_arch.reporting.pictures import Picture
from constyle_arch.reporting.scores import INPUT, Row

METRICS = {"psnr": "calculate_psnr", "ssim": "calculate_ssim"}


def scored(name: str, degraded: Photograph, restored: Photograph, clean: Photograph) -> Row:
    """PSNR and SSIM of a degraded and of a restored photograph, as a row called `name`."""
    from basicsr.metrics import calculate_metric

    row: dict[str, str | float | None] = {"image": name}
    truth = as_picture(clean)
    for prefix, photograph in ((INPUT, degraded), ("", restored)):
        pair = {"img": as_picture(photograph), "img2": truth}
        for metric, function in METRICS.items():
            score = calculate_metric(pair, {"type": function, "crop_border": 0})
            row[f"{prefix}{metric}"] = float(score)
    return row


def as_picture(photograph: Photograph) -> Picture:
    """A photograph's colours as people see them: 8 bits, BGR."""
    return np.ascontiguousarray(to_8_bit(photograph.colors)[..., ::-1])
