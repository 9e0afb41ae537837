"""Every command and every piece of Python in the documentation is run, here or in the tests named
here."""

import re
import shlex
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import constyle_arch
from constyle_arch import cli
from tests.bad_options import MESSAGES
from tests.networks import random_network
from tests.photographs import picture
from tests.processes import run_command
from tests.shared import (
    RECIPES,
    REPOSITORY,
    run_with,
    training_options,
    write_options,
    write_pairs,
)
from tests.stand_ins import prepare, write_stand_ins

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
PROGRAMS = ("basicsr ", "torchrun", "make", "pip", "python", "source", "tensorboard", "./")

ELSEWHERE = {
    r"basicsr (train|test) -opt options/(test/)?demo_\w+\.yml": (
        "test_demo_gains_on_every_held_out_photograph"
    ),
    r"basicsr (train|test) -opt options/(test/)?(dehaze|deblur|derain|denoise)_constyle_\w+\.yml": (
        "test_recipes.py"
    ),
    r"basicsr prepare sample \w+": "test_demo_gains_on_every_held_out_photograph",
    r"basicsr train -opt my\.yml --plugin my_network\.py": (
        "test_network_of_ones_own_operator_trains_as_the_docs_show"
    ),
    r"basicsr (init|train -opt (rain|haze)\.yml).*": "test_five_commands_lead_to_a_restored_folder",
    r"torchrun .*-m constyle_arch train .*": "test_distributed.py",
    r"make (setup|test|demo( TASK=\w+)?)": "the Makefile's, by which the tests run",
    r"source \.venv/bin/activate": "the shell's",
    r"pip install .*": "make setup",
    r"basicsr web": "test_a_photograph_goes_through_a_real_browser",
    r"tensorboard --logdir tb_logger": (
        "test_validation_pictures_are_in_the_folder_and_in_tensorboard"
    ),
}


def blocks(page, language):
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [content for named, content in fenced if named == language]


def joined(block):
    """A block with the lines that end in a backslash joined to the next."""
    return re.sub(r" \\\n\s*", " ", block)


def commands():
    """The commands in blocks of no language, each once, without what is said about them."""
    found = [joined(block) for page in PAGES for block in blocks(page, "")]
    lines = [line.removeprefix(".venv/bin/") for block in found for line in block.splitlines()]
    found = [re.sub(r"\s{2,}#.*", "", line) for line in lines if line.startswith(PROGRAMS)]
    return list(dict.fromkeys(found))


def is_run_elsewhere(command):
    return any(re.fullmatch(pattern, command) for pattern in ELSEWHERE)


SIZE = (36, 52)
"""Of photographs."""

