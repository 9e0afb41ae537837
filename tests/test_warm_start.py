"""Trainings that start from the weights of another kind of network."""

import pytest
import torch

from constyle_arch.archs import ConStyleNAFNet, ConStyleRestormer, NAFNet, Restormer
from constyle_arch.checkpoints.loading import fill
from constyle_arch.errors import CheckpointError
from tests.networks import SMALL, SMALL_NAFNET


def test_warm_start_fills_the_stages_that_have_a_restormers_role_and_shape():
    original = Restormer(dim=16, num_blocks=(2, 2, 2, 2), num_refinement_blocks=2).state_dict()
    network = ConStyleRestormer(
        **{**SMALL, "layer_norm_type": "WithBias", "num_refinement_blocks": 3}
    )
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    table = fill(network, original, "official.pth", strict=False)
    roles = {
        "preprocess.": "patch_embed.proj.",
        "down.0.0.": "encoder_level1.0.",
        "down.1.0.": "encoder_level2.0.",
        "down.1.1.": "encoder_level2.1.",
        "up.0.0.": "decoder_level3.0.",
        "up.0.1.": "decoder_level3.1.",
        "up.2.0.": "decoder_level1.0.",
        "refine.0.": "refinement.0.",
        "refine.1.": "refinement.1.",
        "output.": "output.",
    }
    filled = 0
    for name, tensor in network.state_dict().items():
        role = next((role for role in roles if name.startswith(role)), None)
        if role is None:
            assert torch.equal(tensor, before[name]), name
        else:
            assert torch.equal(tensor, original[roles[role] + name.removeprefix(role)]), name
            filled += tensor.numel()
    total = sum(tensor.numel() for tensor in before.values())
    assert f"together {filled:,} of {total:,}, {filled / total:.1%} of the network" in table
    assert "down.1       encoder_level2        2" in table


def test_warm_start_from_nafnet_counts_levels_from_full_resolution():
    original = NAFNet(
        width=16, enc_blk_nums=(1, 2, 1, 1), middle_blk_num=1, dec_blk_nums=(1, 1, 1, 1)
    ).state_dict()
    network = ConStyleNAFNet(**SMALL_NAFNET)
    table = fill(network, original, "official.pth", strict=False)
    for name, role in (
        ("preprocess.weight", "intro.weight"),
        ("up.0.0.conv1.weight", "decoders.1.0.conv1.weight"),
    ):
        assert torch.equal(network.state_dict()[name], original[role])
    assert [line.split()[0] for line in table.splitlines()[2:-1]] == [
        "preprocess",
        "down.0",
        "down.1",
        "up.0",
    ]


def test_warm_start_without_a_match_is_an_error_and_strict_loading_says_how():
    original = Restormer(dim=20, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1).state_dict()
    with pytest.raises(CheckpointError, match="no block has the shape of its counterpart"):
        fill(ConStyleRestormer(**SMALL), original, "official.pth", strict=False)
    with pytest.raises(CheckpointError, match=r"Set path\.strict_load_g: false for a warm start"):
        fill(ConStyleRestormer(**SMALL), original, "official.pth")


def test_training_starts_warm_through_the_option_file(make_model, tmp_path):
    original = Restormer(dim=8, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1)
    torch.save({"params": original.state_dict()}, tmp_path / "official.pth")
    model = make_model(
        path={"pretrain_network_g": str(tmp_path / "official.pth"), "strict_load_g": False}
    )
    for network in (model.net_g, model.net_g_ema):
        assert torch.equal(
            network.down[0][0].ffn.project_in.weight,
            original.encoder_level1[0].ffn.project_in.weight,
        )
