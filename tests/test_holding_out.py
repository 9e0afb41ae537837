"""`hold_out`: a folder split by whole clean images into what trains and what validates."""

import shutil

import pytest

from constyle_arch.data.degraded_image_dataset import DegradedImageDataset
from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset
from constyle_arch.errors import DataError, OptionsError
from tests.shared import write_pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven clean images, two degraded versions of each."""
    folder = write_pairs(tmp_path_factory.mktemp("data"), 7)
    for path in sorted((folder / "lq").iterdir()):
        shutil.copy(path, path.with_name(f"{path.stem}_2.png"))
        path.rename(path.with_name(f"{path.stem}_1.png"))
    return folder


def data_set(folder, phase, **options):
    options = {
        "name": "x",
        "phase": phase,
        "gt_size": 16,
        "dataroot_gt": str(folder / "gt"),
        **options,
    }
    if "degradations" in options:
        return DegradedImageDataset(options)
    return PairedRestorationDataset(
        {**options, "dataroot_lq": str(folder / "lq"), "lq_name": "{}_*"}
    )


@pytest.mark.parametrize("options", [{}, {"degradations": [{"type": "noise", "sigma": 25}]}])
def test_phases_share_no_clean_image_and_miss_none(folder, options):
    def clean(phase, **more):
        items = data_set(folder, phase, **options, **more)
        return [items[number]["gt_path"] for number in range(len(items))]

    trained, validated, all_of_them = (
        clean("train", hold_out=3),
        clean("val", hold_out=3),
        clean("val"),
    )
    assert set(validated) == {str(folder / "gt" / f"{number}.png") for number in ("002", "005")}
    assert sorted(trained + validated) == sorted(all_of_them)
    assert not set(trained) & set(validated)


@pytest.mark.parametrize("hold_out", [1, 0, True, "3", 2.0, 8])
def test_what_cannot_be_held_out_is_refused(folder, hold_out):
    with pytest.raises(
        DataError if hold_out == 8 else OptionsError, match=rf"hold_out is {hold_out!r}"
    ):
        data_set(folder, "val", hold_out=hold_out)
