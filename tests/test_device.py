"""The package on the device that a user computes on: `make test-gpu` with a GPU, everything on the
CPU without one."""

import copy
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from basicsr.models import build_model

import constyle_arch
from constyle_arch.checkpoints.trained import TRAINED
from constyle_arch.inference.restoring import restore
from constyle_arch.models.acceleration import Acceleration
from tests.golden.formula_weights import formula_input
from tests.networks import GOLDEN, NETWORKS, TINY, assert_agrees, published_state_dict
from tests.resuming import TOTAL, assert_same, options_for, outcome
from tests.shared import REPOSITORY, training_options, write_options

GPUS = min(torch.cuda.device_count(), 1)
DEVICE = torch.device("cuda" if GPUS else "cpu")
PRECISIONS = ("off", "bf16", "fp16") if GPUS else ("off", "bf16")
SIDE = 128 if GPUS else 32
STEPS = 20
DETERMINISTIC = REPOSITORY / "tests" / "deterministic.py"


@pytest.fixture(autouse=True)
def float32_as_it_is():
    """Convolutions without TF32, PyTorch's default, which keeps three digits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def command(cwd, *arguments, launcher=(sys.executable, "-m", "constyle_arch")):
    """Run `basicsr` with the GPU in sight."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    result = subprocess.run(
        [*launcher, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result


@pytest.mark.parametrize(
    "name", [name for name in NETWORKS if "small" in name] if not GPUS else NETWORKS
)
def test_network_agrees_with_golden_data(name, tmp_path):
    golden = np.load(GOLDEN / "golden.npz")
    torch.save({"params": published_state_dict(name)}, tmp_path / "published.pth")
    network = constyle_arch.load_network(tmp_path / "published.pth").to(DEVICE)
    lq = torch.from_numpy(
        formula_input(golden[f"{name}/input_shape"], int(golden[f"{name}/input_seed"]))
    )
    with torch.inference_mode():
        assert_agrees(network(lq.to(DEVICE)).cpu(), golden[f"{name}/output"])


@pytest.mark.parametrize("name", TINY)
def test_gradients_are_those_of_the_cpu(name):
    torch.manual_seed(0)
    network, lq = TINY[name]().double(), torch.rand(2, 3, 64, 64, dtype=torch.float64)
    other = copy.deepcopy(network).to(DEVICE)
    for one, images in ((network, lq), (other, lq.to(DEVICE))):
        one(images).square().mean().backward()
    for (parameter, on_cpu), on_device in zip(
        network.named_parameters(), other.parameters(), strict=True
    ):
        torch.testing.assert_close(
            on_device.grad.cpu(), on_cpu.grad, rtol=1e-6, atol=1e-12, msg=parameter
        )


@pytest.mark.parametrize("amp", PRECISIONS)
@pytest.mark.parametrize("name", TINY)
def test_half_precision_restores_alike(name, amp):
    torch.manual_seed(0)
    network, lq = TINY[name]().eval().to(DEVICE), torch.rand(2, 3, SIDE, SIDE, device=DEVICE)
    with torch.inference_mode():
        with Acceleration(amp=amp).autocast(DEVICE):
            half = network(lq)
        torch.testing.assert_close(half, network(lq), rtol=0, atol=0.05)


@pytest.mark.parametrize("amp", PRECISIONS)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "ConStyleMaxim" else ())
        for name in TINY
        if name.startswith("ConStyle")
    ],
)
def test_training_lowers_the_loss(name, amp, ten_pairs, tmp_path):
    options = training_options(ten_pairs, amp=amp, total_iter=STEPS)
    options |= {"is_train": True, "dist": False, "rank": 0, "world_size": 1, "num_gpu": GPUS}
    options["path"] |= {"models": str(tmp_path), "training_states": str(tmp_path)}
    options["network_g"] = {"type": name, **TINY[name].keywords}
    torch.manual_seed(0)
    model = build_model(options)
    gt = torch.rand(4, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    losses = []
    for iteration in range(1, STEPS + 1):
        model.feed_data({"lq": gt / 2.5 + 0.5, "gt": gt})
        model.optimize_parameters(iteration)
        losses.append(model.get_current_log()["l_pix"])
    assert {parameter.device.type for parameter in model.net_g.parameters()} == {DEVICE.type}
    assert all(np.isfinite(list(model.get_current_log().values())))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", TRAINED)
def test_trained_network_gives_the_recorded_result(name):
    network = constyle_arch.load_network(name).to(DEVICE)
    with torch.inference_mode():
        result = network(torch.from_numpy(formula_input((1, 3, 40, 48), 7)).to(DEVICE)).cpu()
    assert np.abs(result.numpy() - np.load(GOLDEN / "trained.npz")[name]).max() < 1e-4


def test_a_photograph_in_tiles_is_restored_as_on_the_cpu():
    torch.manual_seed(0)
    network, pixels = (
        TINY["ConStyleNAFNet"]().eval(),
        formula_input((1, 3, 100, 132), 3)[0].transpose(1, 2, 0),
    )
    on_cpu = restore(network, pixels, tile=64, overlap=16)
    np.testing.assert_allclose(
        restore(network.to(DEVICE), pixels, tile=64, overlap=16), on_cpu, rtol=0, atol=1e-4
    )


@pytest.mark.slow
def test_interrupted_run_ends_as_if_nothing_had_happened(tmp_path):
    """With deterministic kernels, for which a GPU has to be asked."""
    options = options_for(tmp_path) | {"num_gpu": GPUS}
    options["datasets"]["train"] |= {
        "num_worker_per_gpu": 2,
        "prefetch_mode": "cuda" if GPUS else "cpu",
    }
    options["datasets"]["train"] |= {"pin_memory": True} if GPUS else {"num_prefetch_queue": 2}
    homes = []
    for name, totals in (("whole", [TOTAL]), ("interrupted", [6, TOTAL])):
        homes.append(tmp_path / name)
        homes[-1].mkdir()
        for total in totals:
            options["train"]["total_iter"] = total
            file = write_options(tmp_path / "run.yml", options)
            command(homes[-1], "train", "-opt", file, "--auto_resume", "--plugin", DETERMINISTIC)
    assert_same(*map(outcome, homes))


def test_one_process_of_torchrun_trains(tmp_path):
    """With NCCL, where there is a GPU."""
    options = options_for(tmp_path) | {"num_gpu": GPUS}
    torchrun = (
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "1",
    )
    file = write_options(tmp_path / "run.yml", options)
    command(tmp_path, "train", "-opt", file, launcher=(*torchrun, "-m", "constyle_arch"))
    log = next((tmp_path / "experiments" / "tiny").glob("train_*.log")).read_text()
    assert "Number of processes: 1" in log
