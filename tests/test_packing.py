"""Packing folders into LMDBs with `basicsr prepare`: sub-images, checks, interruptions."""

import contextlib
import itertools
import resource
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
import torch

from constyle_arch import cli
from constyle_arch.data.image_stores import ImageFolder, ImageLmdb
from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset
from constyle_arch.data.preparation import unfinished
from constyle_arch.data.preparation.packing import check, pack
from constyle_arch.data.preparation.plan import Plan
from constyle_arch.errors import DataError
from constyle_arch.images import decode
from tests.shared import write_pairs
from tests.stand_ins import prepare, write_stand_ins


def contents(lmdb_folder):
    store = ImageLmdb(lmdb_folder)
    return {name: store.read(name) for name in store.names}


def test_whole_images_are_stored_byte_for_byte(tmp_path):
    write_pairs(tmp_path, 3)
    pack(Plan(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq")), tmp_path / "out", workers=2)
    for side in ("lq", "gt"):
        expected = {path.stem: path.read_bytes() for path in (tmp_path / side).iterdir()}
        assert contents(tmp_path / "out" / f"{side}.lmdb") == expected
        assert {path.name for path in (tmp_path / "out" / f"{side}.lmdb").iterdir()} == {
            "data.mdb",
            "meta_info.txt",
        }
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "lq.lmdb",
        "gt.lmdb",
        "report.txt",
    }
    assert [path.name for path in tmp_path.iterdir() if "unfinished" in path.name] == []


def test_lmdbs_are_read_by_basicsrs_own_data_set(tmp_path):
    from basicsr.data.paired_image_dataset import PairedImageDataset

    write_pairs(tmp_path, 3)
    pack(Plan(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq")), tmp_path / "out", workers=0)
    roots = {f"dataroot_{side}": str(tmp_path / "out" / f"{side}.lmdb") for side in ("lq", "gt")}
    theirs = PairedImageDataset(
        {**roots, "io_backend": {"type": "lmdb"}, "phase": "val", "scale": 1}
    )
    ours = PairedRestorationDataset({**roots, "phase": "val"})
    for index in range(3):
        assert torch.equal(theirs[index]["lq"], ours[index]["lq"])


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


def break_some(folder):
    """Six good pairs and one of each kind of problem; returns the names a report must give."""
    write_pairs(folder, 6)
    rng = np.random.default_rng(1)
    lq, gt = folder / "lq", folder / "gt"
    image = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
    for name in ("truncated", "text", "size", "tiny", "missing", "twice", "clean_broken"):
        cv2.imwrite(str(lq / f"{name}.png"), rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))
        if name != "missing":
            cv2.imwrite(str(gt / f"{name}.png"), rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))
    (lq / "truncated.png").write_bytes((lq / "truncated.png").read_bytes()[:-500])
    (lq / "text.png").write_text("not an image")
    cv2.imwrite(str(lq / "size.png"), image[:, :40])
    for side in (lq, gt):
        cv2.imwrite(str(side / "tiny.png"), image[:1, :1] + (side == lq))
    cv2.imwrite(str(gt / "twice.bmp"), image)
    (gt / "clean_broken.png").write_bytes(b"")
    (lq / "link.png").symlink_to("nowhere.png")
    return folder


PROBLEMS = {
    "truncated.png cannot be decoded": 1,
    "text.png cannot be decoded": 1,
    "clean_broken.png cannot be decoded": 1,
    "lq/clean_broken.png": 1,  # cannot be packed without it
    "size.png: 40×40, its clean image 48×40": 1,
    "tiny.png: 1×1": 2,
    "no clean partner by lq_name '{}' and gt_name '{}': missing": 1,
    "twice.bmp and": 1,
    "link.png is a link to a file that does not exist": 1,
}


def test_every_problem_is_listed_by_name_and_nothing_is_dropped_silently(tmp_path):
    break_some(tmp_path)
    plan = Plan(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq"), smallest=8)
    checked = check(plan, workers=0).lines()
    with pytest.raises(DataError) as error:
        pack(plan, tmp_path / "out", workers=2)
    for text, times in PROBLEMS.items():
        assert checked.count(text) == times, checked
        assert str(error.value).count(text) == times
    assert not (tmp_path / "out").exists()
    assert "out.unfinished/problems.txt" in str(error.value)
    assert (tmp_path / "out.unfinished" / "problems.txt").read_text() == checked

    report = pack(plan, tmp_path / "out", workers=0, leave_out=True)
    assert report.lines() == checked == (tmp_path / "out" / "report.txt").read_text()
    for side in ("lq", "gt"):
        kept = set(contents(tmp_path / "out" / f"{side}.lmdb"))
        assert kept >= {"000", "001", "002", "003", "004", "005"}
        assert not kept & {"text", "missing", "link", "clean_broken"} - (
            {"text"} if side == "gt" else set()
        )


def test_files_put_right_are_taken_up_by_the_same_command(tmp_path):
    write_pairs(tmp_path, 4)
    good = (tmp_path / "lq" / "002.png").read_bytes()
    (tmp_path / "lq" / "002.png").write_bytes(good[:50])
    plan = Plan(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq"))
    with pytest.raises(DataError, match=r"002\.png cannot be decoded"):
        pack(plan, tmp_path / "out", workers=0)
    (tmp_path / "lq" / "002.png").write_bytes(good)
    assert not pack(plan, tmp_path / "out", workers=0).problems
    assert set(contents(tmp_path / "out" / "lq.lmdb")) == {"000", "001", "002", "003"}


def test_files_that_change_before_a_run_is_continued_are_noticed(tmp_path):
    write_pairs(tmp_path, 5)
    plan = Plan(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq"), names=("{}_hazy*", "{}"))
    for path in sorted((tmp_path / "lq").iterdir()):
        path.rename(path.with_stem(f"{path.stem}_hazy"))
    good = (tmp_path / "lq" / "004_hazy.png").read_bytes()
    (tmp_path / "lq" / "004_hazy.png").write_bytes(b"junk")
    with pytest.raises(DataError, match="004_hazy"):
        pack(plan, tmp_path / "out", workers=0)
    (tmp_path / "lq" / "004_hazy.png").write_bytes(good)
    (tmp_path / "lq" / "000_hazy2.png").write_bytes(good)
    (tmp_path / "gt" / "001.png").write_bytes((tmp_path / "gt" / "000.png").read_bytes())
    (tmp_path / "lq" / "003_hazy.png").unlink()
    (tmp_path / "gt" / "003.png").unlink()
    cv2.imwrite(str(tmp_path / "gt" / "002.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"002_hazy.png: 48×40, its clean image 8×8"):
        pack(plan, tmp_path / "out", workers=0)
    for side in ("lq", "gt"):
        for path in (tmp_path / side).glob("002*"):
            path.unlink()
    pack(plan, tmp_path / "out", workers=0)
    for side in ("lq", "gt"):
        expected = {path.stem: path.read_bytes() for path in (tmp_path / side).iterdir()}
        assert contents(tmp_path / "out" / f"{side}.lmdb") == expected


def test_image_left_out_once_is_taken_up_when_it_is_put_right(tmp_path, monkeypatch):
    write_pairs(tmp_path, 3)
    good = (tmp_path / "gt" / "001.png").read_bytes()
    (tmp_path / "gt" / "001.png").write_bytes(b"junk")
    plan = Plan(gt=str(tmp_path / "gt"))
    monkeypatch.setattr(
        unfinished.UnfinishedFolder, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        pack(plan, tmp_path / "out", workers=0, leave_out=True)
    monkeypatch.undo()
    (tmp_path / "gt" / "001.png").write_bytes(good)
    assert not pack(plan, tmp_path / "out", workers=0).problems
    assert set(contents(tmp_path / "out" / "gt.lmdb")) == {"000", "001", "002"}


def test_what_a_kill_left_beside_the_journal_is_removed(tmp_path):
    write_pairs(tmp_path, 2)
    folder = unfinished.UnfinishedFolder(
        tmp_path / "out", asdict(Plan(gt=str(tmp_path / "gt")).at_home()), ["gt"]
    )
    unfinished._put(folder._environment("gt"), {b"stray": b"committed, but not in the journal"})
    folder.close()
    pack(Plan(gt=str(tmp_path / "gt")), tmp_path / "out", workers=0)
    assert set(contents(tmp_path / "out" / "gt.lmdb")) == {"000", "001"}


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
    names = dict(zip(("lq_name", "gt_name"), plan.names_packed, strict=True))
    assert len(PairedRestorationDataset({**roots, **names, "phase": "val"})) == 8


def test_files_of_one_content_and_files_that_are_no_images_are_noted(tmp_path):
    write_pairs(tmp_path, 3)
    (tmp_path / "gt" / "003.png").write_bytes((tmp_path / "gt" / "001.png").read_bytes())
    (tmp_path / "gt" / "Thumbs.db").write_text("")
    report = pack(
        Plan(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq")), tmp_path / "out", workers=0
    ).lines()
    # 003 has no degraded image and is not packed
    assert f"{tmp_path / 'gt' / '001.png'}" not in report
    assert "1 clean images have no degraded one and are not packed: 003" in report
    assert "Thumbs.db" in report
    report = pack(Plan(gt=str(tmp_path / "gt")), tmp_path / "clean", workers=0).lines()
    assert (
        f"the same content: {tmp_path / 'gt' / '001.png'} = {tmp_path / 'gt' / '003.png'}" in report
    )


def test_names_that_cannot_be_keys_are_reported(tmp_path):
    write_pairs(tmp_path, 1)
    for name in ("two\nlines", "a\rb", "\udcff", "x" * 200 + "/" + "y" * 200 + "/" + "z" * 200):
        target = tmp_path / "gt" / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((tmp_path / "gt" / "000.png").read_bytes())
    report = check(Plan(gt=str(tmp_path / "gt")), workers=0)
    ((what, names),) = report.problems.items()
    assert "more than 511 bytes" in what
    assert len(names) == 4


def test_keys_that_meet_are_not_overwritten_silently(tmp_path):
    write_pairs(tmp_path, 1)
    (tmp_path / "gt" / "000_s001_s001.png").write_bytes((tmp_path / "gt" / "000.png").read_bytes())
    (tmp_path / "gt" / "000_s001.png").write_bytes((tmp_path / "gt" / "000.png").read_bytes())
    pack(Plan(gt=str(tmp_path / "gt"), sub_image=64), tmp_path / "out", workers=0)
    assert len(contents(tmp_path / "out" / "gt.lmdb")) == 3
    report = pack(Plan(gt=str(tmp_path / "gt")), tmp_path / "whole", workers=0)
    assert not report.problems


def test_the_map_grows_as_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "INITIAL_MAP_SIZE", 2**16)
    monkeypatch.setattr(unfinished, "COMMIT_BYTES", 2**15)
    (tmp_path / "gt").mkdir()
    for index in range(20):
        noise = np.random.default_rng(index).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "gt" / f"{index}.png"), noise)
    pack(Plan(gt=str(tmp_path / "gt")), tmp_path / "out", workers=0)
    assert len(contents(tmp_path / "out" / "gt.lmdb")) == 20


@pytest.mark.slow
def test_twenty_thousand_images_are_packed(tmp_path):
    (tmp_path / "gt").mkdir()
    rng = np.random.default_rng(0)
    for index in range(20_000):
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (160, 160), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(
            str(tmp_path / "gt" / f"{index:05}.png"), image, [cv2.IMWRITE_PNG_COMPRESSION, 0]
        )
    pack(Plan(gt=str(tmp_path / "gt")), tmp_path / "out")
    store = ImageLmdb(tmp_path / "out" / "gt.lmdb")
    assert len(store.names) == 20_000
    assert (
        tmp_path / "out" / "gt.lmdb" / "data.mdb"
    ).stat().st_size > 1.4 * 2**30  # beyond the first map
    for name in store.names[::997]:
        assert store.read(name) == (tmp_path / "gt" / f"{name}.png").read_bytes()


COMMAND = (
    sys.executable,
    "-m",
    "constyle_arch",
    "prepare",
    "folders",
    "--gt",
    "gt",
    "--lq",
    "lq",
    "-o",
    "out",
)


def working_directories():
    """Of all processes of this user."""
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            yield str(link.readlink())


def test_killed_it_leaves_no_half_data_set_and_goes_on(tmp_path):
    write_pairs(tmp_path, 300, height=200, width=200)
    sub_images = ("--sub-image", "64", "--overlap", "16", "--workers", "1")
    journal = tmp_path / "out.unfinished" / unfinished.JOURNAL
    with subprocess.Popen([*COMMAND, *sub_images], cwd=tmp_path) as process:
        while not (journal.is_file() and journal.read_text().count("\n") > 20):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    # its workers do not outlive it
    while any(str(tmp_path) in link for link in working_directories()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not (tmp_path / "out").exists()
    done = journal.read_text().count("\n")
    assert 20 < done < 300
    with journal.open("a") as file:
        file.write('{"name": "cut of')  # what a kill while writing leaves
    result = subprocess.run([*COMMAND, *sub_images], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "out.unfinished is there: resuming." in result.stdout
    pack(
        Plan(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq"), sub_image=64, overlap=16),
        tmp_path / "whole",
        workers=0,
    )
    for side in ("lq", "gt"):
        assert contents(tmp_path / "out" / f"{side}.lmdb") == contents(
            tmp_path / "whole" / f"{side}.lmdb"
        )
        metas = [
            (tmp_path / folder / f"{side}.lmdb" / "meta_info.txt").read_text()
            for folder in ("out", "whole")
        ]
        assert metas[0] == metas[1]
    assert len({path.name for path in tmp_path.iterdir()} - {"gt", "lq", "out", "whole"}) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--sub-image", "-5"), "size is -5"),
        (("--sub-image", "16", "--overlap", "16"), "overlap is 16; it must be in [0, 16)"),
        (("--lq-name", "rain"), "at least one"),
        (("--gt-name", "{}_{}"), "same number of {}"),
    ],
)
def test_plans_that_cannot_be_are_refused(tmp_path, capsys, flags, message):
    write_pairs(tmp_path, 1)
    roots = (
        "--gt",
        str(tmp_path / "gt"),
        "--lq",
        str(tmp_path / "lq"),
        "-o",
        str(tmp_path / "out"),
    )
    assert cli.main(["prepare", "folders", *roots, *flags]) == 2
    assert message in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"gt", "lq"}


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("mine", "mine holds the input mine/gt"),
        ("mine/gt", "mine/gt is the input mine/gt"),
        ("link", "link is the input mine/gt"),
        ("mine/gt/out", "mine/gt/out lies in the input mine/gt"),
        ("mine/lq/out", "mine/lq/out lies in the input mine/lq"),
        ("photographs", "photographs already exists, not written by this command"),
        ("nowhere", "nowhere already exists"),
        (
            "other",
            "other.unfinished, which would be used meanwhile, was not written by this command",
        ),
        ("packed", "packed already exists, prepared before"),
    ],
)
def test_folder_that_is_somebody_elses_is_left_alone(tmp_path, monkeypatch, capsys, output, why):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "mine", 1)
    roots = ("--gt", "mine/gt", "--lq", "mine/lq")
    prepare("folders", *roots, "-o", "packed")
    (tmp_path / "link").symlink_to("mine/gt")
    (tmp_path / "nowhere").symlink_to("gone")
    for folder in ("photographs", "other.unfinished/gt.lmdb"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "holiday.jpg").write_bytes(b"precious")
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["prepare", "folders", *roots, "-o", output, "--workers", "0"]) == 2
    error = capsys.readouterr().err
    assert why in error
    assert error.endswith("; choose another folder.\n")
    assert "remove" not in error
    assert sorted(tmp_path.rglob("*")) == before


def test_part_of_a_data_set_does_not_take_the_place_of_the_download(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_stand_ins(tmp_path, ["GoPro"])
    assert cli.main(["prepare", "gopro", "-o", "datasets/GoPro"]) == 2
    error = capsys.readouterr().err
    assert (
        "datasets/GoPro/train is the input datasets/GoPro/train/*/sharp; choose another folder"
        in error
    )
    assert not list(tmp_path.rglob("*.unfinished"))


def test_sub_images_of_a_public_data_set_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_stand_ins(tmp_path, ["GoPro"])
    prepare("gopro", "--sub-image", "128", "--overlap", "120")
    prepared = tmp_path / "datasets" / "GoPro" / "prepared"
    assert set(contents(prepared / "train" / "gt.lmdb")) == {
        f"GOPR0372_07_00/sharp/000047_s00{i}" for i in (1, 2)
    }
    assert set(contents(prepared / "test" / "gt.lmdb")) == {"GOPR0384_11_00/sharp/000001"}


def test_another_plan_begins_anew(tmp_path):
    write_pairs(tmp_path, 2)
    (tmp_path / "lq" / "001.png").write_bytes(b"")
    plan = Plan(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq"), sub_image=16)
    with pytest.raises(DataError):
        pack(plan, tmp_path / "out", workers=0)
    pack(Plan(gt=str(tmp_path / "gt")), tmp_path / "out", workers=0)
    assert set(contents(tmp_path / "out" / "gt.lmdb")) == {"000", "001"}
    assert not (tmp_path / "out" / "lq.lmdb").exists()


def test_two_processes_do_not_write_one_folder(tmp_path):
    write_pairs(tmp_path, 2)
    output = tmp_path / "out"
    holder = (
        "import time; from pathlib import Path\n"
        "from constyle_arch.data.preparation.unfinished import UnfinishedFolder\n"
        f"folder = UnfinishedFolder(Path({str(output)!r}), {{}}, ['gt']); print('held', "
        "flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(DataError, match="Another process is writing"):
            pack(Plan(gt=str(tmp_path / "gt")), tmp_path / "out", workers=0)
        process.kill()


def test_full_disk_is_said_and_what_is_done_is_kept(tmp_path):
    (tmp_path / "gt").mkdir()
    for index in range(40):
        noise = np.random.default_rng(index).integers(0, 256, (600, 600, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "gt" / f"{index:02}.png"), noise)
    command = [*COMMAND[:-4], "-o", "out", "--workers", "0"]

    def no_large_files():  # as a full disk does, the system refuses to write beyond 40 MB
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40 * 10**6, 40 * 10**6))

    result = subprocess.run(
        command, cwd=tmp_path, preexec_fn=no_large_files, capture_output=True, text=True
    )
    assert result.returncode == 2, result.stderr
    assert "cannot be written" in result.stderr
    assert "the same command resumes from there" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert len(contents(tmp_path / "out" / "gt.lmdb")) == 40


def test_a_part_that_is_not_there_is_left_out_and_a_missing_download_explained(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["prepare", "gopro"]) == 2
    assert "datasets/README.md, section GoPro" in capsys.readouterr().err
    write_stand_ins(tmp_path, ["GoPro"])
    (tmp_path / "datasets" / "GoPro" / "train").rename(tmp_path / "elsewhere")
    prepare("gopro")
    output = capsys.readouterr().out
    assert "dataroot_lq: datasets/GoPro/prepared/test/lq.lmdb" in output
    assert "GoPro, test, was published with 1111 such images; here are 1." in output
    assert not (tmp_path / "datasets" / "GoPro" / "prepared" / "train").exists()
    prepare("gopro")
    assert "already exists" in capsys.readouterr().out


def test_only_listed_images_are_packed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_stand_ins(tmp_path, ["RealBlur-J"])
    prepare("realblur-j", "--check")
    assert not (tmp_path / "datasets" / "RealBlur-J").exists()
    prepare("realblur-j")
    keys = contents(tmp_path / "datasets" / "RealBlur-J" / "prepared" / "test" / "lq.lmdb")
    assert set(keys) == {"scene001/blur/blur_1"}
    (listing,) = (tmp_path / "datasets" / "RealBlur").glob("*.txt")
    listing.write_text(listing.read_text().replace("scene001", "scene009"))
    with pytest.raises(DataError, match="holds no images"):
        check(Plan(gt="datasets/RealBlur/*/*/gt", listed_in=str(listing)))


def test_lmdb_is_read_without_a_lock_file(tmp_path):
    write_pairs(tmp_path, 1)
    pack(Plan(gt=str(tmp_path / "gt")), tmp_path / "out", workers=0)
    with lmdb.open(str(tmp_path / "out" / "gt.lmdb"), readonly=True, lock=False) as environment:
        assert environment.stat()["entries"] == len(ImageFolder(tmp_path / "gt").names)
