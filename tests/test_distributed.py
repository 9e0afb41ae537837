"""Runs of two and four processes on the CPU."""

import csv
import json
import os
import socket
import subprocess
import sys

import pytest
import torch
import yaml
from torch import nn

from constyle_arch.archs import ConStyle
from constyle_arch.errors import OptionsError, RunError
from constyle_arch.models.synced_batch_norm import SyncedBatchNorm1d, synchronize
from tests.processes import TORCHRUN, Command, run_command, run_forked, run_launched
from tests.shared import (
    REPOSITORY,
    TINY_NAFNET,
    log_of,
    paired_dataset,
    trained,
    training_options,
    write_options,
    write_pairs,
)

DUMP_RANKS = REPOSITORY / "tests" / "dump_ranks.py"


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_train_and_freeze_together(processes, tmp_path, ten_pairs, two_pairs):
    options = training_options(ten_pairs, two_pairs, total_iter=6, constyle_iter=2)
    options["datasets"]["train"]["batch_size_per_gpu"] = 8 // processes
    home = trained(options, tmp_path, "--plugin", DUMP_RANKS, processes=processes)
    assert f"Number of processes: {processes}" in log_of(home)
    first, *others = ranks = [
        torch.load(tmp_path / f"rank{rank}.pth", weights_only=True) for rank in range(processes)
    ]
    assert int(first["contrast"]["pointer"]) == 16  # two iterations of eight images
    newest = first["contrast"]["queue"][:, 8:16].T  # the second iteration's, rank after rank
    torch.testing.assert_close(newest, torch.cat([rank["codes"] for rank in ranks]))
    for other in others:
        for part in ("queue", "pointer"):
            assert torch.equal(first["contrast"][part], other["contrast"][part])
        assert not torch.equal(first["codes"], other["codes"])
        for part in ("net", "key_encoder"):  # with BatchNorm statistics, the first process's
            for name, tensor in first[part].items():
                assert torch.equal(tensor, other[part][name]), name


def test_error_of_any_process_is_shown(tmp_path):
    data = write_pairs(tmp_path / "data", 10)
    (data / "lq" / "005.png").write_bytes(b"broken")
    options = training_options(data, total_iter=9)
    file = write_options(tmp_path / "run.yml", options)
    result = run_command("train", "-opt", file, cwd=tmp_path, processes=2)
    assert result.returncode != 0
    assert "005.png cannot be decoded" in result.stderr


def test_shared_validation_gives_the_numbers_of_one_process(tmp_path, ten_pairs):
    """Measured by two processes while training, and by one and by two with the network that was
    saved."""
    # an odd number, not dealt out evenly
    val = write_pairs(tmp_path / "val", 5, height=37, width=51)
    options = training_options(ten_pairs, val, total_iter=3, constyle_iter=2)
    options["val"] |= {"val_freq": 3, "save_img": True}
    options["val"]["metrics"]["ssim"] = {
        "type": "calculate_ssim",
        "crop_border": 0,
        "test_y_channel": False,
    }
    home = trained(options, tmp_path, processes=2)
    (record,) = json.loads((home / "models" / "metrics_history.json").read_text())
    assert len(list((home / "visualization" / "pairs").rglob("*.png"))) == 5

    weights = {
        "pretrain_network_g": str(home / "models" / "net_g_latest.pth"),
        "param_key_g": "params_ema",
    }
    test = {key: options[key] for key in ("model_type", "scale", "num_gpu", "network_g", "val")}
    test |= {"path": weights, "datasets": {"test": paired_dataset(val)}}
    tables = []
    for processes, name in enumerate(("one", "two"), start=1):
        file = write_options(tmp_path / f"{name}.yml", {"name": name, **test})
        result = run_command("test", "-opt", file, cwd=tmp_path, processes=processes)
        assert result.returncode == 0, result.stderr[-3000:]
        tables.append((tmp_path / "results" / name / "results.csv").read_text())
    assert tables[0] == tables[1]
    rows = list(csv.DictReader(tables[0].splitlines()))
    assert [row["image"] for row in rows] == ["000", "001", "002", "003", "004", "mean"]
    assert {metric: float(rows[-1][metric]) for metric in ("psnr", "ssim")} == record["scores"]


