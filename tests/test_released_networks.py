"""Releases of Restormer and NAFNet in all their forms: their names, their padding and windows, by
others' networks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from spandrel import MAIN_REGISTRY
from spandrel.architectures.NAFNet import NAFNet as SpandrelNAFNet
from spandrel_extra_arches import EXTRA_REGISTRY
from spandrel_extra_arches.architectures.Restormer import Restormer as SpandrelRestormer
from torch import Tensor, nn

from constyle_arch import cli
from constyle_arch.archs import NAFNet, Restormer
from constyle_arch.archs.local_statistics import use_local_statistics
from constyle_arch.checkpoints.conversion import convert
from constyle_arch.checkpoints.detection import detect_network
from constyle_arch.checkpoints.loading import load_network, own_names
from constyle_arch.inference.restoring import restore
from tests.shared import write_pairs

SMALL_RESTORMER = {
    "dim": 8,
    "num_blocks": [1, 2, 1, 1],
    "num_refinement_blocks": 1,
    "heads": [1, 2, 2, 4],
}


def randomised(network):
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.eval()


def released(network, folder):
    """The network its release makes of the weights of another's."""
    torch.save({"params": network.state_dict()}, folder / "release.pth")
    return load_network(folder / "release.pth")


@torch.no_grad()
def assert_restores_as(official, network, lq):
    expected = official(lq)
    tolerance = 1e-4 * float(expected.std())
    torch.testing.assert_close(network(lq), expected, rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": True},
        {"LayerNorm_type": "BiasFree"},
        {"inp_channels": 1, "out_channels": 1, "LayerNorm_type": "BiasFree"},
        {"inp_channels": 6, "dual_pixel_task": True},
        {"inp_channels": 6, "dual_pixel_task": True, "bias": True},
    ],
)
def test_restormer_restores_as_its_release(tmp_path, options):
    official = randomised(SpandrelRestormer(**SMALL_RESTORMER, **options))
    network = released(official, tmp_path)
    assert isinstance(network, Restormer)
    lq = torch.rand(2, options.get("inp_channels", 3), 24, 40)
    assert_restores_as(official, network, lq)
    assert restore(network, lq[0], tile=16, overlap=4).shape == (3 if len(lq[0]) > 1 else 1, 24, 40)
    odd = lq[..., :19, :33]
    whole = network(F.pad(odd, (0, 7, 0, 5), mode="reflect"))
    torch.testing.assert_close(network(odd), whole[..., :19, :33])


def test_dual_pixel_network_is_refused_for_photographs(tmp_path, capsys):
    network = randomised(Restormer(**SMALL_RESTORMER, inp_channels=6, dual_pixel_task=True))
    torch.save(network.state_dict(), tmp_path / "dual.pth")
    data = write_pairs(tmp_path, 1)
    arguments = ["-i", str(data / "lq"), "-o", str(tmp_path / "out")]
    assert cli.main(["restore", *arguments, "--weights", str(tmp_path / "dual.pth")]) == 2
    refused = "restores images of 6 channels, and photographs have 1 or 3; in Python, "
    assert refused in capsys.readouterr().err


def test_restormer_adds_the_result_to_the_input_only_where_their_channels_agree():
    with pytest.raises(
        ValueError, match=r"inp_channels is 6 and out_channels 3; .* unless dual_pixel_task is true"
    ):
        Restormer(**SMALL_RESTORMER, inp_channels=6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 48), (19, 33), (5, 3)])
def test_nafnet_restores_as_its_release_zeros_at_the_end_included(tmp_path, channels, size):
    blocks = {"enc_blk_nums": [1, 1, 2], "middle_blk_num": 1, "dec_blk_nums": [1, 2, 1]}
    official = randomised(SpandrelNAFNet(img_channel=channels, width=8, **blocks))
    network = released(official, tmp_path)
    lq = torch.rand(2, channels, *size)
    assert_restores_as(official, network, lq)
    convert(str(tmp_path / "release.pth"), str(tmp_path / "own.safetensors"), key="params")
    assert torch.equal(load_network(tmp_path / "own.safetensors")(lq), network(lq))


@pytest.mark.parametrize(
    "blocks",
    [
        {"enc_blk_nums": [2, 2, 4, 8], "middle_blk_num": 12, "dec_blk_nums": [2, 2, 2, 2]},  # SIDD
        {
            "enc_blk_nums": [1, 1, 1, 28],
            "middle_blk_num": 1,
            "dec_blk_nums": [1, 1, 1, 1],
        },  # GoPro and REDS
    ],
)
@pytest.mark.parametrize("width", [32, 64])
def test_numbers_of_blocks_of_the_releases_are_worked_out(width, blocks):
    with torch.device("meta"):
        name, options = detect_network(
            own_names(SpandrelNAFNet(width=width, **blocks).state_dict())
        )
    assert name == "NAFNet"
    assert options == {**blocks, "width": width, "img_channel": 3, "block": "NAF"}


