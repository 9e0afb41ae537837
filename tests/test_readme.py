"""What README and the page of the networks say that can be computed."""

import json
import re
import subprocess
import sys

import cv2
import numpy as np
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from benchmarks.trained import MEASURED, with_table
from constyle_arch.checkpoints.trained import TRAINED
from tests.shared import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
NETWORKS = (REPOSITORY / "docs" / "networks.md").read_text()


def parameters(name):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in ARCH_REGISTRY.get(name)().parameters())


def test_parameter_counts_are_those_of_the_networks():
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) M \| ([\d.]+) M \|", NETWORKS, re.MULTILINE)
    assert len(rows) == 9
    for name, count, published in rows:
        assert count == f"{parameters(name) / 1e6:.3f}"
        assert float(published) >= float(count)
    share = 1 - parameters("ConStyleNAFNet") / parameters("NAFNet")
    assert f"ConStyle-NAFNet has {share:.1%}".replace("%", " %") in NETWORKS


def test_table_of_trained_networks_is_what_was_measured():
    measured = json.loads(MEASURED.read_text())
    assert set(measured) == set(TRAINED)
    assert with_table(README, measured) == README


def test_python_example_restores_a_photograph(tmp_path):
    cv2.imwrite(
        str(tmp_path / "photo.jpg"),
        np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8),
    )
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    # where nothing is imported yet
    subprocess.run([sys.executable, "-c", example], cwd=tmp_path, check=True)
    assert cv2.imread(str(tmp_path / "restored.png")).shape == (37, 50, 3)
