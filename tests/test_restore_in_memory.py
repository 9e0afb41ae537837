"""Photographs larger than memory are restored in tiles, without being asked."""

import os
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from constyle_arch.errors import RunError
from constyle_arch.inference import memory
from constyle_arch.inference.photographs.photograph import Photograph, read_photograph
from constyle_arch.inference.photographs.restorer import Restorer
from constyle_arch.tiles import COST
from tests.networks import random_network
from tests.photographs import picture
from tests.processes import COMMAND


def test_tiles_are_halved_when_memory_runs_out(monkeypatch):
    asked, said = [], []

    def restore(network, colors, *, tile, **options):
        asked.append((tile, options["overlap"]))
        if tile is None or tile > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return colors

    monkeypatch.setattr(f"{Restorer.__module__}.restore", restore)
    monkeypatch.setattr(f"{Restorer.__module__}.fitting_tile", lambda *_: None)
    restorer = Restorer(random_network(), say=said.append)
    photograph = Photograph(np.zeros((300, 700, 3), np.uint8))
    restorer.restored(photograph)
    restorer.restored(photograph)
    assert asked == [(None, 32), (350, 32), (175, 32), (87, 32), (87, 32)]  # it is remembered
    assert said == [
        f"Memory ran out; continuing in tiles of {tile} ({COST})." for tile in (350, 175, 87)
    ]
    with pytest.raises(RunError, match="memory ran out, in tiles of 101 pixels too"):
        Restorer(random_network(), tile=101, say=said.append).restored(photograph)


def test_tiles_are_chosen_by_the_memory_there_is(monkeypatch):
    network, said = random_network(), []
    whole = memory.memory_of(network, 520, 640)
    for free, wanted in (
        (1e12, None),
        (2.25 * memory.memory_of(network, 256, 256) + 24 * 3 * 520 * 640 + 1, 256),
        (0, 64),
    ):
        monkeypatch.setattr(memory, "free_memory", lambda device, free=free: free)
        assert memory.fitting_tile(network, 520, 640) == wanted
    assert memory.memory_of(network, 256, 256) < whole / 4
    monkeypatch.setattr(memory, "free_memory", lambda device: 0)
    Restorer(network, say=said.append).restored(Photograph(np.zeros((80, 100, 3), np.uint8)))
    assert said == [
        f"Images of 100×80 pixels are restored in tiles of 64: memory would not do ({COST})."
    ]


def test_estimate_of_memory_is_what_is_allocated():
    """Against the allocator's own count of a forward pass that runs."""
    network, lq = random_network(), torch.rand(1, 3, 256, 320)
    with torch.profiler.profile(profile_memory=True) as profile, torch.no_grad():
        network(lq)
    now = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    assert peak > 0
    assert 0.7 * peak < memory.memory_of(network, 256, 320) < 1.5 * peak


def test_limits_of_a_container_are_respected(tmp_path):
    for name, content in {
        "memory.max": "1000000\n",
        "memory.current": "700000\n",
        "memory.stat": "anon 5\ninactive_file 100000\n",
    }.items():
        (tmp_path / name).write_text(content)
    assert memory._free_in_control_group(tmp_path) == 400000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._free_in_control_group(tmp_path) == float("inf")
    assert memory._free_in_control_group(tmp_path / "none") == float("inf")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_real_shortage_of_memory_is_survived_in_tiles(tmp_path, weights):
    Image.fromarray(picture(1200, 1300)).save(tmp_path / "a.png")
    flags = ["-i", "a.png", "-o", "b.png", "--weights", str(weights), "--device", "cpu"]
    room = 2 * 2**30

    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (room, room))  # the estimate does not know of it

    result = subprocess.run(
        [*COMMAND, "restore", *flags],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Memory ran out; continuing in tiles of 650." in result.stdout
    assert read_photograph(tmp_path / "b.png").pixels.shape == (1200, 1300, 3)
