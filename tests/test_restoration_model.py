"""What every training has: steps that fail, memory that runs out, checkpoints that are kept."""

from copy import deepcopy

import pytest
import torch
from basicsr.utils.registry import MODEL_REGISTRY

from constyle_arch.errors import RunError
from constyle_arch.models.restoration_model import RestorationModel
from constyle_arch.options.schema import Validation
from tests.shared import equal
from tests.steps import QUEUE, batch, everything


def test_mixup_mixes_what_the_step_trains_on(make_model):
    model = make_model(mixing_augs={"mixup": True, "mixup_beta": 1.2, "use_identity": False})
    images = batch(1)
    restored = []
    model.net_g.register_forward_hook(lambda network, lq, output: restored.append(output[0]))
    model.feed_data(images)
    model.optimize_parameters(1)
    assert not torch.equal(model.lq, images["lq"])
    assert not torch.equal(model.gt, images["gt"])
    assert model.get_current_log()["l_pix"] == pytest.approx(
        (restored[0] - model.gt).abs().mean().item()
    )


def test_gradients_are_clipped_to_the_norm_asked_for(make_model):
    model = make_model(grad_clip_norm=1e-3)
    model.feed_data(batch(1))
    model.optimize_parameters(1)
    gradients = [
        parameter.grad.norm()
        for parameter in model.net_g.parameters()
        if parameter.grad is not None
    ]
    assert torch.stack(gradients).norm() == pytest.approx(1e-3, rel=1e-3)
    assert model.get_current_log()["grad_norm"] > 1e-3


@pytest.mark.parametrize("where", ["lq", "gt"])
def test_step_that_is_not_finite_changes_nothing_and_is_counted(make_model, where, caplog):
    model = make_model(contrast={"queue_size": QUEUE})
    model.feed_data(batch(1))
    model.optimize_parameters(1)
    before = everything(model)
    broken = batch(2)
    broken[where][0, 0, 0, 0] = float("nan")
    model.feed_data(broken)
    model.optimize_parameters(2)
    assert equal(everything(model), before)
    assert model.non_finite.total == model.non_finite.in_a_row == 1
    assert "Iteration 2 was skipped: its loss or gradient is not finite (l_pix nan" in caplog.text
    model.feed_data(batch(3))
    model.optimize_parameters(3)
    assert not equal(everything(model), before)
    assert (model.non_finite.total, model.non_finite.in_a_row) == (1, 0)


def test_run_stops_after_some_steps_in_a_row_that_are_not_finite(make_model):
    model = make_model(contrast={"queue_size": QUEUE}, max_skipped_steps=3)
    broken = batch(2)
    broken["gt"][:] = float("inf")
    for iteration in (1, 2):
        model.feed_data(broken)
        model.optimize_parameters(iteration)
    model.feed_data(broken)
    with pytest.raises(
        RunError,
        match=r"not finite in 3 steps in a row, the last one iteration 3 .*checkpoints saved",
    ):
        model.optimize_parameters(3)


def test_what_the_last_good_step_left_is_saved_though_later_ones_were_not_finite(
    make_model, tmp_path
):
    model = make_model(contrast={"queue_size": QUEUE}, total_iter=4)
    model.feed_data(batch(1))
    model.optimize_parameters(1)
    good = deepcopy(model.net_g.state_dict())
    broken = batch(2)
    broken["gt"][:] = float("inf")
    for iteration in (2, 3, 4):
        model.feed_data(broken)
        model.optimize_parameters(iteration)
        if iteration == 2:
            model.save(epoch=0, current_iter=2)
    with pytest.raises(
        RunError, match=r"diverged: its last 3 steps were not finite.* iteration 1 left it"
    ):
        model.save(epoch=0, current_iter=-1)
    for name in ("net_g_2.pth", "net_g_latest.pth"):
        assert equal(torch.load(tmp_path / name, weights_only=True)["params"], good)
    resumed = make_model(contrast={"queue_size": QUEUE})
    resumed.resume_training(torch.load(tmp_path / "2.state", weights_only=True))
    # so that a resumed run stops where it would have stopped
    assert resumed.non_finite.in_a_row == 1


def test_single_step_at_the_end_that_was_not_finite_does_not_fail_the_run(make_model, tmp_path):
    model = make_model(contrast={"queue_size": QUEUE}, total_iter=1)
    broken = batch(1)
    broken["gt"][:] = float("inf")
    model.feed_data(broken)
    model.optimize_parameters(1)
    model.save(epoch=0, current_iter=-1)
    assert (tmp_path / "net_g_latest.pth").is_file()


def test_memory_that_runs_out_names_what_to_lower(make_model, monkeypatch):
    model = make_model(contrast={"queue_size": QUEUE})

    def without_memory(*_):
        raise RuntimeError(
            "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."
        )

    monkeypatch.setattr(model, "compute_losses", without_memory)
    model.feed_data(batch(1))
    with pytest.raises(
        RunError,
        match=r"iteration 1\. Lower datasets\.train\.batch_size_per_gpu \(4\) or .*gt_size \(16\)",
    ):
        model.optimize_parameters(1)


def test_old_checkpoints_are_removed_and_the_newest_can_be_resumed_from(make_model, tmp_path):
    model = make_model()
    model.opt["logger"]["keep_checkpoints"] = 2
    # 9 is of an earlier, longer run
    for name in ("net_g_best.pth", "net_g_latest.pth", "net_g_9.pth", "9.state"):
        (tmp_path / name).touch()
    for iteration in (2, 4, 5, 6):
        model.save(0, iteration)
        assert (tmp_path / f"{iteration}.state").is_file()
    kept = {path.name for path in tmp_path.iterdir() if path.is_file()}
    numbered = {
        name for iteration in (5, 6, 9) for name in (f"net_g_{iteration}.pth", f"{iteration}.state")
    }
    assert kept == {"net_g_best.pth", "net_g_latest.pth", *numbered}
    assert torch.load(tmp_path / "6.state")["iter"] == 6


def test_images_to_measure_on_are_restored_in_tiles_where_that_is_asked_for(make_model):
    model, image = make_model(), torch.rand(1, 3, 80, 90)
    outputs = []
    for options in ({}, {"tile": 128}, {"tile": 64, "tile_overlap": 8}, {"amp": "bf16"}):
        model.val = Validation.read({"save_img": False, **options})
        model.feed_data({"lq": image})
        model.test()
        outputs.append(model.output)
        assert model.net_g.training
    torch.testing.assert_close(outputs[1], outputs[0])
    for other in outputs[2:]:
        assert not torch.equal(other, outputs[0])
    assert all(output.shape == image.shape for output in outputs)


def test_model_of_ones_own_has_options_of_its_own(make_model):
    @MODEL_REGISTRY.register()
    class ModelOfOnesOwn(RestorationModel):
        pass

    model = make_model(
        model_type="ModelOfOnesOwn", own_gain=2, contrast={"own": 1, "momentum": 0.5}
    )
    assert (model.opt["train"]["own_gain"], model.opt["train"]["contrast"]["own"]) == (2, 1)
    assert (model.train.ema_decay, model.train.contrast.momentum) == (0.9, 0.5)
