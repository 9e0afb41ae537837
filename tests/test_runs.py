"""Whole runs through the `basicsr` command, each in a process and a directory of its own."""

import csv
import json
import os
import re
import select
import signal
import sys

import numpy as np
import pytest
import torch
import yaml

from constyle_arch.models.restoration_model import RestorationModel
from constyle_arch.training.runner import run_pipeline
from tests.processes import Command, run_command, run_launched
from tests.shared import (
    REPOSITORY,
    TINY_NAFNET,
    log_of,
    paired_dataset,
    run_with,
    trained,
    training_options,
    write_options,
    write_pairs,
)


def steps_of(state):
    return {float(moments["step"]) for moments in state["optimizers"][0]["state"].values()}


def test_twenty_iterations_on_ten_images_with_batch_sixteen(tmp_path, ten_pairs):
    options = training_options(ten_pairs, total_iter=20)
    options["datasets"]["train"]["batch_size_per_gpu"] = 16
    options["logger"]["save_checkpoint_freq"] = 10
    home = trained(options, tmp_path)
    log = log_of(home)
    assert [f"iter:{i:8,d}" in log for i in (1, 19, 20, 21)] == [True, True, True, False]
    state = torch.load(home / "training_states" / "20.state", weights_only=True)
    assert state["iter"] == 20
    assert steps_of(state) == {20}


def test_a_script_of_ones_own_trains_with_basicsrs_pipeline(tmp_path, ten_pairs, two_pairs):
    (tmp_path / "train.py").write_text(
        "from pathlib import Path\n\nimport constyle_arch\n\nconstyle_arch.register()\n\n"
        "from basicsr.train import train_pipeline\n\ntrain_pipeline(str(Path.cwd()))\n"
    )
    options = training_options(ten_pairs, two_pairs)
    by_command = trained(options | {"name": "command"}, tmp_path)
    file = write_options(tmp_path / "script.yml", options | {"name": "script"})
    result = run_launched((sys.executable, "train.py"), "-opt", file, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    homes = by_command.with_name("script"), by_command
    by_script, by_command = (weights_of(home, "latest", "params_ema") for home in homes)
    for tensor, value in by_script.items():
        assert torch.equal(value, by_command[tensor]), tensor


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory, ten_pairs, two_pairs):
    cwd = tmp_path_factory.mktemp("finished")
    options = training_options(ten_pairs, two_pairs, total_iter=5, constyle_iter=3)
    options["datasets"]["train"]["num_worker_per_gpu"] = 2
    options["logger"]["use_tb_logger"] = True
    options["val"] |= {"save_img": True, "save_comparison": True}
    return cwd, trained(options, cwd)


def test_training_leaves_checkpoints_and_logs_below_the_working_directory(finished_run):
    cwd, home = finished_run
    networks = {f"net_g_{version}.pth" for version in ("2", "4", "latest", "best")}
    models = {path.name for path in (home / "models").iterdir()}
    assert models == networks | {"metrics_history.json"}
    assert list((cwd / "tb_logger" / "tiny").iterdir())
    log = log_of(home)
    losses = ("l_pix", "l_contrastive", "l_content", "l_style")
    for key in (*losses, "cos_positive", "cos_negatives", "code_std"):
        assert f"{key}: " in log
    assert "ConStyle is frozen" in log
    assert log.count("Validation pairs") == 3  # at 2, at 4, at the end
    shown = home / "visualization" / "pairs"
    pictures = {f"validation_{i:06d}.jpg" for i in (2, 4, 5)}
    assert {path.name for path in shown.glob("*.jpg")} == pictures
    images = {f"000_{i}{suffix}.png" for i in (2, 4, 5) for suffix in ("", "_comparison")}
    assert {path.name for path in (shown / "000").iterdir()} == images


def test_validation_pictures_are_in_the_folder_and_in_tensorboard(finished_run):
    import cv2
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    cwd, home = finished_run
    events = EventAccumulator(str(cwd / "tb_logger" / "tiny"), size_guidance={"images": 0}).Reload()
    shown = events.Images("validation/pairs")
    assert [image.step for image in shown] == [2, 4, 5]
    for image in shown:
        file = home / "visualization" / "pairs" / f"validation_{image.step:06d}.jpg"
        picture = cv2.imread(str(file))
        assert picture.shape == (image.height, image.width, 3)
        logged = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(logged.astype(int) - picture).mean() < 8  # JPEG changes small letters
    assert picture.shape[1] > 3 * 51
    assert picture.shape[0] > 2 * 37  # both images


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_terminal_shows_one_line_and_a_file_none(tmp_path, ten_pairs, two_pairs):
    import pty
    import termios

    options = training_options(ten_pairs, two_pairs, total_iter=4)
    options = write_options(tmp_path / "run.yml", options)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, 200))
    command = Command("train", "-opt", options, cwd=tmp_path, terminal=os.ttyname(theirs))
    seen = b""
    while (there := select.select([ours], [], [], 0.05)[0]) or command.runs:
        seen += os.read(ours, 4096) if there else b""
    assert command.wait().returncode == 0
    os.close(ours)
    os.close(theirs)
    terminal, log = seen.decode(), log_of(tmp_path / "experiments" / "tiny")
    last = [line for line in re.split("[\r\n]", terminal) if "4/4" in line][-1]
    assert "l_pix" in last
    best = re.findall(r"Best: ([\d.]+) @ 2 iter", log)
    assert f"best psnr {float(best[0]):.2f}" in last
    assert "[epoch:" not in terminal
    assert log.count("[epoch:") == 4
    assert "Validation pairs" in terminal

    quiet = run_command("train", "-opt", options, "--archive", cwd=tmp_path)
    assert "[epoch:" in quiet.stdout + quiet.stderr
    assert "\r" not in quiet.stdout + quiet.stderr
    start = quiet.stderr.split("[epoch:")[0].splitlines()
    assert len(start) <= 15
    file = next((tmp_path / "experiments" / "tiny").glob("train_*.log"))
    assert start[0].endswith(f"are in {file}.")
    assert "PyTorch: " in log
    assert "  total_iter: 4\n" in log


