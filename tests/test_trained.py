"""The pretrained networks."""

import hashlib
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import constyle_arch
from constyle_arch import cli
from constyle_arch.archs import NAFNet
from constyle_arch.archs.general_restoration_arch import GuidedNetwork
from constyle_arch.checkpoints import trained
from constyle_arch.checkpoints.reading import read_checkpoint
from constyle_arch.checkpoints.trained import CHECKSUMS, FOLDER, TRAINED, located
from constyle_arch.data.degradations import Rain
from constyle_arch.data.degradations.haze import add_haze, smooth_depth
from constyle_arch.errors import CheckpointError
from tests.golden.formula_weights import formula_input
from tests.shared import REPOSITORY

RECORDED = REPOSITORY / "tests" / "golden" / "trained.npz"


def photograph():
    """Part of a photograph that no network was trained on, (192, 192, 3) in [0, 1]."""
    return data.chelsea()[40:232, 80:272].astype(np.float32) / 255


def psnr(one, other):
    return -10 * np.log10(np.mean((np.clip(one, 0, 1) - other) ** 2))


def restored(name, image):
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    with torch.inference_mode():
        return constyle_arch.load_network(name)(batch)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("name", TRAINED)
def test_name_loads_a_network_ready_to_call(name):
    network = constyle_arch.load_network(name)
    assert isinstance(network, GuidedNetwork)
    assert not network.training
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", TRAINED)
def test_weights_are_small_and_those_of_the_checksums(name):
    content = located(name).read_bytes()
    assert len(content) <= 8e6
    assert (
        f"{hashlib.sha256(content).hexdigest()}  {name}.safetensors"
        in CHECKSUMS.read_text().splitlines()
    )


@pytest.mark.parametrize("name", TRAINED)
def test_result_is_the_recorded_one(name):
    with torch.inference_mode():
        result = constyle_arch.load_network(name)(
            torch.from_numpy(formula_input((1, 3, 40, 48), 7))
        )
    assert np.abs(result.numpy() - np.load(RECORDED)[name]).max() < 1e-4


@pytest.mark.parametrize("name", TRAINED)
def test_card_says_how_it_was_trained_and_where_it_fails(name):
    card = (FOLDER / f"{name}.md").read_text()
    assert f"options/trained_{name}.yml" in card
    for heading in ("## Scores", "## Training", "## Where it fails"):
        assert heading in card
    assert (REPOSITORY / "options" / f"trained_{name}.yml").is_file()


@pytest.mark.parametrize(("sigma", "gain"), [(15, 5), (25, 7), (50, 9)])
def test_noise_is_removed(sigma, gain):
    clean = photograph()
    noisy = (clean + np.random.RandomState(0).normal(0, sigma / 255, clean.shape)).astype(
        np.float32
    )
    assert psnr(restored("denoise", noisy), clean) > psnr(noisy, clean) + gain


def test_a_clean_photograph_is_not_harmed():
    clean = photograph()
    assert psnr(restored("denoise", clean), clean) > 40


def test_rain_is_removed():
    clean = photograph()
    rainy = Rain(density=0.004, length=14, angle=8, brightness=0.5)(clean, np.random.RandomState(0))
    assert psnr(restored("derain", rainy), clean) > psnr(rainy, clean) + 3


def test_haze_is_removed():
    clean = photograph()
    hazy = add_haze(clean, smooth_depth(192, 192, np.random.RandomState(0)), 1.2, 0.9)
    assert psnr(restored("dehaze", hazy), clean) > psnr(hazy, clean) + 3


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    shutil.copytree(FOLDER, tmp_path / "trained")
    monkeypatch.setattr(trained, "FOLDER", tmp_path / "trained")
    file = tmp_path / "trained" / "denoise.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    for _ in range(2):
        with pytest.raises(
            CheckpointError, match=r"denoise.*is missing or damaged; reinstall the package"
        ):
            constyle_arch.load_network("denoise")
        file.unlink(missing_ok=True)


def test_a_file_of_ones_own_is_named_by_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"params": {"mine": torch.ones(1)}}, "denoise")
    assert "mine" in read_checkpoint("./denoise")["params"]
    assert "mine" not in read_checkpoint("denoise")
    assert (
        located(located("./denoise")) == located(str(located("./denoise"))) == tmp_path / "denoise"
    )


def test_a_network_of_ones_own_in_such_a_file_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(
        {"params": NAFNet(width=8, enc_blk_nums=(1,), dec_blk_nums=(1,)).state_dict()}, "denoise"
    )
    assert isinstance(constyle_arch.load_network("./denoise"), NAFNet)


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(
        CheckpointError, match=r"denoize does not exist\. The pretrained networks are .*denoise"
    ):
        constyle_arch.load_network("denoize")


def test_commands_take_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    clean = photograph()
    noisy = clean + np.random.RandomState(0).normal(0, 25 / 255, clean.shape)
    Image.fromarray(np.uint8(np.round(255 * np.clip(noisy, 0, 1)))).save("noisy.png")
    assert (
        cli.main(["restore", "-i", "noisy.png", "-o", "restored.png", "--weights", "denoise"]) == 0
    )
    assert psnr(np.asarray(Image.open("restored.png")) / 255, clean) > psnr(noisy, clean) + 7
    capsys.readouterr()
    assert cli.main(["info"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name} " in listed and what in listed for name, what in TRAINED.items())
    assert cli.main(["info", "denoise"]) == 0
    assert "ConStyleConv" in capsys.readouterr().out
