"""Pairing by name, reading from folders and LMDB, sampling for training."""

import random
import shutil

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader
from basicsr.utils.lmdb_util import make_lmdb_from_imgs

from constyle_arch.data.degraded_image_dataset import DegradedImageDataset
from constyle_arch.data.image_stores import ImageFolder
from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset
from constyle_arch.data.pairing import match_names
from constyle_arch.data.training_sampler import SeededDataset, WholeBatchSampler, collate
from constyle_arch.errors import DataError
from tests.shared import paired_dataset, write_pairs


@pytest.mark.parametrize(
    ("lq", "gt", "templates", "expected"),
    [
        (["b", "a"], ["a", "b"], ("{}", "{}"), [("a", "a"), ("b", "b")]),
        (
            ["rain-2", "rain-10"],
            ["norain-10", "norain-2"],
            ("rain-{}", "norain-{}"),
            [("rain-10", "norain-10"), ("rain-2", "norain-2")],
        ),
        (
            ["0001_0.8_0.2", "0001_1_0.04"],
            ["0001"],
            ("{}_*_*", "{}"),
            [("0001_0.8_0.2", "0001"), ("0001_1_0.04", "0001")],
        ),
        (["moto_left_1_2"], ["moto_left"], ("{}_*_*", "{}"), [("moto_left_1_2", "moto_left")]),
        (["1_0.8_s3"], ["1_s3"], ("{}_*_s{}", "{}_s{}"), [("1_0.8_s3", "1_s3")]),
        (["a+(b).c"], ["a+(b).c"], ("{}", "{}"), [("a+(b).c", "a+(b).c")]),
    ],
)
def test_names_are_matched_by_template(lq, gt, templates, expected):
    assert match_names(lq, gt, *templates) == expected


@pytest.mark.parametrize(
    ("lq", "gt", "templates", "message"),
    [
        (
            ["a", "x"],
            ["a"],
            ("{}", "{}"),
            "1 of 2 degraded images have no clean partner by lq_name '{}' and gt_name '{}': x",
        ),
        (["a"], ["a"], ("rain-{}", "{}"), "do not have the form of lq_name 'rain-{}': a"),
        (
            ["1_2"],
            ["1_x", "1_y"],
            ("{}_*", "{}_*"),
            "match gt_name '{}_*' as another one does: 1_y (as 1_x)",
        ),
        (["a"], ["a"], ("{}", "a"), "same number of {}"),
        (["a"], ["a"], ("a", "a"), "at least one"),
    ],
)
def test_mismatched_names_are_reported(lq, gt, templates, message):
    with pytest.raises(DataError) as error:
        match_names(lq, gt, *templates)
    assert message in str(error.value)


def test_unused_clean_images_are_reported_by_name(caplog):
    match_names(["a"], ["a", "b"])
    assert "1 clean images have no degraded one and are not used: b" in caplog.text


def test_long_lists_of_names_are_cut():
    with pytest.raises(DataError, match="and 5 more"):
        match_names([f"{i:02}" for i in range(15)], ["a"])


def options(folder, **more):
    return {**paired_dataset(folder), "phase": "val", "scale": 1, **more}


def to_lmdb(folder, **kwargs):
    for side in ("lq", "gt"):
        files = ImageFolder(folder / side).paths
        make_lmdb_from_imgs(
            str(folder / side),
            str(folder / f"{side}.lmdb"),
            [path.name for path in files.values()],
            list(files),
            map_size=2**24,
        )
    roots = {f"dataroot_{side}": str(folder / f"{side}.lmdb") for side in ("lq", "gt")}
    return options(folder, io_backend={"type": "lmdb"}, **roots, **kwargs)


def test_item_is_the_image_as_rgb_in_unit_range(tmp_path):
    write_pairs(tmp_path, 1)
    item = PairedRestorationDataset(options(tmp_path))[0]
    for side in ("lq", "gt"):
        image = cv2.cvtColor(cv2.imread(str(tmp_path / side / "000.png")), cv2.COLOR_BGR2RGB)
        expected = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)
        assert torch.equal(item[side], expected)
        assert item[side].dtype == torch.float32


def test_folders_and_lmdb_give_the_same_training_crops(tmp_path):
    write_pairs(tmp_path, 3)
    for side in ("lq", "gt"):  # dotted names, which BasicSR's own reader cuts at the first dot
        for path in (tmp_path / side).iterdir():
            path.rename(path.with_stem(f"{path.stem}_0.8_0.2"))
    train = {"phase": "train", "gt_size": 16}
    datasets = [
        PairedRestorationDataset({**options(tmp_path), **train}),
        PairedRestorationDataset({**to_lmdb(tmp_path), **train}),
    ]
    for index in range(3):
        items = []
        for dataset in datasets:
            random.seed(index)
            items.append(dataset[index])
        assert torch.equal(items[0]["lq"], items[1]["lq"])
        assert torch.equal(items[0]["gt"], items[1]["gt"])
        assert items[0]["lq"].shape == (3, 16, 16)


