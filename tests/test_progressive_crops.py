"""Progressive training: crops and batches that change at given iterations."""

import numpy as np
import pytest
import torch
from basicsr.models import build_model

from constyle_arch.errors import OptionsError
from constyle_arch.models.progressive_crops import ProgressiveCrops
from tests.shared import run_with, training_options

SCHEDULE = {"gt_sizes": [8, 16], "mini_batch_sizes": [4, 2], "iters": [2, 2]}


def options_of(pairs, **changes):
    """A run of Restormer alone, with the option names of its own files."""
    options = training_options(pairs)
    options["model_type"] = "RestorationModel"
    options["network_g"] = {
        "type": "Restormer",
        "dim": 8,
        "num_blocks": [1] * 4,
        "num_refinement_blocks": 0,
    }
    for loss in ("contrast", "contrastive_opt", "content_opt", "style_opt"):
        del options["train"][loss]
    options["datasets"]["train"] |= {**SCHEDULE, **changes}
    return options


def test_network_trains_on_the_crops_of_each_period(ten_pairs, tmp_path):
    options = options_of(ten_pairs) | {"is_train": True, "dist": False, "rank": 0, "world_size": 1}
    options["path"] |= {"models": str(tmp_path), "training_states": str(tmp_path)}
    model = build_model(options)
    seen = []
    model.net_g.register_forward_hook(lambda network, inputs, output: seen.append(inputs[0].shape))
    for iteration in range(1, 7):
        images = torch.rand(2, 4, 3, 16, 16)
        model.feed_data({"lq": images[0], "gt": images[1]})
        model.optimize_parameters(iteration)
    assert seen == [(4, 3, 8, 8)] * 2 + [(2, 3, 16, 16)] * 4


def test_pairs_stay_pairs_and_depend_on_seed_process_and_iteration_alone():
    crops = ProgressiveCrops([8, 4], [3, 2], [5, 5], seed=3)
    numbers = torch.arange(4 * 3 * 16 * 16.0).reshape(4, 3, 16, 16)
    for iteration in (1, 5, 6, 99):
        lq, gt = crops.take([numbers, -numbers], iteration)
        assert torch.equal(lq, -gt)
        assert lq.shape == ((3, 3, 8, 8) if iteration < 6 else (2, 3, 4, 4))
        rows, columns = (np.diff(lq[0, 0].numpy(), axis=axis) for axis in (0, 1))
        assert (rows == 16).all() and (columns == 1).all()  # a window of one image
        again = ProgressiveCrops([8, 4], [3, 2], [5, 5], seed=3).take([numbers], iteration)[0]
        assert torch.equal(again, lq)
    drawn = {
        float(one.take([numbers], iteration)[0].sum())
        for one in (crops,)
        for iteration in range(6, 16)
    }
    assert len(drawn) > 5
    assert not torch.equal(
        ProgressiveCrops([8, 4], [3, 2], [5, 5], 3, rank=1).take([numbers], 6)[0], lq
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"iters": None},
            r"iters None; they must be lists of whole numbers, at least 1, of one length",
        ),
        ({"iters": [2]}, "of one length"),
        ({"gt_sizes": [8, 32]}, r"gt_size is 16 and gt_sizes \[8, 32\]; it must be at least 32"),
        (
            {"mini_batch_sizes": [8, 2]},
            r"batch_size_per_gpu is 4 and mini_batch_sizes \[8, 2\]; it must be at least 8",
        ),
    ],
)
def test_schedule_that_does_not_fit_is_refused(ten_pairs, changes, message):
    with pytest.raises(OptionsError, match=message):
        ProgressiveCrops.from_options(options_of(ten_pairs, **changes))


def test_contrast_keeps_one_size(ten_pairs, tmp_path):
    options = training_options(ten_pairs)
    options["datasets"]["train"] |= SCHEDULE
    result = run_with("check", options, tmp_path)
    assert result.returncode == 2
    assert "ConStyleModel and train.accumulate need batches of one size" in result.stderr