RUN_HERE = [command for command in commands() if not is_run_elsewhere(command)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A directory in which the documentation's names stand for something, in small."""
    world = tmp_path_factory.mktemp("world")
    write_stand_ins(world)
    (world / "options").symlink_to(REPOSITORY / "options")
    pairs = write_pairs(world / "mine", 4, height=64, width=64)
    shutil.copytree(pairs / "lq", pairs / "hazy")
    shutil.copytree(pairs / "gt", pairs / "clean")
    few_blocks = {"num_blocks_down": [0, 0, 0], "num_blocks_up": [0, 0, 0]}  # quick to export
    options = training_options(pairs, pairs, total_iter=2) | {"name": "tiny"}
    options["network_g"] |= {**few_blocks, "num_refinement_blocks": 0}
    write_options(world / "my.yml", options | {"name": "mine"})
    tested = {key: value for key, value in options.items() if key not in ("train", "logger")}
    tested["datasets"] = {"test": options["datasets"]["val"]}
    tested["path"] = {"pretrain_network_g": "experiments/tiny"}
    tested["val"] = tested["val"] | {"save_img": True}
    for command, written in (("train", options), ("test", tested)):
        result = run_with(command, written, world)
        assert result.returncode == 0, result.stderr[-2000:]
    compared = [
        f"{task}_{kind}nafnet" for task in ("dehaze", "deblur") for kind in ("", "constyle_")
    ]
    for name in compared:
        shutil.copytree(world / "results" / "tiny", world / "results" / name)
    tasks = ("dehaze", "derain", "deblur", "denoise")
    for name in (*compared, "rain", "haze", *(f"demo_{task}_constyle_restormer" for task in tasks)):
        shutil.copytree(world / "experiments" / "tiny", world / "experiments" / name)
    for task in tasks:
        write_pairs(world / "datasets" / "sample" / task / "train", 2, height=128, width=128)
    prepare_sample(world)
    torch.save({"params": random_network().state_dict()}, world / "net_g_latest.pth")
    for name in ("hazy.jpg", "hazy.png", "my_photograph.jpg", "photo.jpg"):
        Image.fromarray(picture(*SIZE)).save(world / name)
    for folder in ("photos", "my_photographs", "clean", "data/hazy", "data/rainy", "data/clean"):
        (world / folder / "below").mkdir(parents=True)
        for number, name in enumerate(("a.jpg", "below/b.jpg")):
            pixels = np.roll(picture(*SIZE), 20 * number, axis=0)
            Image.fromarray(pixels).save(world / folder / name)
    return world


def prepare_sample(world):
    """The sample's LMDBs, which `check` looks for."""
    sample = world / "datasets" / "sample" / "dehaze"
    shutil.copytree(sample / "train", sample / "test")
    for number, name in enumerate(sorted((sample / "train" / "lq").iterdir())):
        name.rename(name.with_name(f"{name.stem}_0.8_{number}.png"))
    for name in sorted((sample / "test" / "lq").iterdir()):
        name.rename(name.with_name(f"{name.stem}_0.8_1.png"))
    sides = (f"--{side}={sample}/train/{side}" for side in ("gt", "lq"))
    prepare("folders", *sides, "--lq-name", "{}_*_*", "-o", str(sample / "prepared" / "train"))


@pytest.mark.parametrize("command", RUN_HERE)
def test_command_runs(world, monkeypatch, command):
    monkeypatch.chdir(world)
    program, *arguments = shlex.split(command)
    assert program == "basicsr", f"{command} is run by no test"
    if arguments[0] in ("train", "test"):
        if "my.yml" in arguments and "--auto_resume" not in arguments:
            shutil.rmtree(world / "experiments" / "mine", ignore_errors=True)
        arguments = ["2" if argument == "20000" else argument for argument in arguments]  # in small
        result = run_command(*arguments, cwd=world)
        assert result.returncode == 0, result.stderr[-2000:]
        return
    if arguments[0] == "check":  # which comes before the training
        (world / "experiments").rename(world / "trained")
    try:
        code = cli.main(arguments)
    except SystemExit as ended:  # --version
        code = ended.code
    finally:
        if arguments[0] == "check":
            (world / "trained").rename(world / "experiments")
    assert code == 0


def test_commands_said_to_be_run_elsewhere_are():
    for pattern, place in ELSEWHERE.items():
        assert any(re.fullmatch(pattern, command) for command in commands()), pattern
        name = place.removesuffix(".py")
        files = (REPOSITORY / "tests").glob("test_*.py")
        there = any(file.stem == name or f"def {name}" in file.read_text() for file in files)
        assert there or not name.startswith("test_"), place
    for command in commands():
        if recipe := re.fullmatch(r"basicsr (?:train|test) -opt options/(\S+)", command):
            assert recipe[1] in RECIPES or "demo" in recipe[1]
            assert (REPOSITORY / "options" / recipe[1]).is_file()


def test_commands_in_sentences_and_help_are_understood(capsys):
    texts = [page.read_text() for page in [*PAGES, REPOSITORY / "datasets" / "README.md"]]
    in_sentences = re.findall(r"`(basicsr [^`\n]+)`", "\n".join(texts))
    parser = cli.build_parser()
    known = parser._subparsers._group_actions[0].choices
    helps = "".join(one.format_help() for one in (parser, *known.values()))
    lines = re.findall(r"^  (basicsr .*)", helps, re.MULTILINE)
    in_help = [re.sub(r"\s{3,}.*", "", line.strip()) for line in lines]
    assert len(in_sentences) > 20
    assert len(in_help) > 15
    for command in dict.fromkeys(in_help):
        parser.parse_args(shlex.split(command)[1:])
    for command in dict.fromkeys(in_sentences):
        words = shlex.split(command)[1:]
        assert words[0].startswith("-") or words[0] in known, command
        flags = [word for word in words[1:] if word.startswith("--")]
        text = known.get(words[0], parser).format_help()
        assert all(flag in text for flag in flags), command


@pytest.mark.parametrize(
    ("page", "number", "code"),
    [
        pytest.param(page, number, code, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, code in enumerate(blocks(page, "python"))
        if "# my_network.py" not in code and "train_pipeline" not in code  # which train elsewhere
    ],
)
def test_python_runs(world, monkeypatch, page, number, code):
    monkeypatch.chdir(world)
    if "dehaze.onnx" in code and not (world / "dehaze.onnx").exists():
        demo = "experiments/demo_dehaze_constyle_restormer"
        assert cli.main(["export", demo, "dehaze.onnx"]) == 0
    (world / "restored.png").unlink(missing_ok=True)
    network = constyle_arch.load_network("net_g_latest.pth")
    names = {"constyle_arch": constyle_arch, "network": network, "image": picture(*SIZE)}
    exec(compile(code, f"{page.name}, block {number}", "exec"), names)
    if "restored.png" in code:
        assert np.asarray(Image.open("restored.png")).shape == (*SIZE, 3)
    elif "restored" in names:
        assert names["restored"].shape == (*SIZE, 3)


def test_errors_in_the_faq_are_those_that_are_said():
    """What stands in code marks at the beginning of an answer is found in the code, or is pip's or
    Python's."""
    files = sorted((REPOSITORY / "constyle_arch").rglob("*.py"))
    source = "".join(file.read_text() for file in files)
    source = re.sub(r'"\n\s*f?"', "", source)  # texts that continue on the next line
    source += (REPOSITORY / "Makefile").read_text() + MESSAGES.read_text(encoding="utf-8")
    of_others = ("ModuleNotFoundError", "No module named")
    faq = (REPOSITORY / "docs" / "faq.md").read_text()
    headings = re.findall(r"^\*\*(.*?)\*\*", faq, re.MULTILINE)
    messages = [message for heading in headings for message in re.findall(r"`([^`]+)`", heading)]
    assert len(messages) > 10
    for message in messages:
        parts = re.split(r"…|\?|python3|'params_ema'|2\.13|ConStyleNAFNet", message)
        if not message.startswith(of_others):
            assert all(part.strip() in source for part in parts), message
