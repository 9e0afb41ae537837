"""The table of a test, and tables side by side."""

import csv
import io
import json
import math

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from constyle_arch import cli
from constyle_arch.archs.fused import use_fused
from constyle_arch.reporting.complexity import count_gmacs, count_parameters
from constyle_arch.reporting.report import Benchmark, Results
from constyle_arch.reporting.scores import Mean, means_of, text_table
from tests.networks import built
from tests.shared import paired_dataset, run_with, small_network, write_pairs


def report(name="one", gain=1.0, benchmarks=("A", "B"), dataset=None, **more):
    rows = [{"image": str(i), "input_psnr": 20.0 + i, "psnr": 20.0 + i + gain} for i in range(3)]
    content = {
        "name": name,
        "network": "Net",
        "weights": "net.pth",
        "parameters": 1234567,
        "gmacs": 3.5,
        **more,
    }
    measured = {benchmark: Benchmark.of(rows, dataset) for benchmark in benchmarks}
    return Results(**content, metrics=["psnr"], benchmarks=measured)


def test_infinite_and_undefined_scores_are_told_and_not_averaged():
    mean = Mean.of([10.0, math.inf, 20.0, math.nan, math.inf])
    assert (mean.value, mean.count, mean.infinite, mean.undefined) == (15.0, 5, 2, 1)
    assert (
        mean.remark()
        == "2 infinite (equal images) and 1 undefined (images too small) of 5 not averaged"
    )
    assert Mean.of([math.inf]).value is None
    assert Mean.of([1.0]).remark() == ""
    spoilt = Mean.of([None, 1.0, None])
    assert (spoilt.value, spoilt.count, spoilt.undefined) == (1.0, 3, 0)
    assert spoilt.remark() == "2 restored to NaN or infinite numbers of 3 not averaged"
    assert "nan" in text_table([{"image": "a", "input_psnr": 0.0, "psnr": None}], ["psnr"])
    assert " 0.0000 " in text_table([{"image": "a", "input_psnr": 0.0, "psnr": None}], ["psnr"])
    rows = [{"image": "a", "psnr": math.inf}, {"image": "b", "psnr": 30.0}]
    assert means_of(rows)["psnr"].value == 30


def test_the_three_files_say_the_same(tmp_path):
    one = report()
    equal = {"image": "same", "input_psnr": math.inf, "psnr": math.inf}
    one.benchmarks["B"] = Benchmark.of([*one.benchmarks["B"].rows, equal])
    one.write(tmp_path)
    # strict JSON
    content = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert content["benchmarks"]["A"]["scores"]["psnr"] == {
        "value": 22,
        "count": 3,
        "infinite": 0,
        "undefined": 0,
        "not_finite": 0,
    }
    assert content["benchmarks"]["B"]["scores"]["psnr"] == {
        "value": 22,
        "count": 4,
        "infinite": 1,
        "undefined": 0,
        "not_finite": 0,
    }
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert [(row["benchmark"], row["image"]) for row in rows if row["benchmark"] == "B"] == [
        ("B", name) for name in ("0", "1", "2", "same", "mean")
    ]
    assert rows[-1]["psnr"] == "22.0"
    table = (tmp_path / "results.md").read_text()
    assert "| B         |      4 |    21.0000 | 22.0000 |          1.235 |         3.50 |" in table
    assert "B, psnr: 1 infinite (equal images) of 4 not averaged." in table


def test_gmacs_are_those_of_the_formulas():
    convolution = nn.Conv2d(3, 8, 3, padding=1, stride=2)
    assert count_gmacs(convolution, side=64) == pytest.approx(32 * 32 * 8 * 3 * 9 / 1e9)
    assert count_parameters(convolution) == 8 * 3 * 9 + 8


RESTORMER_BLOCKS = (  # number, channels, heads, side in pixels
    (4, 48, 1, 256),
    (6 + 6, 96, 2, 128),
    (6 + 6, 192, 4, 64),
    (8, 384, 8, 32),
    (4 + 4, 96, 1, 256),
)


