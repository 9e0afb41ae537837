"""`basicsr init`: from a folder of pairs to a restored photograph without an option file of one's
own."""

import json
import math
import re

import cv2
import numpy as np
import pytest
import yaml

from constyle_arch import cli
from constyle_arch.errors import DataError, OptionsError
from constyle_arch.options.cautions import cautions
from constyle_arch.options.reading import read_checked_options
from constyle_arch.training import fitting, own_options
from constyle_arch.training.fitting import Timing
from constyle_arch.training.own_data import OwnData, look_at
from constyle_arch.training.own_options import Settings, option_file
from tests.processes import run_command
from tests.shared import write_pairs


def renamed(folder, side, form):
    for path in (folder / side).iterdir():
        path.rename(path.with_name(form.format(path.stem) + path.suffix))
    return folder


def init(*arguments):
    parsed = cli.build_parser().parse_args(["init", *map(str, arguments)])
    parsed.run(parsed)


def settings(data, **changes):
    first = Settings("mine", "derain", data, "tiny", crop=32, batch=4, hold_out=5, workers=0)
    return fitting.replace(first, **changes)


def test_five_commands_lead_to_a_restored_folder(tmp_path):
    """As README has them; nothing is edited in between."""
    renamed(write_pairs(tmp_path / "mine", 12, height=48, width=64), "lq", "rain-{}")
    pairs = ("--gt", "mine/gt", "--lq", "mine/lq")

    def run(*arguments):
        result = run_command(*arguments, cwd=tmp_path)
        assert result.returncode == 0, result.stderr[-2000:]
        return result.stdout + result.stderr

    told = run("init", "derain", *pairs, "--size", "tiny", "--iterations", "10", "-o", "my.yml")
    assert "10 clean images train, 2 are held out to validate" in told
    run("train", "-opt", "my.yml")
    held_out = run("test", "--weights", "experiments/my")
    assert "net_g_best.pth [params_ema]" in held_out
    names = {row["image"] for row in rows(tmp_path / "results" / "my" / "results.csv")}
    assert names == {"rain-005", "rain-011", "mean"}
    run("test", "--weights", "experiments/my", *pairs, "--name", "all")
    assert len(rows(tmp_path / "results" / "all" / "results.csv")) == 12 + 1
    run("restore", "--weights", "experiments/my", "-i", "mine/lq", "-o", "restored")
    assert cv2.imread(str(tmp_path / "restored" / "rain-003.png")).shape == (48, 64, 3)
    best = yaml.safe_load((tmp_path / "my.yml").read_text())["val"]["val_freq"]
    history = json.loads(
        (tmp_path / "experiments" / "my" / "models" / "metrics_history.json").read_text()
    )
    assert [record["iter"] for record in history] == list(range(best, 11, best))


def rows(file):
    header, *lines = (line.split(",") for line in file.read_text().splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


@pytest.mark.parametrize(
    ("task", "paired", "size"),
    [
        ("derain", True, "small"),
        ("dehaze", True, "base"),
        *((task, False, "tiny") for task in own_options.TASKS),
    ],
)
def test_files_pass_the_checks_of_a_training(tmp_path, monkeypatch, ten_pairs, task, paired, size):
    monkeypatch.chdir(tmp_path)
    data = look_at(str(ten_pairs / "gt"), str(ten_pairs / "lq") if paired else None)
    start = task if size == "small" and task in fitting.TRAINED else ""
    (tmp_path / "my.yml").write_text(option_file(settings(data, task=task, size=size, start=start)))
    options, _ = read_checked_options(["-opt", "my.yml"])
    assert options["train"]["total_iter"] == sum(options["train"]["scheduler"]["periods"])
    assert not list(cautions(options, None, math.inf))
    del options["datasets"]["val"]["hold_out"]
    assert [
        text for text in cautions(options, None, math.inf) if "images that are trained on" in text
    ]


@pytest.mark.parametrize(
    ("lq_form", "gt_form", "told"),
    [
        ("{}", "{}", ("{}", "{}")),
        ("{}_hazy", "{}", ("{}_*", "{}")),
        ("{}_0.8_0.2", "{}", ("{}_*_*", "{}")),
        ("rain-{}", "norain-{}", ("rain-{}", "norain-{}")),
        ("{}x2", "{}", ("{}x2", "{}")),
    ],
)
def test_names_that_correspond_as_usual_need_no_flags(tmp_path, lq_form, gt_form, told):
    folder = renamed(renamed(write_pairs(tmp_path, 12), "lq", lq_form), "gt", gt_form)
    data = look_at(str(folder / "gt"), str(folder / "lq"))
    assert (data.lq_name, data.gt_name) == told
    assert (data.clean, data.pairs, data.shortest, data.pixels) == (12, 12, 40, 40 * 48)


def test_time_without_end_is_refused(capsys):
    assert cli.main(["init", "derain", "--gt", "gt", "--minutes", "inf"]) == 2
    assert "--minutes is inf; it must lie in (0, 525600]." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("init derain --gt gt --lq-name {}_*", "lq"),
        ("prepare folders --gt gt -o out --lq-name {}_*", "lq"),
        ("test --weights denoise --gt gt --noise 25 --lq-name {}_*", "lq"),
        ("restore --weights denoise -i gt -o out --lq-name {}_*", "gt"),
    ],
)
def test_forms_of_names_without_images_to_match_are_refused(
    tmp_path, monkeypatch, capsys, command, needed
):
    monkeypatch.chdir(write_pairs(tmp_path, 3))
    assert cli.main(command.split()) == 2
    error = capsys.readouterr().err
    assert f"--lq-name is for matching names; give --{needed} too, or leave it out." in error


