"""Which weights of a checkpoint are taken, and what cannot be a network."""

import logging

import pytest
import torch

from constyle_arch.checkpoints.loading import load_network, read_network
from constyle_arch.errors import CheckpointError
from constyle_arch.reporting.describing import describe
from tests.networks import built
from tests.shared import small_network


def saved_network(path, change=lambda tensors: None):
    """Write the weights of a small network, changed; the network before."""
    network = built(small_network())
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    change(tensors)
    torch.save({"params": tensors}, path)
    return network


def test_averaged_weights_are_taken_everywhere_and_that_is_said(tmp_path, make_model, capsys):
    """What a training validates, a test scores, `restore` restores with and the next training
    starts from."""
    saved_network(tmp_path / "w.pth")
    plain = torch.load(tmp_path / "w.pth", weights_only=True)["params"]
    averaged = {name: tensor + 1 for name, tensor in plain.items()}
    torch.save({"params": plain, "params_ema": averaged}, tmp_path / "w.pth")
    for key, expected in ((None, averaged), ("params", plain)):
        path = {"pretrain_network_g": str(tmp_path / "w.pth")} | (
            {"param_key_g": key} if key else {}
        )
        model = make_model(path=path, ema_decay=0)
        assert torch.equal(
            model.net_g.state_dict()["preprocess.weight"], expected["preprocess.weight"]
        )
        assert model.section_taken == (f" [{key}]" if key else " [params_ema]")
        network, section = read_network(tmp_path / "w.pth", key=key)
        assert torch.equal(network.state_dict()["preprocess.weight"], expected["preprocess.weight"])
        assert section == (key or "params_ema")


@pytest.mark.parametrize("trained", [("params",), ("params", "params_ema"), ()])
def test_averages_without_batchnorms_statistics_are_warned_of_once(
    tmp_path, caplog, monkeypatch, trained
):
    """BasicSR averages parameters alone: IRConStyle's published numbers are of a network with
    initial statistics."""
    monkeypatch.setattr(logging.getLogger("basicsr"), "propagate", True)
    weights = saved_network(tmp_path / "w.pth").state_dict()
    sections = {
        section: {n: t.clone() for n, t in weights.items()} for section in ("params", "params_ema")
    }
    for section in trained:
        sections[section]["encoder.projections.1.1.running_var"] += 0.5
    torch.save(sections, tmp_path / "w.pth")
    for key in (None, None, "params", "params_ema"):
        load_network(tmp_path / "w.pth", key=key)
    # which two handlers may both have caught
    records = {id(record): record.message for record in caplog.records}
    warned = [message for message in records.values() if "two networks" in message]
    assert len(warned) == (trained == ("params",))
    assert not warned or str(tmp_path / "w.pth") in warned[0]


def test_message_names_the_section_that_was_taken(tmp_path):
    torch.save({"params_ema": [1, 2]}, tmp_path / "w.pth")
    with pytest.raises(
        CheckpointError, match="the content of 'params_ema' is not a set of weights"
    ):
        load_network(tmp_path / "w.pth")


def test_counters_with_an_axis_are_read_as_pytorch_reads_them(tmp_path):
    counter = "encoder.projections.0.1.num_batches_tracked"
    saved_network(tmp_path / "w.pth", lambda tensors: tensors.update({counter: torch.tensor([7])}))
    assert load_network(tmp_path / "w.pth").state_dict()[counter] == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: {n: t.char() for n, t in tensors.items()}, "int8 instead of float32"),
        (
            lambda tensors: {n: t.to(torch.complex64) for n, t in tensors.items()},
            "complex64 instead of",
        ),
        (
            lambda tensors: {n: t for n, t in tensors.items() if n != "refine.0.attn.qkv.weight"},
            "1 missing: refine",
        ),
        (
            lambda tensors: {n: t for n, t in tensors.items() if n != "fuse.weight"},
            r"incomplete \(fuse\.weight\)",
        ),
        (
            lambda tensors: {n: t for n, t in tensors.items() if "ffn.project_out" not in n},
            "incomplete",
        ),
        (
            lambda tensors: {n: t.sum() if n == "fuse.weight" else t for n, t in tensors.items()},
            "incomplete",
        ),
    ],
)
def test_weights_that_cannot_be_a_network_are_refused_by_restore_and_info_alike(
    tmp_path, change, message
):
    network = saved_network(tmp_path / "w.pth")
    torch.save({"params": change(network.state_dict())}, tmp_path / "w.pth")
    for refuse in (load_network, describe):
        with pytest.raises(CheckpointError, match=message) as raised:
            refuse(tmp_path / "w.pth")
        assert str(tmp_path / "w.pth") in str(raised.value)


def test_weights_of_half_precision_are_a_network(tmp_path):
    saved_network(
        tmp_path / "w.pth",
        lambda tensors: tensors.update({n: t.half() for n, t in tensors.items() if t.dim()}),
    )
    assert load_network(tmp_path / "w.pth").output.weight.dtype == torch.float32
    assert "ConStyleRestormer" in describe(tmp_path / "w.pth")