def test_gmacs_of_restormer_by_its_equations_are_the_published_ones_and_those_of_its_attention():
    """Published are 140.99 for 256×256 pixels, which are its convolutions; attention's products
    come on top."""
    attention = sum(  # q·kᵀ and its product with v, channels² / heads for each pixel
        blocks * 2 * channels**2 / heads * side**2
        for blocks, channels, heads, side in RESTORMER_BLOCKS
    )
    restormer = ARCH_REGISTRY.get("Restormer")()
    use_fused(restormer, False)
    assert count_gmacs(restormer) == pytest.approx(140.9905 + attention / 1e9, abs=1e-4)


def test_gmacs_of_restormer_are_those_of_its_equations_less_what_is_folded():
    """The product with v is that of the projection; hidden channels are computed in multiples of
    16."""
    saved = sum(
        blocks * (channels**2 / heads * side**2 - channels**3 / heads)
        for blocks, channels, heads, side in RESTORMER_BLOCKS
    )
    added = sum(
        blocks * (-int(2.66 * channels) % 16) * (3 * channels + 18) * side**2
        for blocks, channels, _, side in RESTORMER_BLOCKS
    )
    restormer = ARCH_REGISTRY.get("Restormer")()
    fused = count_gmacs(restormer)
    use_fused(restormer, False)
    assert fused == pytest.approx(count_gmacs(restormer) + (added - saved) / 1e9, rel=1e-6)


def test_gmacs_of_a_network_that_needs_numbers_are_unknown():
    class Stubborn(nn.Module):
        def forward(self, x):
            return x * float(x.mean())

    assert count_gmacs(Stubborn()) is None


def test_compared_results_show_differences_from_the_first(tmp_path, capsys):
    for name, gain, benchmarks in (("one", 1.0, ("A", "B")), ("two", 1.5, ("A",))):
        (tmp_path / name).mkdir()
        report(name, gain, benchmarks).write(tmp_path / name)
    paths = [str(tmp_path / "one"), str(tmp_path / "two" / "results.json")]
    assert cli.main(["compare", *paths, "-o", str(tmp_path / "both.md")]) == 0
    text = capsys.readouterr().out
    assert "| A         | 21.0000 | 22.0000 | 22.5000 (+0.5000) |" in text
    assert "| B         | 21.0000 | 22.0000 |                 – |" in text
    assert (tmp_path / "both.md").read_text() == text
    assert cli.main(["compare", paths[0], "-o", str(tmp_path / "both.md")]) == 0
    (tmp_path / "both.md").write_text("# Notes")
    assert cli.main(["compare", *paths, "-o", str(tmp_path / "both.md")]) == 2
    assert "holds no tables of this command; choose another name" in capsys.readouterr().err
    assert (tmp_path / "both.md").read_text() == "# Notes"


def test_pictures_show_each_test_between_input_and_truth(tmp_path, capsys):
    """Two tests of one benchmark; the second differs from the first in a corner."""
    data = write_pairs(tmp_path / "data", 2, height=96, width=128)
    dataset = {**paired_dataset(data, "A"), "phase": "test", "scale": 1}
    for name, corner in (("one", 0), ("two", 90)):
        folder = tmp_path / name / "visualization" / "A"
        folder.mkdir(parents=True)
        report(name, benchmarks=("A",), dataset=dataset, suffix=name).write(tmp_path / name)
        for image in ("000", "001"):
            restored = cv2.imread(str(data / "gt" / f"{image}.png"))
            restored[60:80, 90:110] = corner
            cv2.imwrite(str(folder / f"{image}_{name}.png"), restored)
    (tmp_path / "two" / "visualization" / "A" / "001_two.png").unlink()
    paths = [str(tmp_path / name) for name in ("one", "two")]
    assert cli.main(["compare", *paths, "--pictures", str(tmp_path / "shown")]) == 0
    assert "Wrote 1 pictures" in capsys.readouterr().out
    (file,) = (tmp_path / "shown").rglob("*.jpg")
    assert file.relative_to(tmp_path / "shown").as_posix() == "A/000.jpg"
    picture = cv2.imread(str(file))
    assert picture.shape[1] == 4 * 128 + 3 * 6  # input, one, two, truth
    for panel, corner in ((1, 0), (2, 90)):  # what differs is framed, and magnified below
        shown = picture[26:122, panel * 134 : panel * 134 + 128]
        assert np.abs(shown[64:76, 94:106].astype(int) - corner).max() < 25
        magnified = picture[128:, panel * 134 : panel * 134 + 128].astype(int)
        assert (np.abs(magnified - corner).max(axis=2) < 25).mean() > 0.5
    (tmp_path / "two" / "visualization" / "A" / "000_two.png").unlink()
    assert cli.main(["compare", *paths, "--pictures", str(tmp_path / "shown")]) == 2
    assert "test with val.save_img: true" in capsys.readouterr().err