def test_trained_network_is_tested_on_whole_images(finished_run, two_pairs):
    cwd, home = finished_run
    options = yaml.safe_load((home / "run.yml").read_text())
    for key in ("train", "logger"):
        del options[key]
    options["datasets"] = {"test": paired_dataset(two_pairs)}
    options["path"] = {"pretrain_network_g": str(home / "models/net_g_best.pth")}
    options["path"] |= {"param_key_g": "params_ema", "strict_load_g": True}
    options["val"] = {**options["val"], "val_freq": None}
    result = run_with("test", options, cwd)
    assert result.returncode == 0, result.stderr[-3000:]

    results = cwd / "results" / "tiny"
    rows = {row["image"]: row for row in csv.DictReader((results / "results.csv").open())}
    assert {row["benchmark"] for row in rows.values()} == {"pairs"}
    assert set(rows) == {"000", "001", "mean"}
    import cv2
    from skimage.metrics import peak_signal_noise_ratio

    for name in ("000", "001"):
        clean, lq = (cv2.imread(str(two_pairs / side / f"{name}.png")) for side in ("gt", "lq"))
        restored = cv2.imread(str(results / "visualization" / "pairs" / f"{name}_tiny.png"))
        assert restored.shape == clean.shape == (37, 51, 3)
        for column, image in (("psnr", restored), ("input_psnr", lq)):
            psnr = peak_signal_noise_ratio(clean, image)
            assert float(rows[name][column]) == pytest.approx(psnr, abs=1e-6)
    first, second, mean = (float(rows[name]["psnr"]) for name in ("000", "001", "mean"))
    assert mean == pytest.approx((first + second) / 2)


def test_best_checkpoint_is_the_network_of_the_best_validation(finished_run):
    _, home = finished_run
    log = log_of(home)
    best = int(log.rsplit("Best: ", 1)[1].split("@ ")[1].split()[0])
    name = "latest" if best == 5 else str(best)
    stored = [weights_of(home, version) for version in ("best", name)]
    assert all(torch.equal(tensor, stored[1][key]) for key, tensor in stored[0].items())


def test_validation_shows_the_inputs_score_and_the_gain(finished_run, two_pairs):
    import cv2
    from skimage.metrics import peak_signal_noise_ratio

    _, home = finished_run
    pairs = [
        [cv2.imread(str(two_pairs / side / f"{name}.png")) for side in ("gt", "lq")]
        for name in ("000", "001")
    ]
    before = np.mean([peak_signal_noise_ratio(clean, degraded) for clean, degraded in pairs])
    lines = re.findall(r"# psnr: ([\d.]+)\tinput ([\d.]+), gain ([-+][\d.]+)\t", log_of(home))
    history = json.loads((home / "models" / "metrics_history.json").read_text())
    assert len(lines) == len(history)
    for (after, given, gain), record in zip(lines, history, strict=True):
        assert float(given) == pytest.approx(before, abs=1e-4)
        assert float(after) == pytest.approx(record["scores"]["psnr"], abs=1e-4)
        assert float(gain) == pytest.approx(float(after) - before, abs=2e-4)


def weights_of(home, version, key="params"):
    return torch.load(home / "models" / f"net_g_{version}.pth", weights_only=True)[key]