def test_crops_of_a_pair_lie_at_one_place(tmp_path):
    write_pairs(tmp_path, 1)
    shutil.copy(tmp_path / "gt" / "000.png", tmp_path / "lq" / "000.png")
    dataset = PairedRestorationDataset(options(tmp_path) | {"phase": "train", "gt_size": 16})
    for _ in range(20):
        item = dataset[0]
        assert torch.equal(item["lq"], item["gt"])


def test_folders_may_be_paths(tmp_path):
    write_pairs(tmp_path, 2)
    roots = {"dataroot_gt": tmp_path / "gt", "dataroot_lq": tmp_path / "lq"}
    assert len(PairedRestorationDataset({"phase": "val", **roots})) == 2
    degraded = {"degradations": [{"type": "noise", "sigma": 25}], "phase": "val"}
    for root in (tmp_path / "gt", [tmp_path / "gt"]):
        assert len(DegradedImageDataset({"dataroot_gt": root, **degraded})) == 2


def test_second_crop_is_of_the_same_degraded_image(tmp_path):
    write_pairs(tmp_path, 1, height=16, width=64)
    opt = options(tmp_path) | {
        "phase": "train",
        "gt_size": 16,
        "use_hflip": False,
        "use_rot": False,
        "second_crop": True,
    }
    whole = PairedRestorationDataset(options(tmp_path))[0]["lq"]
    dataset = PairedRestorationDataset(opt)
    places = set()
    for _ in range(10):
        item = dataset[0]
        found = [
            [x for x in range(49) if torch.equal(whole[..., x : x + 16], item[side])]
            for side in ("lq", "lq_other")
        ]
        assert all(found)
        places.add(found[0] == found[1])
    assert False in places  # elsewhere than the first crop


def test_workers_of_a_loader_read_an_lmdb_their_parent_has_open(tmp_path):
    write_pairs(tmp_path, 4)
    dataset = PairedRestorationDataset(to_lmdb(tmp_path))
    expected = dataset[0]["lq"]
    # a second set on the same LMDB
    other_dataset = PairedRestorationDataset(to_lmdb_options(tmp_path))
    assert torch.equal(other_dataset[0]["lq"], expected)
    for item in torch.utils.data.DataLoader(other_dataset, num_workers=2):
        assert item["lq"].shape[1:] == expected.shape


def to_lmdb_options(folder):
    roots = {f"dataroot_{side}": str(folder / f"{side}.lmdb") for side in ("lq", "gt")}
    return options(folder, io_backend={"type": "lmdb"}, **roots)


def test_missing_folder_names_the_option(tmp_path):
    with pytest.raises(DataError, match=r"dataroot_lq: the folder .*lq does not exist"):
        PairedRestorationDataset(options(tmp_path))
    (tmp_path / "lq").touch()
    with pytest.raises(DataError, match=r"dataroot_lq: .*lq is a file, not a folder"):
        PairedRestorationDataset(options(tmp_path))


def test_pattern_that_pythons_read_differently_is_refused(tmp_path):
    write_pairs(tmp_path, 1)
    opt = {**options(tmp_path), "dataroot_lq": str(tmp_path / "**q")}
    with pytest.raises(DataError, match=r"dataroot_lq: .* is no pattern: \*\*q has \*\* beside"):
        PairedRestorationDataset(opt)


def test_empty_folder_names_the_option(tmp_path):
    write_pairs(tmp_path, 0)
    with pytest.raises(DataError, match=r"dataroot_lq: .*lq holds no images"):
        PairedRestorationDataset(options(tmp_path))


def test_sizes_that_differ_are_refused(tmp_path):
    write_pairs(tmp_path, 1)
    cv2.imwrite(str(tmp_path / "gt" / "000.png"), np.zeros((40, 50, 3), np.uint8))
    with pytest.raises(DataError, match=r"is 48×40 but its clean partner .* is 50×40 pixels"):
        PairedRestorationDataset(options(tmp_path))[0]


def test_damaged_file_is_named(tmp_path):
    write_pairs(tmp_path, 1)
    (tmp_path / "lq" / "000.png").write_text("not an image")
    with pytest.raises(DataError, match=r"000\.png cannot be decoded"):
        PairedRestorationDataset(options(tmp_path))[0]


def test_crop_larger_than_the_image_is_named(tmp_path):
    write_pairs(tmp_path, 1)
    with pytest.raises(DataError, match="48×40 pixels, smaller than the crops of gt_size 64"):
        PairedRestorationDataset(options(tmp_path) | {"phase": "train", "gt_size": 64})[0]


def test_folder_without_meta_info_is_no_lmdb(tmp_path):
    (tmp_path / "x.lmdb").mkdir()
    lmdb = {"type": "lmdb"}
    with pytest.raises(DataError, match=r"no meta_info\.txt"):
        PairedRestorationDataset(
            options(
                tmp_path,
                dataroot_lq=str(tmp_path / "x.lmdb"),
                dataroot_gt=str(tmp_path / "x.lmdb"),
                io_backend=lmdb,
            )
        )


