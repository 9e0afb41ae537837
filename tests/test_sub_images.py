"""Images are cut into sub-images that cover them."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset
from constyle_arch.data.preparation.packing import pack
from constyle_arch.data.preparation.plan import Plan
from constyle_arch.images import decode
from tests.shared import contents, write_pairs
from tests.stand_ins import prepare, write_stand_ins


@pytest.mark.parametrize(
    ("height", "width", "size", "overlap"), [(40, 48, 16, 4), (33, 50, 16, 0), (16, 64, 16, 15)]
)
def test_sub_images_cover_the_image_and_overlap(tmp_path, height, width, size, overlap):
    write_pairs(tmp_path, 2, height, width)
    plan = Plan(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq"), sub_image=size, overlap=overlap)
    pack(plan, tmp_path / "out", workers=0)
    for side in ("lq", "gt"):
        packed = contents(tmp_path / "out" / f"{side}.lmdb")
        for name in ("000", "001"):
            image = cv2.imread(str(tmp_path / side / f"{name}.png"))
            seen = np.zeros((height, width), int)
            corners = []
            for key in sorted(key for key in packed if key.startswith(f"{name}_s")):
                crop = decode(packed[key], key)
                assert crop.shape == (size, size, 3)
                (corner,) = [
                    (row, column)
                    for row in range(height - size + 1)
                    for column in range(width - size + 1)
                    if np.array_equal(image[row : row + size, column : column + size], crop)
                ]
                corners.append(corner)
                seen[corner[0] : corner[0] + size, corner[1] : corner[1] + size] += 1
            assert seen.min() >= 1
            for axis in (0, 1):
                starts = sorted({corner[axis] for corner in corners})
                assert all(b - a <= size - overlap for a, b in itertools.pairwise(starts))
    dataset = PairedRestorationDataset(
        {f"dataroot_{side}": str(tmp_path / "out" / f"{side}.lmdb") for side in ("lq", "gt")}
        | {"phase": "val"}
    )
    assert len(dataset) == len(contents(tmp_path / "out" / "lq.lmdb"))


def test_sub_images_of_many_to_one_names_are_matched_as_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_stand_ins(tmp_path, ["OTS"], height=40, width=60)
    sizes = ("--sub-image", "32", "--overlap", "8")
    prepare(
        "folders",
        "--gt",
        "datasets/OTS/clear",
        "--lq",
        "datasets/OTS/hazy",
        "--lq-name",
        "{}_*_*",
        *sizes,
        "-o",
        "x",
    )
    options = dict(
        line.strip().split(": ")
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("  ")
    )
    options = {key: value.strip("'") for key, value in options.items()}
    dataset = PairedRestorationDataset({**options, "phase": "val"})
    assert [pair[0] for pair in dataset.pairs] == [
        f"0001_0.8_0.2_s{number:03}" for number in range(1, 7)
    ]
    assert [pair[1] for pair in dataset.pairs] == [f"0001_s{number:03}" for number in range(1, 7)]
    assert options["packed as sub-images"] == "6 degraded, 6 clean"
    assert "\n  packed as sub-images: 6 degraded, 6 clean\n" in Path("x/report.txt").read_text()


def test_16_bit_and_oriented_images_are_cut_as_they_are_read(tmp_path):
    (tmp_path / "gt").mkdir()
    image = np.random.default_rng(0).integers(0, 65536, (40, 40, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "gt" / "deep.png"), image)
    pack(Plan(gt=str(tmp_path / "gt"), sub_image=32, overlap=8), tmp_path / "out", workers=0)
    crop = decode(contents(tmp_path / "out" / "gt.lmdb")["deep_s004"], "")
    np.testing.assert_array_equal(crop, image[8:, 8:])


@pytest.mark.parametrize(
    "forms", [("{}_hazy", "{}"), ("{}_*", "{}"), ("a{}", "b{}"), ("{}x", "{}y")]
)
def test_forms_printed_for_sub_images_fit_the_keys(tmp_path, forms):
    for side, form in zip(("lq", "gt"), forms, strict=True):
        (tmp_path / side).mkdir()
        for number in range(2):
            name = form.replace("{}", str(number)).replace("*", "9")
            cv2.imwrite(
                str(tmp_path / side / f"{name}.png"), np.full((40, 40, 3), number, np.uint8)
            )
    plan = Plan(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq"), names=forms, sub_image=24)
    pack(plan, tmp_path / "out", workers=0)
    roots = {f"dataroot_{side}": str(tmp_path / "out" / f"{side}.lmdb") for side in ("lq", "gt")}
    names = dict(zip(("lq_name", "gt_name"), plan.names_packed(forms), strict=True))
    assert len(PairedRestorationDataset({**roots, **names, "phase": "val"})) == 8


def test_sub_images_of_a_public_data_set_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_stand_ins(tmp_path, ["GoPro"])
    prepare("gopro", "--sub-image", "128", "--overlap", "120")
    prepared = tmp_path / "datasets" / "GoPro" / "prepared"
    assert set(contents(prepared / "train" / "gt.lmdb")) == {
        f"GOPR0372_07_00/sharp/000047_s00{i}" for i in (1, 2)
    }
    assert set(contents(prepared / "test" / "gt.lmdb")) == {"GOPR0384_11_00/sharp/000001"}
