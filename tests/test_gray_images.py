"""Images of one channel: through data sets, losses, validation, metrics and `basicsr restore`."""

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr

from constyle_arch import cli
from constyle_arch.images import to_gray
from constyle_arch.options.preflight import check_options
from constyle_arch.options.reading import complete_datasets
from constyle_arch.training.validation import measure
from tests.networks import built
from tests.shared import TINY_NAFNET, training_options, write_pairs

GRAY = {**TINY_NAFNET, "img_channel": 1}


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.fixture
def gray_pairs(tmp_path):
    """Two pairs of files of one channel."""
    data = write_pairs(tmp_path / "data", 2)
    for path in data.rglob("*.png"):
        cv2.imwrite(str(path), cv2.cvtColor(read(path), cv2.COLOR_BGR2GRAY))
    assert read(data / "gt" / "000.png").ndim == 2
    return data


def test_luma_is_opencvs(tmp_path):
    image = np.random.default_rng(0).random((5, 7, 3), np.float32)
    luma = to_gray(torch.from_numpy(image).permute(2, 0, 1)[None])
    np.testing.assert_allclose(
        luma[0, 0].numpy(), cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), atol=1e-6
    )
    assert to_gray(luma) is luma


def test_network_of_one_channel_trains_and_is_measured_on_gray_images(make_model, gray_pairs):
    from torch.utils.data import DataLoader

    from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset

    model = make_model(
        network_g=GRAY, model_type="RestorationModel", contrastive_opt=None, content_opt=None
    )
    options = training_options(gray_pairs, gray_pairs)["datasets"]["val"] | {"phase": "val"}
    loader = DataLoader(PairedRestorationDataset(options), batch_size=1)
    sample = next(iter(loader))
    before = {name: tensor.clone() for name, tensor in model.net_g.state_dict().items()}
    model.feed_data(sample)
    model.optimize_parameters(1)
    assert any(
        not torch.equal(tensor, before[name]) for name, tensor in model.net_g.state_dict().items()
    )
    metrics = {"psnr": {"type": "calculate_psnr", "crop_border": 0, "test_y_channel": False}}
    measured = measure(
        model.restored_images,
        loader,
        metrics,
        score_input=True,
        pictures_of=range(2),
        progress=False,
    )
    for one in measured:
        clean, degraded = (read(gray_pairs / side / f"{one.name}.png") for side in ("gt", "lq"))
        assert np.array_equal(one.pictures["clean"], clean)
        assert one.row["input_psnr"] == calculate_psnr(degraded, clean, 0, input_order="HWC")
        assert one.row["psnr"] == calculate_psnr(
            one.pictures["restored"], clean, 0, input_order="HWC"
        )


def test_options_of_a_network_of_one_channel_pass_the_checks(gray_pairs):
    options = training_options(gray_pairs, gray_pairs) | {
        "network_g": dict(GRAY),
        "model_type": "RestorationModel",
    }
    for loss in ("contrastive_opt", "content_opt", "style_opt", "contrast"):
        del options["train"][loss]
    options |= {"is_train": True, "dist": False, "auto_resume": False}
    complete_datasets(options)
    check_options(options)


def test_gray_photographs_are_restored_by_a_network_of_one_channel(tmp_path, gray_pairs, capsys):
    torch.manual_seed(0)
    network = built(GRAY).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.save({"params": network.state_dict()}, tmp_path / "gray.pth")
    arguments = [
        "-i",
        str(gray_pairs / "lq"),
        "-o",
        str(tmp_path / "out"),
        "--weights",
        str(tmp_path / "gray.pth"),
    ]
    assert cli.main(["restore", *arguments]) == 0, capsys.readouterr()
    degraded, restored = read(gray_pairs / "lq" / "001.png"), read(tmp_path / "out" / "001.png")
    with torch.no_grad():
        expected = network(torch.from_numpy(degraded / np.float32(255))[None, None])[0, 0]
    assert restored.ndim == 2
    cv2.imwrite(
        str(gray_pairs / "lq" / "colours.png"), np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    )
    assert cli.main(["restore", *arguments]) == 1
    assert (
        "colours.png: it has colours, and the network restores gray images"
        in capsys.readouterr().out
    )
    np.testing.assert_allclose(restored, expected.clamp(0, 1).numpy() * 255, atol=0.51)
