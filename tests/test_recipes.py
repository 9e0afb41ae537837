"""The option files of `options/`, on stand-ins for the data sets laid out as `datasets/README.md`
shows."""

import csv
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.utils.registry import ARCH_REGISTRY

from constyle_arch.checkpoints.trained import TRAINED
from constyle_arch.data.preparation.catalogue import DATA_SETS
from constyle_arch.options.preflight import check_options
from constyle_arch.options.reading import complete_datasets, force_options, read_option_file
from tests.networks import built
from tests.processes import run_command
from tests.shared import ABLATIONS, FILES, OPTIONS, RECIPES, REPOSITORY
from tests.stand_ins import prepare, sections, tree, write_stand_ins

TASKS = ("denoise", "denoise15", "denoise25", "denoise50", "deblur", "derain", "dehaze")
ORIGINALS = ("restormer", "nafnet", "maxim")
NETWORKS = (*(f"constyle_{name}" for name in ORIGINALS), *ORIGINALS)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A directory with every data set, prepared."""
    home = tmp_path_factory.mktemp("recipes")
    write_stand_ins(home, height=256, width=264)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for name in DATA_SETS:
            prepare(name.lower())
        for task in ("denoise", "deblur", "derain", "dehaze"):
            write_sample(home / "datasets" / "sample" / task, task)
    for part in ("train", "val"):
        for number in range(2):
            folder = home / "datasets" / "ImageNet" / part / f"n0000000{number}"
            folder.mkdir(parents=True)
            shutil.copy(home / "datasets" / "OTS" / "clear" / "0001.jpg", folder / "1.JPEG")
    for part in ("rooms", "photographs"):
        for side in ("gt", "lq"):
            folder = home / "datasets" / "rehazed" / part / side
            folder.mkdir(parents=True)
            shutil.copy(home / "datasets" / "OTS" / "clear" / "0001.jpg", folder)
    prompter = home / "experiments" / "prompter" / "models" / "net_g_latest.pth"
    prompter.parent.mkdir(parents=True)
    torch.save({"params_ema": ARCH_REGISTRY.get("Prompter")().state_dict()}, prompter)
    return home


def write_sample(folder, task):
    """What `basicsr prepare sample` writes, in small: its real run is tested with the sample."""
    source = folder.parents[1] / "OTS"
    gt, lq = "a.png", "a_0.8_1.png" if task == "dehaze" else "a_1.png"
    for part in ("train", "test"):
        files = {f"gt/{gt}": "clear/0001.jpg", f"lq/{lq}": "hazy/0001_0.8_0.2.jpg"}
        for name, file in files.items():
            (folder / part / name).parent.mkdir(parents=True)
            shutil.copy(source / file, folder / part / name)
    form = "{}_*_*" if task == "dehaze" else "{}_*"
    sides = (f"--{side}={folder}/train/{side}" for side in ("gt", "lq"))
    prepare("folders", *sides, "--lq-name", form, "-o", str(folder / "prepared" / "train"))


def test_files_are_what_the_generator_writes_and_it_notices_those_changed_by_hand(tmp_path):
    shutil.copytree(OPTIONS, tmp_path / "options")
    changed = tmp_path / "options" / "test" / "derain_maxim.yml"
    changed.write_text(changed.read_text().replace("crop_border: 0", "crop_border: 4"))
    (tmp_path / "options" / "mine.yml").write_text("name: mine")
    command = [sys.executable, tmp_path / "options" / "generate.py", "--check"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    named = [line.partition(" is not what")[0] for line in result.stdout.splitlines()]
    assert named == ["options/mine.yml", "options/test/derain_maxim.yml"]


def test_every_task_and_network_has_a_file_to_train_and_one_to_test():
    named = [f"{task}_{network}" for task in TASKS for network in NETWORKS]
    named += [f"any_{network}" for network in (*NETWORKS[: len(ORIGINALS)], "v2_conv")]
    named += [f"trained_{name}" for name in TRAINED]
    wanted = {f"{folder}{name}.yml" for folder in ("", "test/") for name in named}
    continued = {"trained_dehaze_2.yml", "trained_dehaze_3.yml"}
    assert wanted | continued | {"prompter.yml"} == set(RECIPES)


def test_recipes_have_the_values_that_are_said_to_differ_from_the_authors():
    page = (REPOSITORY / "docs" / "training.md").read_text()
    section = page.split("## What differs from the authors' option files")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| `(.+?)` \| .+ \| .+ \|$", section, re.MULTILINE)
    assert len(rows) == section.count("\n|") - 2
    for file in (f"{task}_{network}.yml" for task in TASKS for network in NETWORKS):
        options = read_option_file(OPTIONS / file)
        defaults = inspect.signature(ARCH_REGISTRY.get(options["network_g"]["type"])).parameters
        of_network = {key: one.default for key, one in defaults.items()}
        options["network_g"] = of_network | options["network_g"]
        for path, value in rows:
            found = options
            for key in path.split("."):
                found = found.get(key, ...) if found is not ... else ...
            guided = path in ("network_g.encoder_initialization", "train.contrast.normalize")
            lacking = found is ... and guided and "constyle" not in file
            assert found == yaml.safe_load(value) or lacking, (file, path)


def test_batches_are_those_of_the_paper():
    """16, but 8 for both Restormers, though not for dehazing, and Restormer's blind denoising."""
    eights = {
        f"{task}_{network}.yml"
        for task in TASKS
        for network in ("restormer", "constyle_restormer")
        if task != "dehaze" and (task, network) != ("denoise", "restormer")
    }
    for file in (f"{task}_{network}.yml" for task in TASKS for network in NETWORKS):
        loader = read_option_file(OPTIONS / file)["datasets"]["train"]
        assert loader["batch_size_per_gpu"] == (8 if file in eights else 16), file
    whole_run = read_option_file(OPTIONS / "deblur_constyle_restormer.yml")["train"]
    assert "constyle_iter" not in whole_run


