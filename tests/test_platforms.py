"""What runs where Linux's own modules and calls are missing: on macOS and Windows."""

import subprocess
import sys

import cv2
import numpy as np
import torch

from tests.shared import random_network

ELSEWHERE = """
import os, pkgutil, importlib, signal, sys
sys.modules["fcntl"] = None  # importing it fails
del signal.sigtimedwait, signal.pthread_sigmask, os.sched_getaffinity
import constyle_arch
from constyle_arch import cli
optional = ("spandrel", "plotting", "latents", "sample")
for module in pkgutil.walk_packages(constyle_arch.__path__, "constyle_arch."):
    if not any(part in module.name for part in (*optional, "__main__")):
        importlib.import_module(module.name)
from constyle_arch.data.workers import available_cores
assert available_cores() >= 1
import torch
network = constyle_arch.load_network("net.pth")
assert constyle_arch.restore(network, torch.rand(1, 3, 16, 16)).shape == (1, 3, 16, 16)
for command in (
    "restore -i photo.png --weights net.pth -o out --device cpu",
    "convert net.pth net.safetensors --key params",
    "info net.pth",
    "export net.pth net.onnx",
):
    assert cli.main(command.split()) == 0, command
"""


def test_inference_runs_without_linux(tmp_path):
    torch.save({"params": random_network().state_dict()}, tmp_path / "net.pth")
    photograph = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), photograph)
    command = [sys.executable, "-c", ELSEWHERE]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-1000:] + result.stderr[-3000:]
    assert (tmp_path / "out" / "photo.png").is_file()
    assert (tmp_path / "net.onnx").is_file()