def test_results_of_other_images_are_not_compared_silently(tmp_path, capsys):
    for name, images in (("one", 3), ("two", 2)):
        (tmp_path / name).mkdir()
        one = report(name)
        one.benchmarks["A"] = Benchmark.of(one.benchmarks["A"].rows[:images])
        one.write(tmp_path / name)
    assert cli.main(["compare", str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    assert "A was not measured on the same images" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"name": 1, "benchmarks": []}', None])
def test_what_holds_no_results_is_named(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    assert cli.main(["compare", str(tmp_path)]) == 2
    assert "results.json" in capsys.readouterr().err


def test_results_without_a_common_metric_are_refused(tmp_path, capsys):
    for name in ("psnr", "ssim"):
        (tmp_path / name).mkdir()
        one = report(name)
        one.metrics = [name]
        one.benchmarks = {"A": Benchmark.of([{"image": "0", f"input_{name}": 1.0, name: 2.0}])}
        one.write(tmp_path / name)
    assert cli.main(["compare", str(tmp_path / "psnr"), str(tmp_path / "ssim")]) == 2
    assert "no metric in common" in capsys.readouterr().err


def scored(name, network, data, folder):
    torch.save({"params": network.state_dict()}, folder / "net.pth")
    metrics = {"psnr": {"type": "calculate_psnr", "crop_border": 0}}
    options = {
        "name": name,
        "model_type": "RestorationModel",
        "num_gpu": 0,
        "datasets": {"test": paired_dataset(data)},
        "network_g": small_network(),
        "path": {"pretrain_network_g": "net.pth"},
        "val": {"save_img": True, "metrics": metrics},
    }
    return run_with("test", options, folder)


def test_identical_images_do_not_spoil_a_tests_mean(tmp_path):
    """A network that changes nothing, on a pair that needs nothing: infinite PSNR."""
    data = write_pairs(tmp_path / "data", 2)
    for side in ("lq", "gt"):
        (data / side / "000.png").write_bytes((data / "gt" / "001.png").read_bytes())
    network = built(small_network())
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("output"):
                parameter.zero_()
        image = torch.rand(1, 3, 40, 48)
        assert torch.equal(network.eval()(image), image)
    result = scored("same", network, data, tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    text = (tmp_path / "results" / "same" / "results.csv").read_text()
    rows = {row["image"]: row for row in csv.DictReader(io.StringIO(text))}
    assert rows["000"]["psnr"] == "inf"
    assert rows["mean"]["psnr"] == rows["001"]["psnr"]
    assert "1 infinite (equal images) of 2 not averaged" in result.stderr


def test_weights_that_are_not_finite_are_blamed_and_fail_the_test(tmp_path):
    data = write_pairs(tmp_path / "data", 2)
    network = built(small_network())
    network.output.weight.data[0] = math.nan
    result = scored("spoilt", network, data, tmp_path)
    assert result.returncode == 2
    assert "2 of 2 images of pairs were restored to NaN or infinite numbers" in result.stderr
    assert "The weights net.pth [params] hold such numbers, in output.weight" in result.stderr
    assert "too small" not in result.stderr
    content = json.loads((tmp_path / "results" / "spoilt" / "results.json").read_text())
    assert content["benchmarks"]["pairs"]["scores"]["psnr"]["not_finite"] == 2
    assert not list((tmp_path / "results" / "spoilt").rglob("*.png"))  # they would be black