def test_what_is_wrong_with_the_images_is_said_before_anything_is_timed(tmp_path):
    folder = write_pairs(tmp_path / "pairs", 3)
    gt, lq = str(folder / "gt"), str(folder / "lq")
    (folder / "lq" / "other.png").write_bytes((folder / "lq" / "000.png").read_bytes())
    with pytest.raises(DataError, match=r"of 4 degraded images have no clean partner.*--lq-name"):
        look_at(gt, lq)
    (folder / "lq" / "other.png").unlink()
    with pytest.raises(DataError, match="--lq and --gt are both"):
        look_at(gt, f"{lq}/../gt")
    cv2.imwrite(str(folder / "lq" / "001.png"), np.zeros((40, 47, 3), np.uint8))
    with pytest.raises(
        DataError, match=r"lq/001\.png is 47×40 but its clean partner .*gt/001\.png is 48×40"
    ):
        look_at(gt, lq)
    (folder / "gt" / "001.png").write_bytes(b"none")
    with pytest.raises(DataError, match=r"gt/001\.png is no image"):
        look_at(gt, None)
    for data, message in (
        (
            OwnData("gt", None, "{}", "{}", clean=1, pairs=1, shortest=99, pixels=9801),
            "has 1 image",
        ),
        (
            OwnData("gt", None, "{}", "{}", clean=9, pairs=9, shortest=31, pixels=961),
            "shortest side .* is 31",
        ),
    ):
        with pytest.raises(DataError, match=message):
            fitting.fit("mine", "denoise", data, iterations=10)


def test_iterations_fill_the_time_and_validations_do_not_eat_it_up():
    data = OwnData("gt", "lq", "{}", "{}", clean=100, pairs=100, shortest=300, pixels=10**6)
    fast, slow = (
        Timing(step=0.5, megapixel=seconds, parameters=1, device="") for seconds in (0.1, 20.0)
    )
    for timing, validations in ((fast, fitting.VALIDATIONS), (slow, fitting.VALIDATIONS_LEAST)):
        fitted = fitting._in_time(settings(data, hold_out=10), timing, minutes=60, iterations=None)
        assert fitted.validations == validations
        assert 0.85 * 60 < timing.minutes(fitted) <= 60
    assert fitting._in_time(settings(data), slow, None, iterations=7).iterations == 7
    for size, advice in (("small", "Give more, or take --size tiny."), ("tiny", "Give more.")):
        with pytest.raises(
            OptionsError, match=r"--minutes 1 is not enough: a step takes 0\.50 s"
        ) as refused:
            fitting._in_time(
                settings(data, hold_out=10, size=size), fast, minutes=1, iterations=None
            )
        assert str(refused.value).endswith(advice)


def test_nothing_is_written_over(tmp_path, ten_pairs):
    (tmp_path / "my.yml").write_text("mine")
    for output, message in (
        ("my.yml", "already exists"),
        ("my.txt", "must end in .yml"),
        ("no/my.yml", "no folder"),
    ):
        with pytest.raises(OptionsError, match=re.escape(message)):
            init("denoise", "--gt", ten_pairs / "gt", "-o", tmp_path / output)
    assert (tmp_path / "my.yml").read_text() == "mine"
