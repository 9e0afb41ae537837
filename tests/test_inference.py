"""Restoring whole and in tiles."""

import re
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import nn

from constyle_arch.archs import ConStyle, ConStyleMaxim, ConStyleNAFNet
from constyle_arch.archs.layers import ChannelMeans, pad_to_multiple, sliding_means
from constyle_arch.archs.local_statistics import use_local_statistics
from constyle_arch.inference import memory
from constyle_arch.inference.restoring import codes_of, restore
from constyle_arch.reporting.complexity import count_gmacs
from constyle_arch.tiles import cells_of, tiles_of
from tests.networks import SMALL_NAFNET, TINY
from tests.shared import REPOSITORY


@pytest.mark.parametrize("multiple", [1, 8, 64])
@pytest.mark.parametrize("overlap", [0, 16, 63, 100])
@pytest.mark.parametrize("length", [1, 64, 127, 128, 129, 255, 256, 257, 1000])
def test_tiles_cover_an_axis_and_their_weights_add_up_to_one(length, overlap, multiple):
    length = -(-length // multiple) * multiple
    if overlap > 128 - multiple and length > 128:
        with pytest.raises(ValueError, match=f"overlap is {overlap} for tiles of 128"):
            tiles_of(length, 128, overlap, multiple)
        return
    tiles = tiles_of(length, 128, overlap, multiple)
    total = torch.zeros(length)
    for tile in tiles:
        assert tile.start % multiple == 0
        assert tile.stop - tile.start == min(128, length)
        assert (tile.weights > 0).all()
        total[tile.pixels] += tile.weights
    torch.testing.assert_close(total, torch.ones(length))
    for one, other in pairwise(tiles):
        assert one.stop - other.start >= overlap


def test_cells_cover_an_axis_once():
    own = [range(100)[pixels][mine] for pixels, mine in cells_of(100, 32, 8)]
    assert [pixel for cell in own for pixel in cell] == list(range(100))


@pytest.mark.parametrize("size", [(64, 64), (72, 200), (136, 88)])
def test_codes_computed_in_cells_are_those_of_the_whole_image(size):
    encoder = ConStyle().double().eval()
    image = torch.rand(2, 3, *size, dtype=torch.double)
    with torch.no_grad():
        torch.testing.assert_close(
            codes_of(encoder, image, cell=40), encoder(image).codes, rtol=1e-6, atol=1e-7
        )


class Sharpen(nn.Module):
    """A network of convolutions, which sees 2 pixels around each."""

    multiple = 4

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 1, 5, 5))

    def forward(self, lq):
        image = pad_to_multiple(lq, self.multiple)
        restored = image + F.conv2d(F.pad(image, (2, 2, 2, 2)), self.weight, groups=3)
        return restored[..., : lq.shape[2], : lq.shape[3]]


def test_tiles_of_a_network_without_statistics_differ_where_they_are_cut_alone():
    network, lq = Sharpen(), torch.rand(1, 3, 150, 93)
    whole, tiled = restore(network, lq), restore(network, lq, tile=40, overlap=16)
    difference = (whole - tiled).abs().amax(dim=(0, 1))
    cuts = [
        [cut for tile in tiles_of(length, 40, 16, 4) for cut in (tile.start, tile.stop)]
        for length in (152, 96)
    ]
    pixels = torch.meshgrid(torch.arange(150), torch.arange(93), indexing="ij")
    near_cuts = torch.zeros_like(difference, dtype=torch.bool)
    for along, positions in zip(pixels, cuts, strict=True):
        for cut in positions:
            near_cuts |= (along >= cut - 2) & (along < cut + 2)
    assert difference[~near_cuts].max() < 1e-5
    assert difference.max() > 1e-3


@pytest.mark.parametrize("name", TINY)
def test_image_of_one_tile_is_restored_as_a_whole(name):
    network, lq = TINY[name]().eval(), torch.rand(1, 3, 70, 90)
    torch.testing.assert_close(
        restore(network, lq, tile=128), restore(network, lq), rtol=1e-4, atol=1e-5
    )
    with torch.no_grad():
        assert torch.equal(restore(network, lq), network(lq))