def test_io_backend_may_not_contradict_the_folders(tmp_path):
    write_pairs(tmp_path, 1)
    with pytest.raises(
        DataError, match=r"io_backend\.type is 'lmdb', but dataroot_lq is disk by its name"
    ):
        PairedRestorationDataset(options(tmp_path, io_backend={"type": "lmdb"}))


def test_two_files_of_one_name_are_refused(tmp_path):
    write_pairs(tmp_path, 1)
    shutil.copy(tmp_path / "lq" / "000.png", tmp_path / "lq" / "000.jpg")
    with pytest.raises(DataError, match="have one name"):
        PairedRestorationDataset(options(tmp_path))


@pytest.mark.parametrize(
    ("images", "batch", "ranks", "ratio"),
    [(10, 16, 1, 1), (10, 4, 1, 1), (1000, 16, 1, 1), (7, 2, 3, 5), (8, 4, 2, 1)],
)
def test_epochs_are_whole_batches_on_every_rank(images, batch, ranks, ratio):
    samplers = [
        WholeBatchSampler(images, batch, ranks, rank, ratio, seed=0) for rank in range(ranks)
    ]
    drawn = [list(sampler) for sampler in samplers]
    assert all(
        len(samples) == len(sampler) == sampler.batches * batch
        for samples, sampler in zip(drawn, samplers, strict=True)
    )
    indices = [index for samples in drawn for index, _ in samples]
    counts = np.bincount(indices, minlength=images)
    assert len(counts) == images
    assert counts.min() >= ratio
    assert counts.max() - counts.min() <= 1
    assert sum(counts) - images * ratio < batch * ranks


def test_order_and_seeds_depend_on_seed_and_epoch_alone():
    def draw(seed, epoch):
        sampler = WholeBatchSampler(50, 8, 1, 0, 1, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert draw(1, 2) == draw(1, 2)
    assert draw(1, 2) != draw(1, 3)
    assert draw(1, 2) != draw(2, 2)
    assert len({seed for _, seed in draw(1, 2)}) == 56
    seeds = [dict(draw(1, epoch)) for epoch in (2, 3)]
    assert not [index for index in range(50) if seeds[0][index] == seeds[1][index]]


def test_filling_up_repeats_no_image_more_than_others_in_the_long_run():
    sampler = WholeBatchSampler(10, 16, 1, 0, 1, seed=0)
    counts = np.zeros(10)
    for epoch in range(200):
        sampler.set_epoch(epoch)
        counts += np.bincount([index for index, _ in sampler], minlength=10)
    assert counts.sum() == 3200
    assert counts.max() / counts.min() < 1.2


@pytest.mark.parametrize("workers", [1, 2])
def test_crops_do_not_depend_on_the_number_of_workers(tmp_path, workers):
    write_pairs(tmp_path, 6)
    opt = options(tmp_path) | {"phase": "train", "gt_size": 16, "batch_size_per_gpu": 2}
    dataset = SeededDataset(PairedRestorationDataset(opt))
    epochs = {}
    for number in (0, workers):
        sampler = WholeBatchSampler(6, 2, 1, 0, 1, seed=5)
        loader = build_dataloader(
            dataset, {**opt, "num_worker_per_gpu": number}, num_gpu=0, sampler=sampler
        )
        for epoch in (0, 1):
            sampler.set_epoch(epoch)
            epochs[number, epoch] = torch.cat([batch["lq"] for batch in loader])
    for epoch in (0, 1):
        assert torch.equal(epochs[0, epoch], epochs[workers, epoch])
    assert not torch.equal(epochs[workers, 0], epochs[workers, 1])


def test_a_seeded_sample_leaves_the_random_state_alone(tmp_path):
    write_pairs(tmp_path, 1)
    dataset = SeededDataset(
        PairedRestorationDataset(options(tmp_path) | {"phase": "train", "gt_size": 16})
    )
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    dataset[0, 12345]
    assert states == (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
    )


def test_integers_are_the_same_images_in_fewer_bytes(ten_pairs):
    options = {
        "dataroot_lq": str(ten_pairs / "lq"),
        "dataroot_gt": str(ten_pairs / "gt"),
        "phase": "val",
    }
    floats, integers = PairedRestorationDataset(options)[3], PairedRestorationDataset(options)
    integers.integers = True
    for side in ("lq", "gt"):
        image = integers[3][side]
        assert image.dtype == torch.uint8
        assert torch.equal(image.float() / 255, floats[side])


def test_images_of_several_depths_are_one_batch():
    deep, shallow = torch.rand(3, 4, 4), torch.randint(256, (3, 4, 4), dtype=torch.uint8)
    batch = collate(
        [{"lq": deep, "gt": shallow, "name": "a"}, {"lq": shallow, "gt": shallow, "name": "b"}]
    )
    assert torch.equal(batch["lq"], torch.stack([deep, shallow.float() / 255]))
    assert batch["gt"].dtype == torch.uint8
    assert batch["name"] == ["a", "b"]
