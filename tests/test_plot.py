"""`basicsr plot`: what logs say, and the picture of it."""

import json
import math
import sys

import cv2
import pytest
from matplotlib.colors import to_hex

from constyle_arch import cli
from constyle_arch.errors import DataError
from constyle_arch.reporting.figure_files import distinct_names
from constyle_arch.reporting.training_curves import draw
from constyle_arch.reporting.training_log import TrainingLog, read_training_log
from tests.processes import run_command
from tests.shared import training_options, write_options

TIME = "2026-01-31 10:00:00,000 INFO: "
OPTIONS = """{time}
  name: run
  datasets:[
    val:[
      name: Set5
    ]
  ]
  train:[
    total_iter: {total}
    contrast:[
      queue_size: 1024
    ]
  ]
  val:[
    val_freq: 20.0
    metrics:[
      psnr:[
        type: calculate_psnr
      ]
      lpips:[
        better: lower
      ]
    ]
  ]

"""


def start(iteration=0, total=1000):
    options = OPTIONS.format(time=TIME, total=total)
    return f"{options}{TIME}Start training from epoch: 0, iter: {iteration}\n"


def step(iteration, **values):
    numbers = " ".join(f"{name}: {value:.4e}" for name, value in values.items())
    place = f"[epoch:  1, iter:{iteration:8,d}, lr:(3.000e-04,1.000e-05,)]"
    progress = "[eta: 1 day, 2:03:04, time (data): 0.802 (0.006)]"
    return f"{TIME}[run..]{place} {progress} {numbers} \n"


def steps(**values):
    """A step for each value of a quantity, by its iteration."""
    [(name, curve)] = values.items()
    return "".join(step(iteration, **{name: value}) for iteration, value in curve.items())


def validation(dataset="Set5", **scores):
    best = "\tBest: 1.0000 @ 7 iter\n"
    lines = "".join(f"\t # {name}: {score:.4f}{best}" for name, score in scores.items())
    return f"{TIME}Validation {dataset}\n{lines}\n"


def write_log(folder, text, name="train_run_20260131_100000.log"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def lines_of(figure, title):
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title).lines


@pytest.fixture(scope="module")
def resumed_run(tmp_path_factory, ten_pairs, two_pairs):
    """A run of four iterations that went on to seven, validated at 2, 4, 6 and at its end."""
    cwd = tmp_path_factory.mktemp("resumed")
    for total in (4, 7):
        options = training_options(ten_pairs, two_pairs, total_iter=total, constyle_iter=5)
        path = write_options(cwd / "run.yml", options)
        result = run_command("train", "-opt", path, "--auto_resume", cwd=cwd)
        assert result.returncode == 0, result.stderr[-3000:]
        if total == 4:  # or both may begin in one second and share a log
            [log] = (cwd / "experiments" / "tiny").glob("train_*.log")
            log.rename(log.with_name("train_tiny_20260131_100000.log"))
    return cwd / "experiments" / "tiny"


def test_numbers_are_those_that_the_run_measured(resumed_run):
    log = read_training_log(resumed_run)
    assert len(list(resumed_run.glob("train_*.log"))) == 2
    assert list(log.learning_rate.values()) == [0.001] * 7
    assert list(log.values["l_pix"]) == [1, 2, 3, 4, 5, 6, 7]
    assert set(log.values) >= {"l_contrastive", "l_content", "l_style"}
    assert set(log.values) >= {"contrast_acc", "code_norm", "cos_negatives"}
    assert list(log.values["l_contrastive"]) == list(log.values["code_std"]) == [1, 2, 3, 4, 5]
    text = "".join(path.read_text() for path in resumed_run.glob("train_*.log"))
    for name, curve in log.values.items():
        assert all(f"{name}: {value:.4e} " in text for value in curve.values())
    history = json.loads((resumed_run / "models" / "metrics_history.json").read_text())
    measured = {record["iter"]: record["scores"]["psnr"] for record in history}
    assert list(measured) == [2, 4, 6, 7]
    assert log.metrics["pairs"]["psnr"] == pytest.approx(measured, abs=5e-5)