def test_processes_that_share_a_batch_train_as_one_does(tmp_path, ten_pairs):
    """Without BatchNorm and Gram matrices everything agrees, up to the rounding of sums in another
    order."""
    options = training_options(ten_pairs, total_iter=4, ema_decay=0)
    options["model_type"] = "RestorationModel"
    options["network_g"] = TINY_NAFNET
    options["train"]["optim_g"] = {"type": "SGD", "lr": 0.1, "momentum": 0.9}
    weights = []
    for processes in (1, 2, 4):
        folder = tmp_path / str(processes)
        folder.mkdir()
        options["datasets"]["train"]["batch_size_per_gpu"] = 4 // processes
        home = trained(options, folder, processes=processes)
        weights.append(
            torch.load(home / "models" / "net_g_latest.pth", weights_only=True)["params"]
        )
    start = torch.load(home / "models" / "net_g_2.pth", weights_only=True)["params"]
    of_one, *others = weights
    moved = max(float((start[name] - of_one[name]).abs().max()) for name in start)
    assert moved > 1e-4
    for of_several in others:
        for name, tensor in of_one.items():
            torch.testing.assert_close(tensor, of_several[name], atol=1e-6, rtol=1e-5)


def encode(rank, count, folder):
    """Write the codes of this process's share of four images, the gradients of all, and BatchNorm's
    statistics."""
    torch.set_num_threads(1)
    if count > 1:
        meeting = f"file://{folder}/meeting"
        torch.distributed.init_process_group(
            "gloo", init_method=meeting, rank=rank, world_size=count
        )
    torch.manual_seed(0)
    encoder = ConStyle().double()
    synchronize(encoder)
    codes = encoder(torch.rand(4, 3, 16, 16, dtype=torch.double).chunk(count)[rank]).codes
    sum(code.pow(3).mean() for code in codes).backward()
    gradients = [parameter.grad / count for parameter in encoder.parameters()]
    if count > 1:
        for gradient in gradients:
            torch.distributed.all_reduce(gradient)
        torch.distributed.destroy_process_group()
    torch.save(
        {"codes": codes._asdict(), "same": [*gradients, *encoder.buffers()]},
        folder / f"{rank}_of_{count}.pth",
    )


def test_synced_batch_norm_of_two_processes_is_that_of_one_with_both_batches(tmp_path):
    encode(0, 1, tmp_path)
    run_forked(encode, [(rank, 2, tmp_path) for rank in (0, 1)])
    one, *two = (torch.load(tmp_path / name) for name in ("0_of_1.pth", "0_of_2.pth", "1_of_2.pth"))
    for name, code in one["codes"].items():
        torch.testing.assert_close(torch.cat([each["codes"][name] for each in two]), code)
    for each in two:
        torch.testing.assert_close(each["same"], one["same"])


@pytest.mark.parametrize("sync_bn", [False, True])
def test_batch_norm_of_both_encoders_is_synced_where_the_option_says_so(sync_bn, make_model):
    model = make_model(sync_bn=sync_bn)
    for encoder in (model.net_g.encoder, model.contrast.encoder):
        kinds = {type(module) for module in encoder.modules() if isinstance(module, nn.BatchNorm1d)}
        assert kinds == {SyncedBatchNorm1d if sync_bn else nn.BatchNorm1d}


