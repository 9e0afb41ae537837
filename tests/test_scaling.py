"""Runs of another length keep the shape of their schedule."""

from copy import deepcopy

import pytest
import torch

from constyle_arch.errors import OptionsError
from constyle_arch.models.optimization import find_scheduler
from constyle_arch.options.reading import read_checked_options, read_option_file
from constyle_arch.options.scaling import scale_iterations
from tests.shared import REPOSITORY, training_options, write_options


@pytest.mark.parametrize("total_iter", [20_000, 999, 2_000_000])
def test_run_of_another_length_follows_the_same_curve(total_iter):
    recipe = read_option_file(REPOSITORY / "options" / "dehaze_constyle_restormer.yml")["train"]
    scaled = deepcopy(recipe)
    changed = scale_iterations({"train": scaled}, total_iter)
    assert len(changed) == 3
    assert scaled["total_iter"] == sum(scaled["scheduler"]["periods"]) == total_iter
    before, after = recipe["total_iter"], scaled["total_iter"]
    assert scaled["constyle_iter"] / after == pytest.approx(
        recipe["constyle_iter"] / before, abs=1 / after
    )

    def rate(train_opt, share):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
        schedule = dict(train_opt["scheduler"])
        scheduler = find_scheduler(schedule.pop("type"))(optimizer, **schedule)
        scheduler.last_epoch = round(train_opt["total_iter"] * share)
        return scheduler.get_lr()[0]

    for share in (0.1, 0.34, 0.36, 0.5, 0.9, 1):
        assert rate(scaled, share) == pytest.approx(rate(recipe, share), abs=2e-6)


def test_every_count_of_a_schedule_is_scaled():
    train_opt = {
        "total_iter": 1000,
        "warmup_iter": 100,
        "scheduler": {"milestones": [500, 900], "T_max": 1000},
    }
    scale_iterations({"train": train_opt}, 100)
    assert train_opt == {
        "total_iter": 100,
        "warmup_iter": 10,
        "scheduler": {"milestones": [50, 90], "T_max": 100},
    }


@pytest.mark.parametrize(
    "options", [{}, {"train": [1]}, {"train": {"total_iter": "many", "scheduler": None}}]
)
def test_what_has_no_length_is_left_to_the_check(options):
    before = deepcopy(options)
    assert scale_iterations(options, 10) == []
    assert options == before


def test_run_takes_its_length_from_the_command_line(tmp_path, ten_pairs, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_options(
        tmp_path / "run.yml", training_options(ten_pairs, total_iter=100, constyle_iter=50)
    )
    options, _ = read_checked_options(["-opt", "run.yml", "--total-iter", "20"])
    assert options["train"]["total_iter"] == 20 and options["train"]["constyle_iter"] == 10
    assert (
        "--total-iter 20: train.scheduler.periods: [50, 50] → [10, 10]\n" in capsys.readouterr().out
    )
    with pytest.raises(OptionsError, match="--total-iter is 0"):
        read_checked_options(["-opt", "run.yml", "--total-iter", "0"])
    with pytest.raises(SystemExit):
        read_checked_options(["-opt", "run.yml", "--total-iter", "many"])