def test_picture_shows_the_run(resumed_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plot", str(resumed_run)]) == 0
    assert capsys.readouterr().out == "Wrote tiny.png.\n"
    picture = cv2.imread("tiny.png")
    assert picture is not None and picture.std() > 10
    assert cli.main(["plot", str(resumed_run), "-o", "tiny.svg"]) == 0
    text = (tmp_path / "tiny.svg").read_text()
    for shown in (
        "tiny",
        "psnr (dB), pairs",
        "l_pix: pixel loss",
        "learning rate",
        "iteration",
        "code_norm",
    ):
        assert f">{shown}" in text
    assert cli.main(["plot", str(resumed_run), "-o", "again.svg"]) == 0
    assert (tmp_path / "again.svg").read_text() == text


def test_run_that_went_back_forgets_what_came_after(tmp_path):
    first = start() + steps(l_pix=dict.fromkeys((10, 20, 30, 40), 1.0))
    write_log(tmp_path, first + validation(psnr=20) + validation(psnr=21))
    assert list(read_training_log(tmp_path).metrics["Set5"]["psnr"]) == [40, 60]
    write_log(tmp_path, start(20) + step(25, l_pix=2.0), "train_run_20260201_090000.log")
    log = read_training_log(tmp_path)
    assert log.values == {"l_pix": {10: 1.0, 20: 1.0, 25: 2.0}}
    assert log.metrics == {"Set5": {"psnr": {}}}


def test_validation_made_up_for_at_a_resume_is_of_the_state(tmp_path):
    resumed = start(40)
    made_up = resumed.replace(f"{TIME}Start", validation(psnr=25) + f"{TIME}Start")
    write_log(tmp_path, made_up + step(50, l_pix=1.0) + validation(psnr=26))
    assert read_training_log(tmp_path).metrics == {"Set5": {"psnr": {40: 25, 60: 26}}}


def test_log_of_basicsr_with_two_validation_sets(tmp_path):
    """Validations between printed steps, and once more after the last iteration, as BasicSR has
    them."""
    both = validation("Set5", psnr=30.5, lpips=0.3) + validation("Set 14", psnr=28.25, lpips=0.4)
    first, last = step(25, l_pix=0.5, l_percep=2.0), step(50, l_pix=0.25, l_percep=1.0)
    text = start(total=50) + both + first + both + last
    end = f"{TIME}End of training. Time consumed: 0:01:09\n{TIME}Save the latest model.\n"
    log = read_training_log(write_log(tmp_path, text + end + both))
    assert log.learning_rate == {25: 3e-4, 50: 3e-4}
    assert log.values == {"l_pix": {25: 0.5, 50: 0.25}, "l_percep": {25: 2.0, 50: 1.0}}
    assert log.metrics["Set 14"] == {
        "psnr": dict.fromkeys((20, 40, 50), 28.25),
        "lpips": dict.fromkeys((20, 40, 50), 0.4),
    }
    figure = draw({"run": log})
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:4] == ["psnr (dB), Set5", "lpips, Set5", "psnr (dB), Set 14", "lpips, Set 14"]
    assert titles[4:] == ["l_pix: pixel loss", "l_percep: perceptual loss", "learning rate"]


def test_line_still_being_written_is_left_out(tmp_path):
    half = step(20, l_pix=0.5).rstrip("\n")
    for length in range(len(half) + 1):
        log = read_training_log(write_log(tmp_path, start() + step(10, l_pix=1.0) + half[:length]))
        assert log.values == {"l_pix": {10: 1.0}}


def test_lines_that_make_no_sense_are_passed_over(tmp_path):
    no_number = step(20, l_pix=1.0).replace("1.0000e+00", "1.0.0")
    broken = f"{TIME}[run..][epoch: 1, iter: \n\0\xff\n\t # psnr: 3\n{no_number}"
    log = read_training_log(write_log(tmp_path, start() + broken + step(30, l_pix=2.0)))
    assert log.values == {"l_pix": {30: 2.0}}
    assert log.metrics == {}
    head = b"\xff\xfe" + step(7, l_pix=1.0).encode()
    (tmp_path / "train_run_20260131_100000.log").write_bytes(head)
    assert read_training_log(tmp_path).values == {"l_pix": {7: 1.0}}  # without its head


def test_numbers_that_are_not_finite_are_marked(tmp_path):
    losses = steps(l_pix={1: 1.0, 2: math.nan, 3: math.inf, 4: -math.inf, 5: 0.5})
    log = read_training_log(write_log(tmp_path, start() + losses + validation(psnr=math.inf)))
    curve, crosses = lines_of(draw({"run": log}), "l_pix: pixel loss")
    drawn = [math.isfinite(value) for value in curve.get_ydata()]
    assert drawn == [True, False, False, False, True]
    assert list(crosses.get_xdata()) == [2, 3, 4]


def test_best_score_is_marked_whether_higher_or_lower_is_better():
    psnr, lpips = {10: 20.0, 20: 25.0, 30: 25.0, 40: math.nan}, {10: 0.2, 20: 0.1, 30: 0.3}
    scores = {"Set5": {"psnr": psnr, "lpips": lpips}}
    log = TrainingLog({"val.metrics.lpips.better": "lower"}, {10: 1.0}, {}, scores)
    figure = draw({"one": log, "two": log})
    for title, best, text in (
        ("psnr (dB), Set5", 30, "25 at 30"),
        ("lpips, Set5", 20, "0.1 at 20"),
    ):
        stars = [line for line in lines_of(figure, title) if line.get_marker() == "*"]
        assert [list(star.get_xdata()) for star in stars] == [[best], [best]]
        legend = stars[0].axes.get_legend()
        assert [one.get_text() for one in legend.get_texts()] == [text, text]