def test_every_ablation_differs_from_the_recipe_in_what_it_is_named_for():
    assert len(ABLATIONS) == 22
    for file in ABLATIONS:
        task, _, row = Path(file).stem.partition("_")
        recipe, options = (
            read_option_file(OPTIONS / one) for one in (f"{task}_constyle_nafnet.yml", file)
        )
        train, of_recipe = options.pop("train"), recipe.pop("train")
        lacking = {key.removesuffix("_opt") for key in of_recipe.keys() - train.keys()}
        usual = row in ("moco", "dasr", "airnet")
        losses = {"pixel": {"contrastive", "content", "style"}, "infonce": {"content", "style"}}
        losses |= {f"no_{loss}": {loss} for loss in losses["pixel"]}
        assert lacking == (losses["infonce"] if usual else losses.get(row, set()))
        guides = {"no_code": {"use_code"}, "no_features": {"use_features"}}
        guides["no_guide"] = {"use_code", "use_features"}
        network = options.pop("network_g")
        off = {key for key in network if network[key] is False and key.startswith("use_")}
        assert off == ({"use_features"} if usual else guides.get(row, set()))
        assert network == {**recipe.pop("network_g"), **dict.fromkeys(off, False)}
        assert train["contrast"].get("enqueue", "query") == ("key" if usual else "query")
        assert options["datasets"]["train"].pop("second_crop", False) == usual
        del options["name"], recipe["name"]
        assert options == recipe


def test_benchmarks_of_a_network_are_the_papers_nineteen():
    for network in NETWORKS:
        files = {task: OPTIONS / "test" / f"{task}_{network}.yml" for task in TASKS}
        benchmarks = {
            (task, dataset["name"])
            for task, file in files.items()
            for dataset in read_option_file(file)["datasets"].values()
        }
        assert len(benchmarks) == 19
        assert len([1 for task, _ in benchmarks if task.startswith("denoise")]) == 12


@pytest.fixture(scope="module")
def weights_of(tmp_path_factory):
    """The file of a network's weights, as its training leaves it; one for all recipes of that
    network."""
    files = {}

    def written(network):
        key = json.dumps(network, sort_keys=True)
        if key not in files:
            files[key] = tmp_path_factory.mktemp("weights") / "net_g_latest.pth"
            torch.save({"params_ema": built(network).state_dict()}, files[key])
        return str(files[key])

    return written


@pytest.fixture(scope="module")
def narrowed():
    """A file's network, the same but narrow where another file's was built already."""
    known = []

    def of(network):
        if network not in known:
            known.append(dict(network))
            return network
        return network | {key: 8 for key in ("dim", "width") if key in network}

    return of


LIKE_OTHERS = ("denoise15_", "denoise25_")
"""Recipes that differ from denoise50's in one number."""