@pytest.mark.parametrize("name", TINY)
def test_tiles_change_less_than_documented(name):
    """By docs/performance.md, as a share of what the network changes in a noisy photograph."""
    page = (REPOSITORY / "docs" / "performance.md").read_text()
    bounds = dict(re.findall(r"^\| (\w+) \| (\d+) % \|$", page, re.MULTILINE))
    photograph = torch.from_numpy(data.astronaut()[:320, :400].copy()).permute(2, 0, 1)[None] / 255
    torch.manual_seed(0)
    lq = (photograph + 0.1 * torch.randn(photograph.shape)).clamp(0, 1)
    network = TINY[name]()
    for parameter in network.parameters():
        if not parameter.any():  # NAFNet's residuals begin at 0
            nn.init.normal_(parameter, std=0.1)
    whole, tiled = restore(network, lq), restore(network, lq, tile=128)
    share = (tiled - whole).square().mean().sqrt() / (whole - lq).square().mean().sqrt()
    assert 0 < share < int(bounds[name.removeprefix("ConStyle")]) / 100


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("size", [(70, 90), (129, 200), (1, 300)])
def test_tiles_restore_images_of_any_size(name, size):
    network, lq = TINY[name](), torch.rand(1, 3, *size)
    restored = restore(network, lq, tile=64, overlap=0)
    assert restored.shape == lq.shape
    assert restored.isfinite().all()


def test_every_tile_gets_the_code_of_the_whole_image(monkeypatch):
    network, lq = ConStyleNAFNet(**SMALL_NAFNET).eval(), torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        whole = network.encoder(lq).codes
    seen = []
    fuse = network.fuse_code
    monkeypatch.setattr(network, "fuse_code", lambda x, codes: seen.append(codes) or fuse(x, codes))
    restore(network, lq, tile=64)
    assert len(seen) == 4
    for codes in seen:
        torch.testing.assert_close(codes, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TINY)
def test_half_precision_restores_about_the_same(name):
    network, lq = TINY[name](), torch.rand(1, 3, 64, 64)
    half = restore(network, lq, precision=torch.bfloat16)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, restore(network, lq), rtol=0, atol=0.05)


@pytest.mark.parametrize("window", [1, 2, 5, 8])
def test_sliding_means_are_those_of_average_pooling(window):
    x = torch.rand(2, 3, 8, 11, dtype=torch.double)
    pooled = F.avg_pool2d(x, (1, window), stride=1)
    before = (window - 1) // 2
    expected = F.pad(pooled, (before, 11 - pooled.shape[3] - before, 0, 0), mode="replicate")
    torch.testing.assert_close(sliding_means(x, window, dim=3), expected)


def test_local_statistics_of_a_large_image_are_those_of_its_surroundings():
    pool = ChannelMeans().eval()
    x = torch.rand(1, 2, 40, 40)
    pool.window = 16
    local = pool(x)
    torch.testing.assert_close(local[:, :, 19, 19], x[:, :, 12:28, 12:28].mean(dim=(2, 3)))
    torch.testing.assert_close(
        pool(x[..., :16, :16]), x[..., :16, :16].mean(dim=(2, 3), keepdim=True)
    )


@pytest.mark.parametrize(
    "network",
    [
        partial(ConStyleNAFNet, **SMALL_NAFNET),
        TINY["ConStyleMaxim"],
        TINY["NAFNet"],
        TINY["Restormer"],
    ],
)
def test_local_statistics_leave_images_of_the_windows_size_alone_and_can_be_undone(network):
    network = network().eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    small, large = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 192, 192)
    before = restore(network, small), restore(network, large)
    use_local_statistics(network, window=64)
    assert torch.equal(restore(network, small), before[0])
    assert not torch.allclose(restore(network, large), before[1])
    use_local_statistics(network, window=None)
    assert torch.equal(restore(network, large), before[1])


