"""What README promises of the demo."""

import csv

import pytest

from constyle_arch.preparation.sample import TEST_PHOTOGRAPHS
from tests.conftest import REPOSITORY, run_command


@pytest.mark.slow
def test_demo_gains_five_decibels_on_every_held_out_photograph(tmp_path):
    options = REPOSITORY / "options"
    for arguments in (
        ("prepare", "sample"),
        ("train", "-opt", options / "demo_dehaze_constyle_restormer.yml"),
        ("test", "-opt", options / "test" / "demo_dehaze_constyle_restormer.yml"),
    ):
        result = run_command(*arguments, cwd=tmp_path, seconds=900)
        assert result.returncode == 0, result.stderr[-3000:]
    scores = tmp_path / "results" / "demo_dehaze_constyle_restormer" / "sample-dehaze_scores.csv"
    rows = [row for row in csv.DictReader(scores.open()) if row["image"] != "mean"]
    assert {row["image"].split("_")[0] for row in rows} == {name.split(".")[0] for name in TEST_PHOTOGRAPHS}
    gains = {row["image"]: float(row["psnr"]) - float(row["input_psnr"]) for row in rows}
    assert min(gains.values()) >= 5, gains
