"""What people have from BasicSR works as it is: its data sets' options, its option files, its scripts."""

import sys
from types import SimpleNamespace

import pytest
from basicsr.data.paired_image_dataset import PairedImageDataset

import constyle_arch
from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset
from constyle_arch.errors import DataError
from tests.conftest import training_options, write_pairs


@pytest.fixture
def numbered(tmp_path):
    """Four pairs whose degraded names end in x2, and a list of three of them as BasicSR writes it."""
    data = write_pairs(tmp_path / "data", 4)
    for path in (data / "lq").iterdir():
        path.rename(path.with_stem(f"{path.stem}x2"))
    (tmp_path / "meta.txt").write_text("003.png (24,24,3)\n000.png (24,24,3)\n001.png (24,24,3)\n")
    return data


def section_of_basicsr(data, **more):
    """A validation set as BasicSR's files have it."""
    roots = {f"dataroot_{side}": str(data / side) for side in ("gt", "lq")}
    section = {"name": "Set", "phase": "val", "scale": 1, **roots, "io_backend": {"type": "disk"}}
    return section | {"filename_tmpl": "{}x2", "use_shuffle": True, **more}


@pytest.mark.parametrize("listed", [False, True])
def test_changing_the_type_of_a_data_set_of_basicsrs_is_enough(tmp_path, numbered, listed):
    more = {"meta_info_file": str(tmp_path / "meta.txt")} if listed else {}
    section = section_of_basicsr(numbered, **more)
    theirs, ours = PairedImageDataset(dict(section)), PairedRestorationDataset(dict(section))
    of_theirs = {theirs[index]["gt_path"]: theirs[index] for index in range(len(theirs))}
    assert len(ours) == len(of_theirs) == (3 if listed else 4)
    for index in range(len(ours)):
        item = ours[index]
        assert item["lq_path"] == of_theirs[item["gt_path"]]["lq_path"]
        assert item["lq"].equal(of_theirs[item["gt_path"]]["lq"])


def test_images_that_a_list_of_basicsrs_has_and_a_folder_lacks_are_named(tmp_path, numbered):
    (numbered / "lq" / "001x2.png").unlink()
    (tmp_path / "meta.txt").write_text("001.png (24,24,3)\n007.png (24,24,3)\n")
    with pytest.raises(DataError, match=r"2 images that .*meta\.txt lists are not in .*'\{\}x2': 001, 007"):
        PairedRestorationDataset(section_of_basicsr(numbered, meta_info_file=str(tmp_path / "meta.txt")))
    with pytest.raises(DataError, match=r"meta_info_file: .*gone\.txt cannot be read: No such file"):
        PairedRestorationDataset(section_of_basicsr(numbered, meta_info_file="gone.txt"))


def test_wandb_is_given_what_tensorboard_is(monkeypatch):
    """wandb itself is not installed for the tests; these are the arguments of its `init`."""
    import basicsr.train

    given = []
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **arguments: given.append(arguments)))
    constyle_arch.register()
    options = {"name": "mine", "logger": {"wandb": {"project": "rain", "resume_id": None}}}
    basicsr.train.init_wandb_logger(options)
    options["logger"]["wandb"]["resume_id"] = "a1b2"
    basicsr.train.init_wandb_logger(options)
    assert [(one["project"], one["name"], one["sync_tensorboard"]) for one in given] == [("rain", "mine", True)] * 2
    assert [(one["id"], one["resume"]) for one in given] == [(None, None), ("a1b2", "allow")]


def test_wandb_that_is_not_installed_is_said(monkeypatch, ten_pairs):
    from constyle_arch.options import combinations

    options = training_options(ten_pairs)
    options["logger"]["wandb"] = {"project": "rain"}
    monkeypatch.setattr(combinations, "find_spec", lambda name: None)
    problems = list(combinations._check_logger(options))
    assert "wandb is not installed: pip install wandb" in problems[0] and "use_tb_logger: true" in problems[1]
    options["logger"]["wandb"] = {"project": None}
    assert list(combinations._check_logger(options)) == []
