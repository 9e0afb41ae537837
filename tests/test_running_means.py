"""What the regular log shows: means since its last line."""

import math

import pytest
import torch

from constyle_arch.training.running_means import RunningMeans


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(4, 3, 16, 16, generator=generator)
    return {"lq": clean * 0.5, "gt": clean}


def test_log_shows_means_of_the_steps_since_it_was_read(make_model):
    model = make_model()
    losses = []
    for step in range(1, 6):
        model.feed_data(batch(step))
        model.optimize_parameters(step)
        losses.append(float(model.measured["l_pix"]))
        if step == 2:
            assert model.get_current_log()["l_pix"] == pytest.approx(sum(losses) / 2)
    assert len(set(losses)) == 5
    assert model.get_current_log()["l_pix"] == pytest.approx(sum(losses[2:]) / 3)


def test_steps_that_are_not_finite_do_not_count():
    means, no, yes = RunningMeans(), torch.tensor(0.0), torch.tensor(1.0)
    for value, skipped in ((1.0, no), (math.nan, yes), (4.0, no)):
        means.add({"l_pix": torch.tensor(value)}, skipped)
    assert float(means.read()["l_pix"]) == 2.5
    means.add({"l_pix": torch.tensor(math.inf), "new": torch.tensor(3.0)}, yes)
    assert all(math.isnan(float(mean)) for mean in means.read().values())
    means.add({"new": torch.tensor(5.0)}, no)
    assert {name: float(mean) for name, mean in means.read().items()} == {"new": 5.0}