@pytest.mark.parametrize(
    ("network", "registry"),
    [
        (Restormer(**SMALL_RESTORMER, bias=True), EXTRA_REGISTRY),
        (Restormer(**SMALL_RESTORMER, layer_norm_type="BiasFree"), EXTRA_REGISTRY),
        (
            NAFNet(width=8, enc_blk_nums=[1, 2], middle_blk_num=1, dec_blk_nums=[1, 1]),
            MAIN_REGISTRY.copy(),
        ),
    ],
)
def test_what_is_saved_here_is_restored_with_elsewhere(network, registry):
    official = registry.load(randomised(network).state_dict()).model
    assert type(official).__module__.startswith("spandrel")
    lq = torch.rand(2, 3, 24, 40)
    assert_restores_as(official, network, lq)


class OfficialBaselineBlock(nn.Module):
    """Figure 3(b) of NAFNet's paper, under the names of its release."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.se = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // 2, 1),
            nn.ReLU(),
            nn.Conv2d(channels // 2, channels, 1),
            nn.Sigmoid(),
        )
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(2 * channels, channels, 1)
        self.norm1, self.norm2 = nn.GroupNorm(1, channels), nn.GroupNorm(1, channels)
        self.beta, self.gamma = (nn.Parameter(torch.zeros(1, channels, 1, 1)) for _ in range(2))

    def normalised(self, x: Tensor, norm: nn.GroupNorm) -> Tensor:
        variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
        return (x - mean) / (variance + 1e-6).sqrt() * norm.weight[:, None, None] + norm.bias[
            :, None, None
        ]

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.conv2(self.conv1(self.normalised(x, self.norm1))))
        x = x + self.conv3(y * self.se(y)) * self.beta
        return x + self.conv5(F.gelu(self.conv4(self.normalised(x, self.norm2)))) * self.gamma


def test_baseline_restores_as_its_release(tmp_path):
    official = SpandrelNAFNet(width=8, enc_blk_nums=[1, 2], middle_blk_num=1, dec_blk_nums=[2, 1])
    for stages in (official.encoders, official.decoders, [official.middle_blks]):
        for stage in stages:
            for number, block in enumerate(stage):
                stage[number] = OfficialBaselineBlock(block.norm1.weight.numel())
    randomised(official)
    network = released(official, tmp_path)
    lq = torch.rand(2, 3, 19, 33)
    assert_restores_as(official, network, lq)


class OfficialLocalPool(nn.Module):
    """TLC's pooling as NAFNetLocal has it, by windows instead of sums: (k−1)//2 pixels come before
    the middle one."""

    def __init__(self, train_size: int, base_size: int) -> None:
        super().__init__()
        self.train_size, self.base_size, self.kernel = train_size, base_size, None

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel is None:  # the first image has the size of training's crops
            self.kernel = x.shape[2] * self.base_size // self.train_size
        if self.kernel >= max(x.shape[2:]):
            return x.mean((2, 3), keepdim=True)
        rows, columns = (min(self.kernel, length) for length in x.shape[2:])
        means = F.avg_pool2d(x, (rows, columns), stride=1)
        missing = [whole - part for whole, part in zip(x.shape[2:], means.shape[2:], strict=True)]
        left, top = missing[1] // 2, missing[0] // 2
        return F.pad(means, (left, missing[1] - left, top, missing[0] - top), mode="replicate")


@pytest.mark.parametrize("size", [(64, 96), (50, 70), (24, 64), (40, 40)])
def test_local_statistics_are_those_of_nafnetlocal(tmp_path, size):
    """With a window of one and a half crops: for crops of 256, as the releases for GoPro and SIDD
    have them, 384."""
    crop, window = 32, 48
    official = SpandrelNAFNet(width=8, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1])
    network = released(randomised(official), tmp_path)
    for module in official.modules():
        if hasattr(module, "sca"):
            module.sca[0] = OfficialLocalPool(crop, window)
    use_local_statistics(network, window)
    lq = torch.rand(1, 3, *size)
    with torch.no_grad():
        official(torch.rand(1, 3, crop, crop))
    assert_restores_as(official, network, lq)


@pytest.mark.parametrize("shape", [(20, 28), (20, 28, 3)])
def test_gray_network_takes_gray_images_alone(shape):
    network = NAFNet(width=4, enc_blk_nums=[1], middle_blk_num=1, dec_blk_nums=[1], img_channel=1)
    image = np.zeros(shape, np.uint8)
    if len(shape) == 2:
        assert restore(network, image).shape == shape
        assert restore(network, image, tile=16, overlap=4).shape == shape
    else:
        with pytest.raises(
            ValueError, match=r"shape \(20, 28, 3\), and the network restores images of 1 channels"
        ):
            restore(network, image)


def test_wrong_block_of_nafnet_is_named():
    with pytest.raises(ValueError, match="block is 'naf'; it must be NAF or Baseline"):
        NAFNet(block="naf")
