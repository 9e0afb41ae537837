"""Reading checkpoints of every origin, and refusing those that do not fit."""

import random
from functools import partial
from pathlib import Path

import pytest
import safetensors.torch
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from spandrel.architectures.KBNet import KBNet_l, KBNet_s
from spandrel.architectures.Uformer import Uformer
from torch import nn

import constyle_arch
from constyle_arch.archs import ConStyleNAFNet, ConStyleRestormer
from constyle_arch.checkpoints.detection import detect_network
from constyle_arch.checkpoints.loading import fill, load_network, own_names
from constyle_arch.checkpoints.published_names import to_published
from constyle_arch.checkpoints.reading import read_state_dict
from constyle_arch.errors import CheckpointError, OptionsError
from constyle_arch.reporting.describing import describe
from tests.networks import RANDOM_OPTIONS, SMALL, SMALL_NAFNET, TINY, published_state_dict


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", RANDOM_OPTIONS)
def test_network_is_recognised_by_its_weights(name, seed):
    options = RANDOM_OPTIONS[name](random.Random(seed))
    weights = ARCH_REGISTRY.get(name)(**options).state_dict()
    detected_name, detected = detect_network(weights)
    assert detected_name == name
    rebuilt = ARCH_REGISTRY.get(name)(**detected).state_dict()
    assert {key: tensor.shape for key, tensor in rebuilt.items()} == {
        key: tensor.shape for key, tensor in weights.items()
    }
    for option, value in detected.items():
        # a level without blocks has none; several factors may do
        if option not in ("heads", "ffn_expansion_factor"):
            assert value == options[option], option


def save_as(form: str, weights: dict, folder: Path) -> Path:
    if form == "safetensors":
        safetensors.torch.save_file(weights, folder / "w.safetensors")
        return folder / "w.safetensors"
    content = {
        "bare": weights,
        "module": {f"module.{name}": tensor for name, tensor in weights.items()},
        "lightning": {
            "state_dict": {f"net_g.{name}": tensor for name, tensor in weights.items()},
            "epoch": 3,
        },
        "compiled": {
            "model": {f"_orig_mod.model.{name}": tensor for name, tensor in weights.items()},
            "args": {},
        },
        **{
            form: {form: weights, "iteration": 7}
            for form in ("model", "net", "network", "generator")
        },
        "state_dict": {"state_dict": weights, "epoch": 3},
        "model.": {"net": {f"model.{name}": tensor for name, tensor in weights.items()}},
        "half precision": {
            name: tensor.half() if tensor.is_floating_point() else tensor
            for name, tensor in weights.items()
        },
        "counters of one entry": {
            name: tensor.reshape(1) if name.endswith("num_batches_tracked") else tensor
            for name, tensor in weights.items()
        },
        "params": {"params": weights},
        "params_ema": {
            "params": {name: tensor + 1 for name, tensor in weights.items()},
            "params_ema": weights,
        },
    }[form]
    torch.save(content, folder / "w.pth")
    return folder / "w.pth"


FORMS = ["safetensors", "bare", "module", "state_dict", "params", "params_ema"]


FORMS += ["lightning", "compiled", "model", "net", "network", "generator"]
FORMS += ["model.", "half precision", "counters of one entry"]


@pytest.mark.parametrize("names", ["own", "published"])
@pytest.mark.parametrize("form", FORMS)
def test_weights_are_read_from_every_form_of_file(tmp_path, form, names):
    published = published_state_dict("ConStyleNAFNet_small")
    expected = own_names(published)
    path = save_as(form, published if names == "published" else expected, tmp_path)
    network = constyle_arch.load_network(path)
    assert not network.training
    assert isinstance(network, ConStyleNAFNet)
    for name, tensor in network.state_dict().items():
        whole = form != "half precision" or not tensor.is_floating_point()
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name] if whole else expected[name].half().float())


def test_networks_own_names_may_begin_like_a_wrapper(tmp_path):
    network = nn.Sequential()
    network.add_module("model", nn.Conv2d(3, 3, 1))
    torch.save({"params": network.state_dict()}, tmp_path / "w.pth")
    other = nn.Sequential()
    other.add_module("model", nn.Conv2d(3, 3, 1))
    fill(other, read_state_dict(tmp_path / "w.pth"), "w.pth")
    assert torch.equal(other.model.weight, network.model.weight)


def test_released_constyle_restormer_with_biases_has_one_where_the_code_is_fused(tmp_path):
    network = ConStyleRestormer(**SMALL, bias=True)
    published = to_published(network.state_dict(), "ConStyleRestormer")
    biases = {
        name
        for name in published
        if name.endswith("bias") and "." not in name.removesuffix(".bias")
    }
    assert biases == {"local_fusion.bias"}
    assert "Preprocess_Module.proj.bias" not in published
    torch.save({"params": published}, tmp_path / "w.pth")
    assert torch.equal(load_network(tmp_path / "w.pth").fuse.bias, network.fuse.bias)


