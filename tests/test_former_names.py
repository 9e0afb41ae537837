"""Checkpoints that this package wrote when Restormer's and NAFNet's parts had names of its own."""

import json

import numpy as np
import pytest
import torch

from constyle_arch.checkpoints.conversion import convert
from constyle_arch.checkpoints.loading import load_network
from constyle_arch.checkpoints.reading import read_state_dict
from tests.golden.formula_weights import formula_input, formula_tensor
from tests.networks import GOLDEN, assert_agrees

FORMER = dict(np.load(GOLDEN / "former_names.npz"))
SHAPES = json.loads(str(FORMER.pop("shapes")))
"""What the tensors were called; beside them is what it made of formula weights under these
names."""


@pytest.fixture(params=SHAPES)
def former(request, tmp_path):
    """A network's name and its checkpoint."""
    weights = {
        name: torch.from_numpy(np.asarray(formula_tensor(name, shape)))
        for name, shape in SHAPES[request.param].items()
    }
    torch.save({"params": weights}, tmp_path / "former.pth")
    return request.param, tmp_path / "former.pth"


def test_they_restore_as_then(former):
    name, path = former
    network = load_network(path)
    assert type(network).__name__ == name.removesuffix("-Baseline")
    with torch.no_grad():
        assert_agrees(network(torch.from_numpy(formula_input((1, 3, 16, 24), 7))), FORMER[name])


def test_they_are_converted_into_todays(former):
    _, path = former
    expected = load_network(path).state_dict()
    convert(str(path), str(path.with_name("own.pth")))
    own = read_state_dict(path.with_name("own.pth"))
    assert own.keys() == expected.keys()
    assert all(torch.equal(own[name], expected[name]) for name in own)
