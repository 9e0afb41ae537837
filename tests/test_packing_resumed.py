"""Packing resumes after an interruption, a kill, or with new files."""

import contextlib
import resource
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from constyle_arch import cli
from constyle_arch.data.preparation import unfinished
from constyle_arch.data.preparation.packing import pack
from constyle_arch.data.preparation.plan import Plan
from constyle_arch.errors import DataError
from tests.processes import Command, run_command
from tests.resuming import until
from tests.shared import contents, write_pairs


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


COMMAND = ("prepare", "folders", "--gt", "gt", "-o", "out")


def working_directories():
    """Of all processes of this user."""
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            yield str(link.readlink())


def test_killed_it_leaves_no_half_data_set_and_goes_on(tmp_path):
    write_pairs(tmp_path, 300, height=200, width=200)
    command = (*COMMAND, "--lq", "lq", "--sub-image", "64", "--overlap", "16", "--workers", "1")
    journal = tmp_path / "out.unfinished" / unfinished.JOURNAL
    running = Command(*command, cwd=tmp_path)
    until(lambda: journal.is_file() and journal.read_text().count("\n") > 20, running)
    assert running.runs
    running.process.kill()
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
    running.wait()
    result = run_command(*command, cwd=tmp_path)
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


@contextlib.contextmanager
def no_file_above(size):
    """As a full disk does, the system refuses to write beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_is_said_and_what_is_done_is_kept(tmp_path, monkeypatch, capsys):
    (tmp_path / "gt").mkdir()
    for index in range(60):
        noise = np.random.default_rng(index).integers(0, 256, (600, 600, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "gt" / f"{index:02}.png"), noise)
    monkeypatch.chdir(tmp_path)
    command = [*COMMAND, "--workers", "0"]
    with no_file_above(40 * 10**6):
        assert cli.main(command) == 2
    error = capsys.readouterr().err
    assert "out cannot be written: File too large. " in error
    assert "the same command resumes from there" in error
    assert not (tmp_path / "out").exists()
    assert cli.main(command) == 0
    assert len(contents(tmp_path / "out" / "gt.lmdb")) == 60
