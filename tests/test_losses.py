"""Losses: their formulas, their weights, and those of a plugin."""

import re

import numpy as np
import pytest
import torch

from constyle_arch.archs.constyle_arch import Codes
from constyle_arch.losses import ContentLoss, FFTLoss, InfoNCELoss, PSNRLoss, StyleLoss
from constyle_arch.losses.options import by_log_name
from tests.processes import run_command
from tests.shared import training_options, write_options
from tests.steps import batch, optimized_once


@pytest.mark.parametrize("missing", ["pixel_opt", "contrastive_opt", "content_opt", "style_opt"])
def test_each_loss_may_be_left_out(make_model, missing):
    model = make_model(**{missing: None})
    model.feed_data(batch(1))
    model.optimize_parameters(1)
    names = {
        "pixel_opt": "l_pix",
        "contrastive_opt": "l_contrastive",
        "content_opt": "l_content",
        "style_opt": "l_style",
    }
    logged = {name for name in model.get_current_log() if name.startswith("l_")}
    assert logged == set(names.values()) - {names[missing]}


def test_loss_weights_scale_the_losses():
    codes = Codes(torch.randn(4, 128), torch.randn(4, 128))
    others = Codes(torch.randn(4, 128), torch.randn(4, 128))
    queue = torch.randn(128, 10)
    for loss, inputs in (
        (InfoNCELoss, (codes.c2, others.c2, queue)),
        (ContentLoss, (codes.c2, others.c2)),
        (StyleLoss, (codes, others)),
    ):
        torch.testing.assert_close(loss(loss_weight=2.5)(*inputs), 2.5 * loss()(*inputs))


PLUGIN = """
import torch
from basicsr.utils.registry import LOSS_REGISTRY

@LOSS_REGISTRY.register()
class MeanColorLoss(torch.nn.Module):
    def __init__(self, loss_weight=1.0):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, restored, clean):
        return self.loss_weight * (restored - clean).mean(dim=(2, 3)).square().mean()

@LOSS_REGISTRY.register()
class CodeNormLoss(torch.nn.Module):
    TAKES = ("query",)

    def forward(self, query):
        return query.square().mean()
"""


def test_losses_of_a_plugin_are_built_added_and_logged_under_their_names(tmp_path, ten_pairs):
    """Whatever they are called; those of the contrast as long as ConStyle trains."""
    (tmp_path / "losses.py").write_text(PLUGIN)
    options = training_options(ten_pairs, total_iter=2, constyle_iter=1)
    options["train"] |= {
        "color_opt": {"type": "MeanColorLoss", "loss_weight": 3},
        "norm_opt": {"type": "CodeNormLoss"},
    }
    file = write_options(tmp_path / "run.yml", options)
    result = run_command("train", "-opt", file, "--plugin", "losses.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    first, second = (
        set(re.findall(r"(l_\w+): ", line))
        for line in result.stderr.splitlines()
        if re.search(r"iter: +[12],", line)
    )
    assert second == {"l_pix", "l_color"}
    assert first == {"l_pix", "l_contrastive", "l_content", "l_style", "l_color", "l_norm"}


def test_every_restoration_loss_is_added_to_what_is_minimised(make_model):
    extra = {
        "charbonnier_opt": {"type": "CharbonnierLoss", "loss_weight": 0.5},
        "psnr_opt": {"type": "PSNRLoss", "loss_weight": 0.01},
        "fft_opt": {"type": "FFTLoss", "loss_weight": 0.1},
    }
    plain, more = make_model(), make_model(**extra)
    without, with_them = (
        optimized_once(plain)["output.weight"],
        optimized_once(more)["output.weight"],
    )
    logged = more.get_current_log()
    assert list(logged)[:7] == [
        *("l_pix", "l_contrastive", "l_content", "l_style"),
        *("l_charbonnier", "l_psnr", "l_fft"),
    ]
    assert logged["l_pix"] == plain.get_current_log()["l_pix"]
    assert not torch.allclose(without, with_them)


def test_losses_are_their_formulas():
    restored, clean = torch.rand(2, 3, 3, 8, 10)
    psnr = [
        10 * np.log10(1 / np.mean((one - other).numpy() ** 2))
        for one, other in zip(restored, clean, strict=True)
    ]
    assert PSNRLoss()(restored, clean).item() == pytest.approx(-np.mean(psnr), rel=1e-5)
    assert PSNRLoss(loss_weight=2)(clean, clean).item() == pytest.approx(-160)
    spectrum = np.fft.rfft2((restored - clean).numpy())
    parts = np.stack([spectrum.real, spectrum.imag])
    assert FFTLoss()(restored, clean).item() == pytest.approx(np.abs(parts).mean(), rel=1e-4)
    assert PSNRLoss(0.5)(restored, clean) == 0.5 * PSNRLoss()(restored, clean)
    assert FFTLoss(0.5)(restored, clean) == 0.5 * FFTLoss()(restored, clean)


def test_perceptual_loss_keeps_the_names_of_its_parts_in_the_log():
    one = torch.tensor(1.0)
    assert by_log_name("perceptual_opt", (one, None)) == {"l_percep": one}
    assert by_log_name("perceptual_opt", (None, one)) == {"l_percep_style": one}