@pytest.mark.slow
def test_worker_that_is_killed_is_restarted_and_goes_on(tmp_path, ten_pairs):
    options = training_options(ten_pairs, total_iter=6)
    plugin = tmp_path / "die_once.py"
    plugin.write_text(
        "import os, signal\n"
        "from constyle_arch.models.restoration_model import RestorationModel\n"
        "step = RestorationModel.finish_step\n"
        "def die_once(self, *args):\n"
        "    attempt, rank = os.environ['TORCHELASTIC_RESTART_COUNT'], os.environ['RANK']\n"
        "    if (self.current_iter, rank, attempt) == (5, '1', '0'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    step(self, *args)\n"
        "RestorationModel.finish_step = die_once\n"
    )
    write_options(tmp_path / "run.yml", options)
    launcher = (*TORCHRUN, "--max-restarts", "1", "-m", "constyle_arch")
    flags = ("train", "-opt", "run.yml", "--auto_resume", "--plugin", plugin)
    result = run_launched(launcher, *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    home = tmp_path / "experiments" / "tiny"
    assert any(
        "Resuming training from epoch: 2, iter: 4" in path.read_text()
        for path in home.glob("train_*.log")
    )
    (tmp_path / "whole").mkdir()
    whole = trained(options, tmp_path / "whole", processes=2)
    for key in ("params", "params_ema"):
        one, other = (
            torch.load(folder / "models" / "net_g_latest.pth", weights_only=True)[key]
            for folder in (home, whole)
        )
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_launchers_are_called_as_basicsrs_documentation_has_it(tmp_path, ten_pairs):
    """`--launcher pytorch`, by a file of BasicSR's kind, which is given its `--local_rank`."""
    options = training_options(ten_pairs, total_iter=2)
    write_options(tmp_path / "run.yml", options)
    (tmp_path / "basicsrs_train.py").write_text(
        "import os, sys\n"
        "import constyle_arch\n"
        "constyle_arch.register()\n"
        "from basicsr.train import train_pipeline\n"
        "sys.argv.append(f'--local_rank={os.environ[\"LOCAL_RANK\"]}')\n"
        "train_pipeline(os.getcwd())\n"
    )
    flags = ("basicsrs_train.py", "-opt", "run.yml", "--launcher", "pytorch")
    result = run_launched(TORCHRUN, *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Number of processes: 2" in log_of(tmp_path / "experiments" / "tiny")


def test_slurm_starts_a_training(tmp_path, ten_pairs, monkeypatch):
    """Two tasks, as srun starts them, beside a `scontrol` that names this machine."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(
        '#!/bin/sh\ntest "$*" = "show hostnames node[1-2]" && echo 127.0.0.1 && echo 127.0.0.1\n'
    )
    scontrol.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = training_options(ten_pairs, total_iter=2) | {
        "dist_params": {"backend": "nccl", "port": port}
    }
    write_options(tmp_path / "run.yml", options)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    slurm = {"SLURM_NTASKS": "2", "SLURM_NODELIST": "node[1-2]", "SLURM_LOCALID": "0"}
    tasks = [
        Command(
            *("train", "-opt", "run.yml", "--launcher", "slurm"),
            cwd=tmp_path,
            environment={**slurm, "SLURM_PROCID": rank},
        )
        for rank in ("0", "1")
    ]
    for task in tasks:
        ended = task.wait()
        assert ended.returncode == 0, ended.stderr[-2000:]
    assert "Number of processes: 2" in log_of(tmp_path / "experiments" / "tiny")


def test_what_slurm_lacks_is_one_clear_error(monkeypatch):
    from constyle_arch.basicsr_repairs.processes import init_dist
    from constyle_arch.options.reading import read_checked_options

    monkeypatch.delenv("SLURM_PROCID", raising=False)
    options = str(REPOSITORY / "options" / "derain_nafnet.yml")
    with pytest.raises(
        OptionsError, match=r"needs Slurm's SLURM_PROCID, SLURM_NTASKS, SLURM_NODELIST: .* srun"
    ):
        read_checked_options(["-opt", options, "--launcher", "slurm"])
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("SLURM_NODELIST", "node1")
    with pytest.raises(
        RunError, match=r"`scontrol show hostnames node1`, which .* fails: .*No such file"
    ):
        init_dist("slurm")


def test_problem_in_one_process_is_shown_once_and_ends_all(tmp_path, ten_pairs):
    options = training_options(ten_pairs, total_iter=4)
    options["network_g"]["dim"] = 7
    file = write_options(tmp_path / "run.yml", options)
    result = run_command("train", "-opt", file, cwd=tmp_path, processes=2)
    assert result.returncode != 0
    assert result.stderr.count("These options cannot be run") == 1
    assert not (tmp_path / "experiments").exists()


def test_another_number_of_processes_does_not_go_on_silently(tmp_path, ten_pairs):
    options = training_options(ten_pairs, total_iter=2)
    trained(options, tmp_path, processes=2)
    result = run_command("train", "-opt", tmp_path / "run.yml", "--auto_resume", cwd=tmp_path)
    assert result.returncode == 2
    assert "world_size: 2 → 1" in result.stderr


@pytest.mark.slow
def test_nodes_meet_at_the_rendezvous_of_the_docs(tmp_path, ten_pairs):
    """Two launchers of one process each, as on two hosts."""
    import re

    page = (REPOSITORY / "docs" / "training.md").read_text().replace("\\\n", "")
    line = re.search(r"^torchrun --nnodes 2 .*$", page, re.MULTILINE)[0]
    flags = (
        line.replace("HOST:29400", "127.0.0.1:29423")
        .replace("--nproc-per-node 4", "--nproc-per-node 1")
        .split()
    )
    options = training_options(ten_pairs, total_iter=2)
    write_options(tmp_path / "my.yml", options)
    command = [sys.executable, "-m", "torch.distributed.run", *flags[1:]]
    nodes = [
        subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for node in nodes:
        _, errors = node.communicate(timeout=200)
        assert node.returncode == 0, errors[-2000:]
    assert "Number of processes: 2" in log_of(tmp_path / "experiments" / "tiny")
    assert yaml.safe_load((tmp_path / "my.yml").read_text())["name"] == "tiny"
