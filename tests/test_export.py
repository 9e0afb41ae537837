"""Networks exported to ONNX: one file that restores images of every size as PyTorch does."""

import copy
import json
import sys
from functools import partial

import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from constyle_arch import cli
from constyle_arch.archs import (
    ConStyleConv,
    ConStyleKBNet,
    ConStyleMaxim,
    ConStyleNAFNet,
    ConStyleRestormer,
    ConStyleUformer,
    Maxim,
    NAFNet,
    Restormer,
)
from constyle_arch.archs.local_statistics import use_local_statistics
from constyle_arch.archs.maxim_blocks import BottleneckBlock, EncoderBlock
from constyle_arch.errors import UserError
from constyle_arch.files import save_atomically
from constyle_arch.inference import onnx_export
from constyle_arch.inference.onnx_export import export_onnx
from constyle_arch.inference.restoring import PRECISIONS

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

UNET = {
    "dim": 8,
    "num_blocks_down": (1, 0, 0),
    "num_blocks_bottleneck": 1,
    "num_blocks_up": (0, 0, 1),
    "num_refinement_blocks": 0,
}
BLOCKS = {"num_blocks_down": (2, 0, 0), "num_blocks_bottleneck": 1, "num_blocks_up": (0, 0, 1)}


def shortened(network):
    """MAXIM with each kind of block once or twice: tracing them takes most of an export's time."""
    for block in network.modules():
        if isinstance(block, EncoderBlock | BottleneckBlock):
            block.body = block.body[:2]
    for block in network.up:
        block.body = block.body[:0]
    return network


NETWORKS = {
    "ConStyleRestormer": partial(ConStyleRestormer, **UNET, bias=True),
    "ConStyleNAFNet": partial(ConStyleNAFNet, **UNET),
    "ConStyleConv": partial(ConStyleConv, dim=8, activation="leaky_relu"),
    "ConStyleKBNet": lambda: ConStyleKBNet(dim=8, **BLOCKS),
    "ConStyleUformer": lambda: ConStyleUformer(dim=8, **BLOCKS),
    "ConStyleMaxim": lambda: shortened(ConStyleMaxim(dim=4, num_blocks_bottleneck=1)),
    "Restormer": partial(
        Restormer,
        dim=8,
        num_blocks=(1, 0, 0, 1),
        num_refinement_blocks=0,
        layer_norm_type="BiasFree",
    ),
    "NAFNet": partial(NAFNet, width=8, enc_blk_nums=(1, 1), middle_blk_num=1, dec_blk_nums=(1, 1)),
    "NAFNet-Baseline": partial(
        NAFNet, width=8, enc_blk_nums=(1,), middle_blk_num=1, dec_blk_nums=(1,), block="Baseline"
    ),
    "Maxim": lambda: shortened(Maxim(dim=4, num_blocks_bottleneck=1)),
}
WHOLE_NETWORKS = {
    "ConStyleRestormer": ConStyleRestormer,
    "ConStyleMaxim": partial(ConStyleMaxim, dim=8),
    "Maxim": partial(Maxim, dim=8),
}
SIZES = [(1, 1, 1), (2, 5, 3), (1, 16, 24), (3, 17, 31), (1, 8, 65), (1, 70, 130)]
TOLERANCE = 2e-5
"""As a share of the largest value; measured were 3e-6 at most."""


def randomised(network):
    """Weights of a size that keeps values in range, and no zeros: β and γ of a new NAFNet would
    hide its blocks."""
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        if parameter.dim() < 2 or name.endswith(("beta", "gamma")):
            nn.init.normal_(parameter, mean=0.5, std=0.2)
    return network.eval()


def assert_restores_every_size(path, network):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch, height, width in SIZES:
        lq = torch.rand(batch, 3, height, width)
        with torch.no_grad():
            expected = network(lq)
        restored = session.run(["restored"], {"lq": lq.numpy()})[0]
        assert restored.dtype == np.float32
        difference = (torch.from_numpy(restored) - expected).abs().max()
        assert difference <= TOLERANCE * max(1, expected.abs().max()), (batch, height, width)


@pytest.mark.parametrize(
    "name",
    [
        name if name == "ConStyleNAFNet" else pytest.param(name, marks=pytest.mark.slow)
        for name in NETWORKS
    ],
)
def test_one_file_restores_images_of_every_size(tmp_path, name, capfd):
    network = randomised(NETWORKS[name]())
    before = copy.deepcopy(network.state_dict())
    path = tmp_path / "net.onnx"
    difference = export_onnx(network, path)
    assert "".join(capfd.readouterr()) == ""
    assert difference < 1e-4
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    assert_restores_every_size(path, network)

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    for value in (*model.graph.input, *model.graph.output):
        dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        assert dims == ["batch", 3, "height", "width"]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["architecture"] == type(network).__name__
    options = json.loads(metadata["options"])
    assert options["width" if isinstance(network, NAFNet) else "dim"] in (4, 8)
    assert model.opset_import[0].version == 18
    assert b"constyle_arch/" not in path.read_bytes()  # no lines of Python, nor where they stand


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE_NETWORKS)
def test_one_file_of_a_whole_network_restores_images_of_every_size(tmp_path, name):
    network = randomised(WHOLE_NETWORKS[name]())
    export_onnx(network, tmp_path / "net.onnx")
    assert_restores_every_size(tmp_path / "net.onnx", network)


@pytest.fixture
def tiny():
    return randomised(NAFNet(width=4, enc_blk_nums=(1,), middle_blk_num=0, dec_blk_nums=(0,)))