@pytest.mark.parametrize(
    ("network", "name"),
    [
        (
            partial(KBNet_s, width=8, middle_blk_num=1, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]),
            "KBNet",
        ),
        (partial(KBNet_l, dim=48, num_blocks=[1, 1, 1, 1], num_refinement_blocks=1), "KBNet"),
        (partial(Uformer, embed_dim=8, depths=[1] * 9), "Uformer"),
    ],
)
def test_networks_that_look_like_others_are_named(tmp_path, network, name):
    torch.save({"params": network().state_dict()}, tmp_path / "w.pth")
    with pytest.raises(
        CheckpointError, match=rf"weights are those of {name}, a network that this package does not"
    ):
        load_network(tmp_path / "w.pth")
    assert f"of {name}, not of this package" in describe(tmp_path / "w.pth")


def test_architecture_and_options_may_be_given(tmp_path):
    network = TINY["ConStyleRestormer"]()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    loaded = load_network(tmp_path / "w.pth", "ConStyleRestormer", **SMALL)
    assert torch.equal(loaded.fuse.weight, network.fuse.weight)
    detected = load_network(tmp_path / "w.pth", "ConStyleRestormer")
    assert torch.equal(detected.fuse.weight, network.fuse.weight)
    with pytest.raises(
        CheckpointError, match=r"ConStyleRestormer cannot be built .* argument 'dmi'"
    ):
        load_network(tmp_path / "w.pth", dmi=8)
    with pytest.raises(CheckpointError, match="no architecture 'Nonesuch'"):
        load_network(tmp_path / "w.pth", "Nonesuch")


def test_training_extras_of_a_release_are_skipped_for_inference(tmp_path):
    torch.save({"params": published_state_dict("ConStyleNAFNet_small_train")}, tmp_path / "w.pth")
    network = load_network(tmp_path / "w.pth")
    assert not [name for name in network.state_dict() if "queue" in name or "encoder_k" in name]


@pytest.fixture
def release(tmp_path):
    torch.save(
        {"params": published_state_dict("ConStyleNAFNet_small_train")}, tmp_path / "release.pth"
    )
    return tmp_path / "release.pth"


@pytest.mark.parametrize("normalize", [False, True])
def test_training_goes_on_with_a_releases_momentum_encoder_and_queue(
    make_model, release, normalize
):
    network = {"type": "ConStyleNAFNet", **SMALL_NAFNET}
    contrast = {"queue_size": 96, "normalize": normalize}
    model = make_model(
        network_g=network, contrast=contrast, path={"pretrain_network_g": str(release)}
    )
    published = published_state_dict("ConStyleNAFNet_small_train")
    queue = published["ConStyle.queue"]
    assert torch.equal(model.contrast.queue, queue / queue.norm(dim=0) if normalize else queue)
    assert int(model.contrast.pointer) == int(published["ConStyle.queue_ptr"])
    key_weight = published["ConStyle.encoder_k.stage3.1.0.weight"]
    assert torch.equal(model.contrast.encoder.stages[2][2].weight, key_weight)
    assert not torch.equal(model.net_g.encoder.stages[2][2].weight, key_weight)
    assert torch.equal(
        model.net_g_ema.encoder.stages[2][2].weight, model.net_g.encoder.stages[2][2].weight
    )


def test_queue_of_another_length_names_the_option(make_model, release):
    with pytest.raises(
        OptionsError, match=r"queue of 96 codes and train\.contrast\.queue_size is 24; set it to 96"
    ):
        make_model(
            network_g={"type": "ConStyleNAFNet", **SMALL_NAFNET},
            path={"pretrain_network_g": str(release)},
        )


def test_weights_that_do_not_fit_are_described_and_nothing_is_loaded(tmp_path):
    network = ConStyleRestormer(**SMALL)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    other = ConStyleRestormer(
        **{**SMALL, "num_refinement_blocks": 2, "num_blocks_bottleneck": 1}
    ).state_dict()
    with pytest.raises(CheckpointError) as error:
        fill(network, other, "w.pth")
    message = str(error.value)
    assert "w.pth does not fit ConStyleRestormer" in message
    assert "missing: bottleneck.1.norm1.body.weight" in message
    assert "not in the network: refine.1.norm1.body.weight" in message
    assert "The file holds a ConStyleRestormer with dim 16" in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())

    wider = ConStyleRestormer(**{**SMALL, "dim": 24}).state_dict()
    with pytest.raises(CheckpointError, match=r"of another shape: .*instead of .* and \d+ more"):
        fill(network, wider, "w.pth")


def test_partial_loading_fills_what_fits_but_not_nothing():
    network = ConStyleRestormer(**SMALL)
    other = ConStyleRestormer(**{**SMALL, "num_refinement_blocks": 2}).state_dict()
    fill(network, other, "w.pth", strict=False)
    assert torch.equal(network.fuse.weight, other["fuse.weight"])
    with pytest.raises(CheckpointError, match="0 of its 142 tensors match"):
        fill(network, {"a": torch.zeros(1)}, "w.pth", strict=False)
