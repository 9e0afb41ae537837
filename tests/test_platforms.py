"""What runs where Linux's own modules are missing, on macOS and Windows, and where BasicSR is not
installed."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from constyle_arch import cli
from tests.networks import random_network

ELSEWHERE = """
import os, pkgutil, importlib, signal, sys
sys.modules["fcntl"] = None  # importing it fails
del signal.sigtimedwait, signal.pthread_sigmask, os.sched_getaffinity
import constyle_arch
from constyle_arch import cli
"""

EVERY_MODULE = f"""{ELSEWHERE}
optional = ("spandrel", "plotting", "latents", "sample")
for module in pkgutil.walk_packages(constyle_arch.__path__, "constyle_arch."):
    if not any(part in module.name for part in (*optional, "__main__")):
        importlib.import_module(module.name)
from constyle_arch.data.workers import available_cores
assert available_cores() >= 1
"""

WITHOUT_BASICSR = f"""{ELSEWHERE}
from importlib.machinery import PathFinder
found = PathFinder.find_spec
def unless_hidden(name, *rest):
    return None if name.split(".")[0] in cli.FOR_TRAINING else found(name, *rest)
PathFinder.find_spec = unless_hidden
"""

INFERENCE = f"""{WITHOUT_BASICSR}
import torch
from constyle_arch.checkpoints import hub
network = constyle_arch.load_network("net.pth")
assert constyle_arch.restore(network, torch.rand(1, 3, 16, 16)).shape == (1, 3, 16, 16)
hub.save_pretrained("net.pth", "shared")
assert type(hub.from_pretrained("shared")) is type(network)
for command in (
    "restore -i photo.png --weights net.pth -o out --device cpu --compare",
    "convert net.pth net.safetensors --key params",
    "info net.pth",
    "export net.pth net.onnx",
):
    assert cli.main(command.split()) == 0, command
from constyle_arch.inference import page  # what `basicsr web` serves
"""

REFUSALS = {
    "train -opt o.yml": "`basicsr train` needs basicsr",
    "test --weights denoise --gt . --noise 25": "`basicsr test` needs basicsr",
    "check -opt o.yml": "`basicsr check` needs basicsr",
    "init denoise --gt .": "`basicsr init` needs basicsr",
    "prepare sample": "`basicsr prepare` needs basicsr",
    "restore -i photo.png --gt photo.png --weights denoise -o scored": "--gt needs BasicSR",
}


def run(script, folder):
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_every_module_is_imported_without_linux(tmp_path):
    result = run(EVERY_MODULE, tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]


def test_inference_runs_without_linux_and_basicsr(tmp_path):
    torch.save({"params": random_network().state_dict()}, tmp_path / "net.pth")
    photograph = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), photograph)
    result = run(INFERENCE, tmp_path)
    assert result.returncode == 0, result.stdout[-1000:] + result.stderr[-3000:]
    assert (tmp_path / "out" / "photo.png").is_file()
    assert (tmp_path / "net.onnx").is_file()


def test_what_needs_basicsr_says_what_installs_it(tmp_path):
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((48, 48, 3), np.uint8))
    (tmp_path / "o.yml").write_text("name: mine\ntrain: {}\n")
    commands = [command.split() for command in REFUSALS]
    result = run(
        f"{WITHOUT_BASICSR}\nprint([cli.main(command) for command in {commands}])", tmp_path
    )
    assert result.stdout.endswith(f"{[2] * len(REFUSALS)}\n"), result.stdout + result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("basicsr: error: ")]
    for error, refusal in zip(errors, REFUSALS.values(), strict=True):
        assert refusal in error and error.endswith(
            'pip install --no-build-isolation "constyle-arch[train]"'
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.yml", "photo.png"]


def test_versions_are_told_without_basicsr(monkeypatch, capsys):
    monkeypatch.setattr(
        cli, "version", lambda name: (_ for _ in ()).throw(cli.PackageNotFoundError(name))
    )
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert "basicsr none\n" in capsys.readouterr().out
