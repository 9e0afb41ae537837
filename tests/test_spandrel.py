"""The networks loaded by spandrel: the same as loaded directly, whoever named their weights."""

import random
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from spandrel import (
    MAIN_REGISTRY,
    ImageModelDescriptor,
    ModelLoader,
    ModelTiling,
    UnsupportedDtypeError,
)
from spandrel.architectures.Compact import Compact
from spandrel.architectures.DnCNN import DnCNN
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.PLKSR import PLKSR
from spandrel.architectures.SPAN import SPAN
from torch import nn

import constyle_arch
from constyle_arch.archs import ConStyleNAFNet
from constyle_arch.archs.layers import channels_of
from constyle_arch.checkpoints.published_names import to_published
from constyle_arch.errors import UserError
from constyle_arch.inference.spandrel_adapter import ARCHITECTURES, install
from tests.networks import RANDOM_OPTIONS, SMALL_NAFNET, TINY, published_state_dict

SPANDRELS_OWN = MAIN_REGISTRY.copy()


def test_a_program_of_its_own_loads_a_network_where_torchvision_does_not_fit_torch(tmp_path):
    """As docs/python.md has it; nothing else imports BasicSR, before which that is repaired."""
    torch.save({"params": TINY["NAFNet"]().state_dict()}, tmp_path / "net.pth")
    program = (
        "from constyle_arch.inference import spandrel_adapter\n"
        "from spandrel import ModelLoader\n"
        "spandrel_adapter.install()\n"
        "print(type(ModelLoader().load_from_file('net.pth').model).__name__)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (0, "NAFNet\n"), ended.stderr


@pytest.fixture(scope="module")
def loader():
    registry = SPANDRELS_OWN.copy()
    install(registry)
    return ModelLoader(registry=registry)


def randomised(network):
    """Every parameter counts: β and γ of a new NAFNet would hide its blocks."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    return network


def save(weights, path):
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(
            {name: tensor.contiguous() for name, tensor in weights.items()}, path
        )
    else:
        torch.save({"params": weights}, path)
    return path


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("names", ["own", "published"])
@pytest.mark.parametrize("name", RANDOM_OPTIONS)
def test_spandrel_restores_as_the_network_loaded_directly(loader, tmp_path, name, names, seed):
    torch.manual_seed(seed)
    options = RANDOM_OPTIONS[name](random.Random(seed))
    weights = randomised(ARCH_REGISTRY.get(name)(**options)).state_dict()
    if names == "published":
        weights = to_published(weights, name)
    path = save(weights, tmp_path / ("w.pth" if seed % 2 else "w.safetensors"))
    model = loader.load_from_file(path)
    assert isinstance(model, ImageModelDescriptor)
    assert model.architecture.id == f"constyle_arch.{name}"
    network = constyle_arch.load_network(path)
    for size in ((19, 33), (5, 3), (1, 1)):
        image = torch.rand(1, channels_of(network), *size)
        with torch.no_grad():
            expected = network(image)
            assert torch.equal(model.model(image), expected)
        assert torch.equal(model(image), expected.clamp(0, 1))


@pytest.mark.parametrize(
    "sections", [("params",), ("params", "params_ema"), ("params_ema",), ("state_dict",)]
)
def test_sections_of_a_checkpoint_are_found_as_directly(loader, tmp_path, sections):
    contents = {
        section: randomised(TINY["ConStyleRestormer"]()).state_dict() for section in sections
    }
    torch.save(contents, tmp_path / "w.pth")
    model, network = (
        loader.load_from_file(tmp_path / "w.pth"),
        constyle_arch.load_network(tmp_path / "w.pth"),
    )
    assert all(
        torch.equal(tensor, network.state_dict()[name])
        for name, tensor in model.model.state_dict().items()
    )


def test_training_extras_of_a_release_are_left_out(loader):
    model = loader.load_from_state_dict(published_state_dict("ConStyleNAFNet_small_train"))
    assert isinstance(model.model, ConStyleNAFNet)


@pytest.mark.parametrize("name", TINY)
def test_model_is_described_truly(loader, name):
    model = loader.load_from_state_dict(randomised(TINY[name]()).state_dict())
    assert (model.purpose, model.scale, model.input_channels, model.output_channels) == (
        "Restoration",
        1,
        3,
        3,
    )
    assert model.size_requirements.none
    assert model.tiling is ModelTiling.DISCOURAGED
    assert model.tags == [
        "8dim" if name in ("Restormer", "NAFNet", "Maxim", "ConStyleMaxim") else "16dim"
    ]


def test_tags_name_what_an_ablation_leaves_out(loader):
    network = ConStyleNAFNet(**SMALL_NAFNET, use_code=False)
    assert loader.load_from_state_dict(network.state_dict()).tags == ["16dim", "no code"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", TINY)
def test_half_precision_is_supported_where_it_is_said(loader, name, dtype):
    torch.manual_seed(0)
    model = loader.load_from_state_dict(TINY[name]().state_dict())
    image = torch.rand(1, 3, 19, 33)
    expected = model(image)
    if not (model.supports_half if dtype == torch.float16 else model.supports_bfloat16):
        with pytest.raises(UnsupportedDtypeError):
            model.to(dtype)
        return
    restored = model.to(dtype)(image.to(dtype))
    assert restored.dtype == dtype
    assert (restored.float() - expected).abs().max() < (0.01 if dtype == torch.float16 else 0.05)


def test_installing_twice_changes_nothing_and_ours_are_asked_first():
    install()
    install()
    order = [support.architecture for support in MAIN_REGISTRY.architectures("detection")]
    assert set(order[: len(ARCHITECTURES)]) == set(ARCHITECTURES)
    assert len(order) == len(SPANDRELS_OWN) + len(ARCHITECTURES)


@pytest.mark.parametrize(
    "network",
    [
        Compact(),
        DnCNN(),
        ESRGAN(num_filters=16, num_blocks=1),
        PLKSR(dim=16, n_blocks=1),
        SPAN(num_in_ch=3, num_out_ch=3),
    ],
    ids=lambda network: type(network).__name__,
)
def test_spandrels_own_models_are_loaded_as_before(loader, network):
    weights = network.state_dict()
    before = SPANDRELS_OWN.load(weights)
    after = loader.load_from_state_dict(weights)
    assert after.architecture is before.architecture
    assert not any(architecture.detect(weights) for architecture in ARCHITECTURES)


def test_published_nafnet_computes_what_spandrels_own_does(loader):
    torch.manual_seed(0)
    weights = to_published(randomised(TINY["NAFNet"]()).state_dict(), "NAFNet")
    ours, spandrels = loader.load_from_state_dict(weights), SPANDRELS_OWN.load(weights)
    assert spandrels.architecture.id == "NAFNet"
    image = torch.rand(1, 3, 20, 24)
    torch.testing.assert_close(ours.model(image), spandrels.model(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"extra.weight": torch.zeros(1)},
        {"fuse.weight": torch.zeros(3, 3, 1, 1)},
        {"output.weight": torch.zeros(4, 32, 3, 3)},
        {"epoch": 3},
    ],
)
def test_weights_that_do_not_fit_to_the_last_tensor_are_left_to_others(change):
    weights = {**TINY["ConStyleRestormer"]().state_dict(), **change}
    assert not any(architecture.detect(weights) for architecture in ARCHITECTURES)


@pytest.mark.parametrize(
    "removed", ["fuse.weight", "encoder.stages.0.0.weight", "bottleneck.0.attn.temperature"]
)
def test_weights_that_lack_a_tensor_are_left_to_others(removed):
    weights = TINY["ConStyleRestormer"]().state_dict()
    del weights[removed]
    assert not any(architecture.detect(weights) for architecture in ARCHITECTURES)


def test_without_spandrel_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    monkeypatch.delitem(sys.modules, "constyle_arch.inference.spandrel_adapter")
    with pytest.raises(UserError, match=r'pip install "constyle-arch\[spandrel\]"'):
        __import__("constyle_arch.inference.spandrel_adapter")