def test_other_operator_sets_are_written(tmp_path, tiny):
    export_onnx(tiny, tmp_path / "net.onnx", opset=23)
    assert onnx.load(tmp_path / "net.onnx").opset_import[0].version == 23
    assert_restores_every_size(tmp_path / "net.onnx", tiny)


@pytest.fixture
def convolution():
    return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.GELU()).eval()


def test_any_network_that_keeps_an_images_size_is_exported_and_replaces_on_demand(
    tmp_path, convolution
):
    (tmp_path / "net.onnx").write_text("old")
    export_onnx(convolution, tmp_path / "net.onnx", overwrite=True)
    assert_restores_every_size(tmp_path / "net.onnx", convolution)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("there.onnx", {}, "there.onnx already exists; choose another name or add --overwrite"),
        ("net.pth", {}, "must end in .onnx"),
        ("none/net.onnx", {}, "none does not exist"),
        ("net.onnx", {"opset": 17}, "opset is 17; it must be one from 18 to 23"),
    ],
)
def test_export_that_cannot_be_done_is_refused_and_writes_nothing(
    tmp_path, tiny, name, options, message
):
    (tmp_path / "there.onnx").write_text("precious")
    with pytest.raises(UserError, match=message):
        export_onnx(tiny, tmp_path / name, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]
    assert (tmp_path / "there.onnx").read_text() == "precious"


def test_local_statistics_need_a_tile(tmp_path, tiny):
    use_local_statistics(tiny, 16)
    with pytest.raises(
        UserError, match=r"windows of 16 pixels, which .* every size cannot say; give a tile"
    ):
        export_onnx(tiny, tmp_path / "net.onnx")
    export_onnx(tiny, tmp_path / "net.onnx", tile=32)
    lq = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            run_tile(tmp_path / "net.onnx", lq), tiny(lq), rtol=1e-4, atol=1e-4
        )
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert (metadata["tile"], metadata["tlc"]) == ("32", "16")


def run_tile(path, lq):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["restored"], {"lq": lq.numpy()})[0])


@pytest.fixture(scope="module")
def float32_tile(tmp_path_factory):
    """A pretrained network, for tiles of 96 pixels."""
    path = tmp_path_factory.mktemp("float32") / "net.onnx"
    assert cli.main(["export", "denoise", str(path), "--tile", "96"]) == 0
    return path


def test_half_precision_restores_about_the_same_with_half_the_bytes(tmp_path):
    network = randomised(NAFNet(width=32, enc_blk_nums=(1,), middle_blk_num=0, dec_blk_nums=(0,)))
    lq = torch.rand(1, 3, 32, 32)
    files = {dtype: tmp_path / f"{dtype}.onnx" for dtype in PRECISIONS}
    for precision, file in files.items():
        export_onnx(network, file, tile=32, precision=precision)
    whole, *halves = (run_tile(file, lq) for file in files.values())
    assert all(0 < (half - whole).abs().max() < 0.02 * whole.abs().max() for half in halves)
    size, *sizes = (file.stat().st_size for file in files.values())
    assert max(sizes) < 0.8 * size


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--half", "--bf16"])
def test_half_precision_is_within_a_step_of_8_bits_on_a_photograph(tmp_path, float32_tile, flag):
    """Of one of scikit-image's photographs, with noise."""
    path = tmp_path / "net.onnx"
    assert cli.main(["export", "denoise", str(path), "--tile", "96", flag]) == 0
    assert path.stat().st_size < 0.6 * float32_tile.stat().st_size
    random = np.random.default_rng(0)
    noisy = data.chelsea()[60:156, 120:216] / 255 + random.normal(0, 0.1, (96, 96, 3))
    lq = torch.from_numpy(noisy.clip(0, 1).astype(np.float32)).permute(2, 0, 1)[None]
    whole, half = (run_tile(file, lq) for file in (float32_tile, path))
    assert 0 < (half - whole).abs().max() < 1 / 255


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": torch.float16}, "Half precision needs a tile"),
        ({"tile": 33}, "tile is 33; it must be a multiple of 2"),
        ({"tile": 0}, "tile is 0; it must be a multiple of 2, and at least that"),
    ],
)
def test_tiles_that_cannot_be_are_refused(tmp_path, tiny, options, message):
    with pytest.raises(UserError, match=message):
        export_onnx(tiny, tmp_path / "net.onnx", **options)


def test_network_that_onnxruntime_restores_otherwise_is_not_written(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(onnx_export, "TOLERANCE", -1.0)
    with pytest.raises(
        UserError, match=r"The exported NAFNet differs from PyTorch's by .* nothing was written"
    ):
        export_onnx(tiny, tmp_path / "net.onnx", tile=16)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("library", ["onnx", "onnxscript"])
def test_without_the_extra_the_message_says_how_to_install_it(tmp_path, tiny, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        UserError, match=rf'{library} cannot be imported; .*pip install "constyle-arch\[onnx\]"'
    ):
        export_onnx(tiny, tmp_path / "net.onnx")


def test_without_onnxruntime_the_file_is_written_unchecked(tmp_path, convolution, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export_onnx(convolution, tmp_path / "net.onnx") is None


def test_command_exports_the_network_of_a_checkpoint(tmp_path, tiny, capsys):
    save_atomically({"params": tiny.state_dict()}, tmp_path / "w.pth")
    assert cli.main(["export", str(tmp_path / "w.pth"), str(tmp_path / "net.onnx")]) == 0
    said = capsys.readouterr().out
    assert (
        f"NAFNet of {tmp_path / 'w.pth'} [params], 0.0 MB, opset 18.\nonnxruntime and PyTorch "
        "differ by " in said
    )
    assert_restores_every_size(tmp_path / "net.onnx", tiny)