def test_runs_have_a_color_each_and_scales_fit_the_values():
    def run(factor):
        losses = {"l_pix": {1: factor, 2: factor / 100}, "l_style": {1: -1.0, 2: -50.0}}
        losses["l_contrastive"] = {1: 9.0}
        return TrainingLog({"train.contrast.queue_size": "1024"}, {1: 1.0, 2: 1.0}, losses)

    for count in (2, 12):
        figure = draw({f"run {number}": run(number + 1.0) for number in range(count)})
        lines = lines_of(figure, "l_pix: pixel loss")
        assert len({to_hex(line.get_color()) for line in lines}) == count
        scales = [axes.get_yscale() for axes in figure.axes]
        assert scales == ["log", "linear", "linear", "linear"]
        assert len(lines_of(figure, "l_contrastive: InfoNCE; dotted: log(K + 1)")) == 2 * count


def test_long_curve_is_drawn_with_its_means():
    values = {iteration: float(iteration % 2) for iteration in range(1, 1001)}
    log = TrainingLog({}, values, {"l_pix": values})
    raw, means = lines_of(draw({"run": log}), "l_pix: pixel loss")
    assert len(raw.get_xdata()) == 1000
    assert list(means.get_ydata()) == [0.5] * 100


def test_names_in_the_picture_tell_runs_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a/_$run_1$", "b/_$run_1$", "b/other"):
        write_log(tmp_path / folder, start() + step(1, l_pix=1.0))
    assert cli.main(["plot", "a/_$run_1$", "b/_$run_1$/", "b/_$run_1$"]) == 0
    assert cli.main(["plot", "a/_$run_1$", "b/_$run_1$", "-o", "two.svg"]) == 0
    text = (tmp_path / "two.svg").read_text()
    assert ">a/_$run_1$<" in text and ">b/_$run_1$<" in text
    assert cli.main(["plot", "a/_$run_1$", "b/other", "-o", "two.svg"]) == 0
    assert ">_$run_1$<" in (tmp_path / "two.svg").read_text()
    assert (tmp_path / "training_curves.png").is_file()
    assert distinct_names([tmp_path, tmp_path]) == [str(tmp_path)] * 2


def test_log_file_is_drawn_under_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(write_log(tmp_path, start() + step(1, l_pix=1.0)))
    assert cli.main(["plot", "train_run_20260131_100000.log"]) == 0
    assert (tmp_path / "train_run_20260131_100000.png").is_file()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("missing", "missing does not exist"),
        ("empty", "empty holds no log train_*.log"),
        ("untrained", "untrained has no training step"),
    ],
)
def test_what_cannot_be_drawn_is_named_and_leaves_the_picture(
    tmp_path, monkeypatch, capsys, path, told
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_log(tmp_path / "untrained", start())
    (tmp_path / "x.png").write_bytes(b"before, by constyle-arch")
    assert cli.main(["plot", path, "-o", "x.png"]) == 2
    assert told in capsys.readouterr().err
    assert (tmp_path / "x.png").read_bytes() == b"before, by constyle-arch"


def test_picture_of_another_kind_is_refused(tmp_path, capsys):
    write_log(tmp_path, start() + step(1, l_pix=1.0))
    assert cli.main(["plot", str(tmp_path), "-o", str(tmp_path / "x.gif")]) == 2
    assert ".png or .svg" in capsys.readouterr().err
    assert cli.main(["plot", str(tmp_path), "-o", str(tmp_path / "nowhere" / "x.png")]) == 2
    assert "nowhere does not exist, create it first" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x.png", "x.svg"])
def test_picture_is_drawn_anew_but_a_photograph_is_left(tmp_path, capsys, name):
    write_log(tmp_path, start() + step(1, l_pix=1.0))
    command = ["plot", str(tmp_path), "-o", str(tmp_path / name)]
    assert cli.main(command) == 0
    assert cli.main(command) == 0
    (tmp_path / name).write_bytes(b"a photograph")
    assert cli.main(command) == 2
    assert "was not drawn by this command; choose another name" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == b"a photograph"


def test_missing_matplotlib_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure")
    folder = str(tmp_path)
    write_log(tmp_path, start() + step(1, l_pix=0.25))
    for arguments in (
        ["plot", folder],
        ["latents", "--weights", "net.pth", "--lq", folder, "--gt", folder],
    ):
        assert cli.main(arguments) == 2
        assert 'pip install "constyle-arch[plot]"' in capsys.readouterr().err


def test_a_hundred_thousand_lines_are_read(tmp_path):
    names = ("l_pix", "l_contrastive", "l_content", "l_style", "cos_positive", "code_norm")
    values = dict.fromkeys(names, 0.25)
    lines = "".join(step(iteration, **values) for iteration in range(1, 100_001))
    write_log(tmp_path, start() + lines)
    assert len(read_training_log(tmp_path).values["l_style"]) == 100_000


def test_unreadable_log_is_named(tmp_path):
    folder = write_log(tmp_path, "")
    (folder / "train_run_20260131_100000.log").unlink()
    (folder / "train_run_20260131_100000.log").mkdir()
    with pytest.raises(DataError, match=r"train_run_20260131_100000.log cannot be read"):
        read_training_log(folder)
