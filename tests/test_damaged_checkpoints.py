"""Files that are damaged or no checkpoints are refused."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from constyle_arch.checkpoints.conversion import convert
from constyle_arch.checkpoints.loading import load_network
from constyle_arch.checkpoints.reading import digest_of
from constyle_arch.errors import CheckpointError
from tests.networks import TINY, built
from tests.shared import equal, paired_dataset, run_with, small_network, training_options


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def damaged_files(folder):
    torch.save({"params": TINY["NAFNet"]().state_dict()}, folder / "whole.pth")
    (folder / "truncated.pth").write_bytes((folder / "whole.pth").read_bytes()[:-5000])
    (folder / "text.pth").write_text("not a checkpoint")
    (folder / "empty.pth").write_bytes(b"")
    (folder / "text.safetensors").write_text("not a checkpoint")
    torch.save({"params": Malicious(folder / "marker")}, folder / "malicious.pth")
    torch.save({"params": nn.Linear(2, 2)}, folder / "module.pth")
    torch.jit.script(nn.Linear(2, 2)).save(folder / "script.pth")
    torch.save([1, 2], folder / "list.pth")
    torch.save({"optimizer": {}}, folder / "no_weights.pth")
    torch.save({"params": {"lr": 1}}, folder / "numbers.pth")
    torch.save({"params": {}}, folder / "nothing.pth")
    torch.save({"params": {"x.weight": torch.zeros(2)}}, folder / "foreign.pth")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.pth", "does not exist"),
        ("truncated.pth", "damaged or no checkpoint"),
        ("text.pth", "damaged"),
        ("empty.pth", "damaged or no checkpoint"),
        ("text.safetensors", "damaged or no checkpoint"),
        ("malicious.pth", "holds more than weights"),
        (
            "module.pth",
            r"plain data \(it asks for torch.nn.modules.linear.Linear\), and is not opened\.$",
        ),
        ("script.pth", "damaged or no checkpoint: it is a TorchScript archive$"),
        ("list.pth", "holds a list"),
        ("no_weights.pth", "it has optimizer"),
        ("numbers.pth", "the content of 'params' is not a set of weights"),
        ("nothing.pth", "'params' holds no weights"),
        ("foreign.pth", "of no network of this package"),
    ],
)
def test_files_that_are_no_checkpoints_are_refused(tmp_path, name, message):
    damaged_files(tmp_path)
    with pytest.raises(CheckpointError, match=message) as error:
        load_network(tmp_path / name)
    assert "weights_only" not in str(error.value)
    assert not (tmp_path / "marker").exists()


def flip_bytes(path, share, count=1):
    """Invert `count` bytes from a share of the file on."""
    content = bytearray(path.read_bytes())
    for place in range(int(share * len(content)), int(share * len(content)) + count):
        content[place] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_weights_with_a_changed_byte_are_not_used(tmp_path, name, share):
    torch.save({"params": TINY["NAFNet"]().state_dict()}, tmp_path / "whole.pth")
    convert(str(tmp_path / "whole.pth"), str(tmp_path / name), key="params")
    load_network(tmp_path / name)
    flip_bytes(tmp_path / name, share)
    with pytest.raises(CheckpointError, match=rf"{name} is damaged: .*Take another copy of it\."):
        load_network(tmp_path / name)


def test_digest_is_of_names_types_shapes_and_numbers():
    weights = {"a": torch.arange(6.0), "b": torch.tensor(3), "c": torch.zeros(0, dtype=torch.bool)}
    same = {"c": weights["c"].clone(), "b": torch.tensor(3), "a": torch.arange(12.0)[:6]}
    assert digest_of(weights) == digest_of(same)
    for changed in (
        {"a": torch.arange(6.0).view(2, 3)},
        {"b": torch.tensor(4)},
        {"b": torch.tensor(3, dtype=torch.int32)},
        {"d": torch.tensor(3)},
    ):
        assert digest_of({**weights, **changed}) != digest_of(weights)


def test_files_without_checksums_are_read(tmp_path):
    network = TINY["NAFNet"]()
    torch.save(network.state_dict(), tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    safetensors.torch.save_file(weights, tmp_path / "other.safetensors")
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(network.state_dict(), tmp_path / "unchecked.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    for path in tmp_path.iterdir():
        assert equal(load_network(path).state_dict(), network.state_dict())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ({"param_key_g": "params_em"}, "has no key 'params_em'; it has params"),
        ({"pretrain_network_g": None}, "path.pretrain_network_g is None; it must be text"),
        ({"pretrain_network_g": "wide.pth"}, "does not fit ConStyleRestormer"),
        ({"pretrain_network_g": "truncated.pth"}, "damaged or no checkpoint"),
    ],
)
def test_wrong_weights_are_reported_before_a_test_starts(tmp_path, two_pairs, path, message):
    damaged_files(tmp_path)
    for name, dim in (("w", 8), ("wide", 16)):
        weights = built(small_network() | {"dim": dim}).state_dict()
        torch.save({"params": weights}, tmp_path / f"{name}.pth")
    options = training_options(two_pairs, two_pairs)
    options["datasets"] = {"test": paired_dataset(two_pairs)}
    options["path"] = {"pretrain_network_g": "w.pth", "param_key_g": "params", **path}
    result = run_with("test", options, tmp_path)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert not (tmp_path / "results").exists()
