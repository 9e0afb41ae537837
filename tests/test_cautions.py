"""Doubts that options raise which can be run."""

from dataclasses import replace

import pytest
import torch

from constyle_arch.options.cautions import GIGABYTE, cautions
from constyle_arch.training.step_costs import Disk, Step, disk_of
from tests.bad_options import broken
from tests.shared import training_options


def checked(train, val=None, **train_options):
    """Options as they are once they have been checked."""
    options = training_options(train, val, **train_options)
    options["train"]["scheduler"]["periods"] = [2, 2]
    return options | {"is_train": True}


def test_options_that_are_meant_raise_no_doubts(ten_pairs, two_pairs):
    assert list(cautions(checked(ten_pairs, two_pairs, constyle_iter=4), None, 0)) == []


@pytest.mark.parametrize(
    ("path", "value", "doubt"),
    [
        (
            "train.constyle_iter",
            5,
            "is 5 and the run has 4 iterations, so ConStyle is never frozen",
        ),
        ("train.scheduler.periods", [4, 4], "the first period, 4 iterations, outlasts the run's 4"),
        (
            "datasets.train.num_worker_per_gpu",
            10_000,
            "num_worker_per_gpu is 10000, and this process has",
        ),
        (
            "datasets.val.dataroot_lq",
            "{two}/gt",
            "datasets.val: dataroot_lq and dataroot_gt are one place",
        ),
        (
            "datasets.val.dataroot_gt",
            "{ten}/lq/../gt/",
            "datasets.val measures on images that are trained on",
        ),
    ],
)
def test_options_hardly_meant_raise_doubts(ten_pairs, two_pairs, path, value, doubt):
    if isinstance(value, str):
        value = value.format(two=two_pairs, ten=ten_pairs)
    (found,) = cautions(broken(checked(ten_pairs, two_pairs), path, value), None, 0)
    assert doubt in found


def test_step_that_memory_does_not_hold_is_computed_in_as_few_parts_as_fit(ten_pairs):
    options = checked(ten_pairs)
    options["datasets"]["train"]["batch_size_per_gpu"] = 16
    step = Step(fixed=2 * GIGABYTE, computed=60 * GIGABYTE, parts=1, seconds=None)
    (found,) = cautions(options, step, 20 * GIGABYTE)
    assert "about 62.0 GiB and 20.0 GiB are free; set train.accumulate: 4 at the same rate" in found
    assert replace(step, parts=4).memory <= 20 * GIGABYTE < replace(step, parts=2).memory
    (found,) = cautions(options, step, 5 * GIGABYTE)  # eight parts of two images take more
    assert (
        "accumulate" not in found
        and "batch_size" not in found
        and "train.checkpointing: true" in found
    )
    assert list(cautions(options, step, 62 * GIGABYTE)) == []
    options["model_type"] = "SRModel"  # which reads neither option
    (found,) = cautions(options, step, 20 * GIGABYTE)
    assert "free; set batch_size_per_gpu: 4 with" in found
    assert "accumulate" not in found and "checkpointing" not in found


@pytest.mark.parametrize(("optimizer", "rate"), [("AdamW", "0.0005"), ("SGD", "0.00025")])
def test_batch_that_memory_does_not_hold_may_be_smaller_with_another_rate_and_more_iterations(
    ten_pairs, optimizer, rate
):
    """A quarter of the batch: half the rate for an adaptive optimizer, a quarter for SGD."""
    options = checked(ten_pairs)
    options["datasets"]["train"]["batch_size_per_gpu"] = 16
    options["train"]["optim_g"] |= {"type": optimizer, "lr": 0.001}
    step = Step(fixed=2 * GIGABYTE, computed=60 * GIGABYTE, parts=1, seconds=None)
    (found,) = cautions(options, step, 18 * GIGABYTE)
    assert (
        f"batch_size_per_gpu: 4 with train.optim_g.lr: {rate} and --total-iter 16, as many images"
        in found
    )
    assert "torchrun" not in found
    options |= {"num_gpu": 1, "dist": False}
    (found,) = cautions(options, step, 18 * GIGABYTE, gpus=4)
    assert (
        "set batch_size_per_gpu: 4 for 4 processes (torchrun --nproc-per-node 4), or "
        "train.accumulate: 4" in found
    )


def test_disk_that_will_be_full_is_doubted(ten_pairs):
    disk = Disk(network=2 * GIGABYTE, state=3 * GIGABYTE, count=10, free=50 * GIGABYTE)
    (found,) = cautions(checked(ten_pairs), None, 0, disk)
    assert (
        "10 checkpoints take about 54.0 GiB and 50.0 GiB are free here; raise "
        "logger.save_checkpoint_freq" in found
    )
    assert list(cautions(checked(ten_pairs), None, 0, replace(disk, free=54 * GIGABYTE))) == []


def test_disk_that_is_needed_is_what_a_run_writes(tmp_path, make_model, ten_pairs):
    model = make_model()
    model.feed_data({"lq": torch.rand(4, 3, 16, 16), "gt": torch.rand(4, 3, 16, 16)})
    model.optimize_parameters(1)
    model.save_networks("4")
    model.save_training_state(0, 4)
    disk = disk_of(checked(ten_pairs))
    assert disk.count == 2  # of four iterations, saved every second
    for size, file in ((disk.network, "net_g_4.pth"), (disk.state, "4.state")):
        assert (tmp_path / file).stat().st_size == pytest.approx(size, rel=0.15), file


def test_weeks_on_a_cpu_are_doubted(ten_pairs):
    options = checked(ten_pairs, total_iter=700_000)
    options["train"]["scheduler"]["periods"] = [200_000, 500_000]
    step = Step(fixed=0, computed=0, parts=1, seconds=5.0)
    (found,) = cautions(options, step, 1)
    assert "700000 iterations take about 41 days on this CPU" in found
    assert list(cautions(options, replace(step, seconds=0.1), 1)) == []