def slow_where(is_slow, names):
    return [pytest.param(one, marks=pytest.mark.slow if is_slow(one) else []) for one in names]


@pytest.mark.parametrize(
    "file", slow_where(lambda file: Path(file).name.startswith(LIKE_OTHERS), FILES)
)
def test_file_can_be_run_on_data_laid_out_as_the_page_shows(
    home, monkeypatch, weights_of, narrowed, file
):
    monkeypatch.chdir(home)
    options = read_option_file(OPTIONS / file)
    options |= {"is_train": "test/" not in file, "dist": False, "auto_resume": False, "num_gpu": 0}
    complete_datasets(options)
    weights = options["path"]["pretrain_network_g"]
    if weights not in TRAINED:
        options["network_g"] = narrowed(options["network_g"])
    if weights and weights not in TRAINED:
        options["path"]["pretrain_network_g"] = weights_of(options["network_g"])
    options["name"] += "_"  # of which there is no experiment yet
    check_options(options)
    assert options["name"].removesuffix("_") == Path(file).stem


def test_recipe_files_are_those_the_page_names():
    for name, data_set in DATA_SETS.items():
        used = {file for file in RECIPES if data_set.prepared + "/" in (OPTIONS / file).read_text()}
        patterns = re.search(r"Used by (.*?)\.\n", sections()[name], re.DOTALL)
        named = {
            path.relative_to(OPTIONS).as_posix()
            for pattern in re.findall(r"`options/(\S+)`", patterns[1] if patterns else "")
            for path in OPTIONS.glob(pattern)
        }
        assert used == named, name


def test_page_names_command_and_number_of_images_of_every_data_set():
    for name, data_set in DATA_SETS.items():
        section = " ".join(sections()[name].split())
        assert f"`basicsr prepare {name.lower()}`" in section
        for part, split in data_set.splits.items():
            assert re.search(rf"\b{split.images}\b[^.]* to {part}\b", section), (name, part)
        assert all(path.startswith(f"{data_set.source}/") for path in tree(name))


def train_shortly(home, name, *forced):
    """Two iterations of a recipe, with fewer and smaller crops."""
    loader = ("gt_size=64", "batch_size_per_gpu=2", "num_worker_per_gpu=0")
    small = [f"datasets:train:{option}" for option in loader]
    shorter = ["train:total_iter=2", "val:val_freq=2", "logger:print_freq=1"]
    flags = ("--force_yml", *small, *shorter, *forced)
    result = run_command("train", "-opt", OPTIONS / f"{name}.yml", *flags, cwd=home)
    assert result.returncode == 0, result.stderr[-3000:]


def run_recipe(home, name, monkeypatch, *forced):
    """Two iterations and the test of a recipe."""
    monkeypatch.chdir(home)
    train_shortly(home, name, *forced)
    flags, file = ("--force_yml", *forced) if forced else (), OPTIONS / "test" / f"{name}.yml"
    result = run_command("test", "-opt", file, *flags, cwd=home)
    assert result.returncode == 0, result.stderr[-3000:]
    benchmarks = [one["name"] for one in read_option_file(file)["datasets"].values()]
    results = home / "results" / name
    content = json.loads((results / "results.json").read_text())
    assert list(content["benchmarks"]) == benchmarks
    rows = list(csv.DictReader((results / "results.csv").open()))
    for benchmark in benchmarks:
        images = [row for row in rows if row["benchmark"] == benchmark and row["image"] != "mean"]
        measured = content["benchmarks"][benchmark]
        assert len(images) == measured["images"] > 0
        for metric in ("psnr", "ssim", "psnr_y", "ssim_y"):
            mean = sum(float(row[metric]) for row in images) / len(images)
            assert measured["scores"][metric]["value"] == pytest.approx(mean)
    assert (results / "results.md").read_text().count("\n| ") == 1 + len(benchmarks)
    return home / "experiments" / name


@pytest.mark.parametrize("name", ["denoise_constyle_maxim", "deblur_constyle_nafnet"])
def test_recipe_of_a_narrow_network_trains_and_tests(home, monkeypatch, name):
    run_recipe(home, name, monkeypatch, "network_g:dim=8")


def test_dehazing_recipe_trains_and_tests_at_full_size(home, monkeypatch):
    experiment = run_recipe(home, "dehaze_constyle_restormer", monkeypatch)
    log = next(experiment.glob("train_*.log")).read_text()
    assert "with parameters: 15,574,960" in log
    assert "iter:       2" in log
    assert "Validation SOTS" in log