def test_run_goes_on_where_it_was(tmp_path, ten_pairs, two_pairs):
    home = trained(training_options(ten_pairs, two_pairs, total_iter=4), tmp_path)
    history = json.loads((home / "models" / "metrics_history.json").read_text())
    before = {key: weights_of(home, 4, key) for key in ("params", "params_ema")}
    # nothing left to do
    trained(training_options(ten_pairs, two_pairs, total_iter=4), tmp_path, "--auto_resume")
    for key, weights in before.items():
        latest = weights_of(home, "latest", key)
        assert all(torch.equal(tensor, weights[name]) for name, tensor in latest.items())

    trained(training_options(ten_pairs, two_pairs, total_iter=7), tmp_path, "--auto_resume")
    assert [path.name for path in (tmp_path / "experiments").iterdir() if path.is_dir()] == ["tiny"]
    logs = "".join(path.read_text() for path in home.glob("train_*.log"))
    assert "Resuming training from epoch: 1, iter: 4" in logs
    state = torch.load(home / "training_states" / "6.state", weights_only=True)
    assert int(state["contrast"]["pointer"]) == 6 * 4 % 24
    assert steps_of(state) == {6}
    after = json.loads((home / "models" / "metrics_history.json").read_text())
    assert after[: len(history)] == history
    assert [record["iter"] for record in after] == [2, 4, 6, 7]

    options = training_options(ten_pairs, total_iter=9, contrast={"queue_size": 12})
    result = run_with("train", options, tmp_path, "--auto_resume")
    assert result.returncode == 2
    assert "train.contrast.queue_size: 24 → 12" in result.stderr


def test_workers_with_cpu_prefetch_do_not_hang(tmp_path, ten_pairs):
    options = training_options(ten_pairs, total_iter=9)
    options["datasets"]["train"] |= {"prefetch_mode": "cpu", "num_worker_per_gpu": 2}
    trained(options, tmp_path)


def test_image_that_breaks_while_training_is_named_without_a_traceback(tmp_path):
    data = write_pairs(tmp_path / "data", 6)
    (data / "lq" / "003.png").write_bytes(b"broken")
    options = training_options(data, total_iter=9)
    options["datasets"]["train"]["num_worker_per_gpu"] = 1
    result = run_with("train", options, tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("basicsr: error: ")
    assert "003.png cannot be decoded" in result.stderr
    assert "Traceback" not in result.stderr
    # the command, corrected, is not refused
    assert not (tmp_path / "experiments" / "tiny").exists()


def test_plain_restoration_network_trains_without_ema(tmp_path, ten_pairs, two_pairs):
    options = training_options(ten_pairs, two_pairs, total_iter=3, ema_decay=0)
    options["model_type"] = "RestorationModel"
    options["network_g"] = TINY_NAFNET
    home = trained(options, tmp_path)
    assert set(torch.load(home / "models" / "net_g_latest.pth", weights_only=True)) == {"params"}
    assert "l_contrastive" not in log_of(home)


def test_network_of_ones_own_operator_trains_as_the_docs_show(tmp_path, ten_pairs):
    page = (REPOSITORY / "docs" / "networks.md").read_text()
    code = page.split("```python\n# my_network.py")[1].split("```")[0]
    (tmp_path / "my_network.py").write_text(code)
    options = training_options(ten_pairs, total_iter=6)
    options |= yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    home = trained(options, tmp_path, "--plugin", "my_network.py")
    assert "Network: ConStyleResidual" in log_of(home)
    weights = torch.load(home / "models" / "net_g_latest.pth", weights_only=True)["params"]
    assert weights["down.0.0.body.0.weight"].shape == (16, 16, 3, 3)
    missing = run_command("train", "-opt", "run.yml", "--plugin", "nowhere.py", cwd=tmp_path)
    assert missing.returncode == 2
    assert "nowhere.py does not exist" in missing.stderr


def test_signal_handlers_are_put_back_after_a_training(tmp_path, ten_pairs, monkeypatch):
    """Of a process that lives on afterwards, as a notebook does; also where the training fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["basicsr"])
    heard = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in heard]
    during = []

    def fail(*_):
        during.extend(signal.getsignal(number) for number in heard)
        raise ZeroDivisionError

    monkeypatch.setattr(RestorationModel, "optimize_parameters", fail)
    options = write_options(tmp_path / "run.yml", training_options(ten_pairs, total_iter=1))
    with pytest.raises(ZeroDivisionError):
        run_pipeline("train", ["-opt", str(options)])
    assert len(during) == 2
    assert not set(during) & set(before)
    assert [signal.getsignal(number) for number in heard] == before


def test_training_that_diverges_says_so_keeps_no_best_network_and_fails(
    tmp_path, ten_pairs, two_pairs
):
    """With too few steps for train.max_skipped_steps to end it."""
    options = training_options(ten_pairs, two_pairs, total_iter=4)
    options["train"]["optim_g"]["lr"] = 1e17
    options["train"]["scheduler"]["eta_mins"] = [1e17, 1e17]
    result = run_with("train", options, tmp_path)
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert "The training has diverged: its last 3 steps were not finite" in last
    assert "no image of pairs is restored to finite numbers" in last
    assert "as iteration 1 left it" in last
    assert "2 restored to NaN or infinite numbers of 2 not averaged" in result.stderr
    for wrong in ("too small", "-inf", "@ -1 iter"):
        assert wrong not in result.stdout + result.stderr
    models = tmp_path / "experiments" / "tiny" / "models"
    networks = {f"net_g_{version}.pth" for version in ("2", "4", "latest")}
    assert {path.name for path in models.glob("*.pth")} == networks
