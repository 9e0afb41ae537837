"""What README promises of the demo."""

import csv

import pytest

from constyle_arch.data.preparation.sample import TEST_PHOTOGRAPHS
from tests.processes import run_command
from tests.shared import REPOSITORY


def restored_alike(cwd, task, name, rows):
    """Whether `basicsr restore` scores as `basicsr test` does."""
    if task == "denoise":  # whose noise is added as images are read
        return True
    sample, form = f"datasets/sample/{task}/test", "{}_*_*" if task == "dehaze" else "{}_*"
    names = ("--gt", f"{sample}/gt", "--lq-name", form)
    result = run_command(
        "restore",
        "-i",
        f"{sample}/lq",
        "-o",
        "restored",
        "--weights",
        f"experiments/{name}",
        *names,
        cwd=cwd,
    )
    return result.returncode == 0 and all(
        f"{float(row['psnr']):.4f}" in result.stdout for row in rows
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "decibels"), [("dehaze", 5), ("derain", 3), ("deblur", 3), ("denoise", 6)]
)
def test_demo_gains_on_every_held_out_photograph(tmp_path, task, decibels):
    name = f"demo_{task}_constyle_restormer"
    options = REPOSITORY / "options"
    for arguments in (
        ("prepare", "sample", task),
        ("train", "-opt", options / f"{name}.yml"),
        ("test", "-opt", options / "test" / f"{name}.yml"),
    ):
        result = run_command(*arguments, cwd=tmp_path, seconds=900)
        assert result.returncode == 0, result.stderr[-3000:]
    scores = tmp_path / "results" / name / "results.csv"
    rows = [row for row in csv.DictReader(scores.open()) if row["image"] != "mean"]
    assert {row["image"].split("_")[0] for row in rows} == {
        name.split(".")[0] for name in TEST_PHOTOGRAPHS
    }
    assert restored_alike(tmp_path, task, name, rows)
    gains = {row["image"]: float(row["psnr"]) - float(row["input_psnr"]) for row in rows}
    assert min(gains.values()) >= decibels, gains