OTHER = ("ablations/", "any_", "prompter")
PAPERS_OTHER_ROWS = [file.removesuffix(".yml") for file in FILES if file.startswith(OTHER)]
QUICK = ("prompter", "any_v2_conv", "ablations/derain_moco")


@pytest.mark.parametrize("name", slow_where(lambda name: name not in QUICK, PAPERS_OTHER_ROWS))
def test_other_rows_of_the_papers_tables_train(home, name):
    run = f"{Path(name).name}_shortly"  # the home has a prompter already
    narrow = () if name == "prompter" else ("network_g:dim=8",)
    train_shortly(home, name, f"name={run}", *narrow)
    assert (home / "experiments" / run / "models" / "net_g_latest.pth").is_file()


def test_origin_conv_trains_as_the_table_says(home):
    options = yaml.safe_load((OPTIONS / "any_v2_conv.yml").read_text())
    options["name"], options["model_type"] = "origin_conv", "RestorationModel"
    options["network_g"] = {"type": "OriginConv", "dim": 8}
    del options["path"]["pretrain_constyle"], options["train"]["constyle_iter"]
    options["datasets"] = {key: options["datasets"][key] for key in ("train", "val_1")}
    (home / "origin_conv.yml").write_text(yaml.safe_dump(options))
    train_shortly(home, home / "origin_conv")
    assert (home / "experiments" / "origin_conv" / "models" / "net_g_latest.pth").is_file()


def test_recipes_in_the_papers_tables_are_there():
    page = (REPOSITORY / "docs" / "how-it-works.md").read_text()
    patterns = re.findall(r"options/([^`\s]+\.yml)", page)
    named = [one for pattern in patterns for one in expanded(pattern)]
    assert set(named) > {*ABLATIONS, "prompter.yml"}
    assert set(named) <= set(FILES)


def expanded(pattern):
    """The names that a pattern with {one,other}, TASK or NETWORK stands for."""
    for word, names in (("TASK", TASKS), ("NETWORK", NETWORKS)):
        pattern = pattern.replace(word, "{" + ",".join(names) + "}")
    before, opened, rest = pattern.partition("{")
    if not opened:
        return [pattern]
    choices, _, after = rest.partition("}")
    return [name for one in choices.split(",") for name in expanded(before + one + after)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        f"{task}_{network}"
        for task in ("denoise15", "denoise25", "denoise50")
        for network in ("constyle_nafnet", "maxim")
    ]
    + [f"{task}_constyle_restormer" for task in ("denoise", "deblur", "derain")]
    + ["derain_constyle_maxim"],
)
def test_other_recipes_train_and_test(home, monkeypatch, name):
    run_recipe(home, name, monkeypatch)


def test_folders_can_stand_where_the_lmdbs_do(home, monkeypatch):
    """The page's example: the same images, read from the download as it is."""
    from constyle_arch.data.paired_restoration_dataset import PairedRestorationDataset

    monkeypatch.chdir(home)
    for name, data_set in DATA_SETS.items():
        split = data_set.splits.get("test")
        if split is None or split.lq is None or split.listed_in:
            continue
        names = {"phase": "val", "lq_name": split.names[0], "gt_name": split.names[1]}
        sides = {side: f"{data_set.source}/{getattr(split, side)}" for side in ("lq", "gt")}
        roots = [
            {f"dataroot_{side}": folder for side, folder in sides.items()},
            {f"dataroot_{side}": data_set.lmdb("test", side) for side in sides},
        ]
        folder, lmdb = (PairedRestorationDataset(names | root) for root in roots)
        assert len(folder) == len(lmdb) > 0, name
        for index in range(len(folder)):
            assert folder[index]["name"] == lmdb[index]["name"]
            assert torch.equal(folder[index]["lq"], lmdb[index]["lq"])
            assert torch.equal(folder[index]["gt"], lmdb[index]["gt"])


def test_forced_roots_reach_the_data_set(home, monkeypatch):
    monkeypatch.chdir(home)
    options = read_option_file(OPTIONS / "deblur_constyle_nafnet.yml")
    force_options(options, ["datasets:val:dataroot_gt=datasets/GoPro/test/*/sharp"])
    assert options["datasets"]["val"]["dataroot_gt"] == "datasets/GoPro/test/*/sharp"