@pytest.mark.parametrize("shape", [(37, 50, 3), (37, 50)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_arrays_are_restored_as_tensors_are(shape, dtype):
    network = TINY["ConStyleNAFNet"]()
    random = np.random.default_rng(0).random(shape)
    scale = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    image = (random * scale).astype(dtype)
    colors = np.dstack([image] * 3) if image.ndim == 2 else image
    lq = torch.from_numpy((colors / scale).astype(np.float32)).permute(2, 0, 1)
    wanted = restore(network, lq)
    assert torch.equal(wanted, restore(network, lq[None])[0])
    wanted = wanted.mean(dim=0).numpy() if image.ndim == 2 else wanted.permute(1, 2, 0).numpy()
    restored = restore(network, image)
    assert (restored.shape, restored.dtype) == (shape, dtype)
    if scale > 1:
        wanted = np.round(np.clip(wanted, 0, 1) * scale)
    np.testing.assert_allclose(restored, wanted, rtol=0, atol=1 if scale > 1 else 1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_of_other_types_are_restored_in_float32(dtype):
    network, lq = TINY["ConStyleNAFNet"](), torch.rand(3, 40, 50).to(dtype)
    assert torch.equal(restore(network, lq), restore(network, lq.float()))


def test_arrays_of_another_byte_order_or_layout_are_restored_alike():
    network, image = (
        TINY["ConStyleNAFNet"](),
        np.random.default_rng(0).integers(0, 65536, (40, 50, 3), np.uint16),
    )
    wanted = restore(network, image)
    assert np.array_equal(restore(network, image.astype(">u2")), wanted)
    assert np.array_equal(restore(network, np.asfortranarray(image)), wanted)
    assert np.array_equal(restore(network, np.ascontiguousarray(image[:, ::-1])[:, ::-1]), wanted)


def test_self_ensemble_of_a_network_that_turns_with_its_image_changes_nothing():
    network, lq = Sharpen(), torch.rand(2, 3, 72, 96)
    turned = sum(network.weight.data.rot90(turns, (2, 3)) for turns in range(4))
    network.weight.data = turned + turned.flip(3)
    torch.testing.assert_close(
        restore(network, lq, self_ensemble=True), restore(network, lq), rtol=0, atol=1e-4
    )


def test_self_ensemble_in_tiles_is_the_mean_of_the_views_in_tiles():
    network, lq = TINY["ConStyleNAFNet"](), torch.rand(1, 3, 70, 100)
    views = []
    for transposed in (False, True):
        for axes in ((), (2,), (3,), (2, 3)):
            view = (lq.transpose(2, 3) if transposed else lq).flip(axes)
            view = restore(network, view, tile=64).flip(axes)
            views.append(view.transpose(2, 3) if transposed else view)
    ensemble = restore(network, lq, tile=64, self_ensemble=True)
    torch.testing.assert_close(ensemble, torch.stack(views).mean(dim=0))


def test_wrong_arguments_are_named():
    network = ConStyleMaxim(dim=8, num_blocks_bottleneck=1)
    with pytest.raises(ValueError, match="tile is 0; it must be at least 1"):
        restore(network, torch.rand(1, 3, 8, 8), tile=0)
    with pytest.raises(
        ValueError, match=r"overlap is 100 for tiles of 128 pixels; it must lie in \[0, 64\]"
    ):
        restore(network, torch.rand(1, 3, 200, 200), tile=100, overlap=100)
    for wrong in (
        torch.rand(1, 8, 8),
        torch.rand(1, 4, 8, 8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
    ):
        with pytest.raises(
            ValueError, match=r"The images are torch\.\w+ of shape .* wanted floating-point numbers"
        ):
            restore(network, wrong)
    for wrong in (
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((3, 8, 8)),
        np.zeros((8, 8, 3), np.int64),
        np.zeros(8),
    ):
        with pytest.raises(
            ValueError, match=r"The image is \w+ of shape .* wanted \(H, W, 3\), RGB"
        ):
            restore(network, wrong)
    with pytest.raises(
        ValueError, match="The image is a list; wanted an array of NumPy or a tensor of torch"
    ):
        restore(network, [[0]])
    with pytest.raises(
        ValueError, match=r"precision is torch\.int8; it must be one of torch\.float32"
    ):
        restore(network, torch.rand(3, 8, 8), precision=torch.int8)
    with pytest.raises(ValueError, match="window is 0; it must be at least 1"):
        use_local_statistics(network, 0)


def test_estimating_memory_copies_no_weights(monkeypatch):
    """They may fill half of the memory that is estimated."""
    network = TINY["ConStyleRestormer"]()
    copied = []
    copy_of = torch.Tensor.__deepcopy__
    monkeypatch.setattr(
        nn.Parameter, "__deepcopy__", lambda self, memo: copied.append(self) or copy_of(self, memo)
    )
    monkeypatch.setattr(
        torch.Tensor, "__deepcopy__", lambda self, memo: copied.append(self) or copy_of(self, memo)
    )
    monkeypatch.setattr(memory, "free_memory", lambda device: 0)
    assert memory.fitting_tile(network, 512, 512) == 64
    assert count_gmacs(network, 64) > 0
    assert copied == []
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"cpu"}
