"""Reading a run's options, its flags and YAML file, as BasicSR does but safely."""

import argparse
import os
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from constyle_arch.errors import OptionsError
from constyle_arch.options.flags import add_training_arguments
from constyle_arch.options.scaling import scale_iterations

Options = dict[str, Any]

FLOAT = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*([eE][-+]?\d+)|\.\d+([eE][-+]?\d+)?|\d[\d_]*\.[\d_]*)$")

SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST")
"""What Slurm says of a process, in its environment."""

MOST_VALUES = 100_000
"""Of an option file, its aliases written out; the files of this package have some hundred."""


class OptionLoader(yaml.SafeLoader):
    """YAML without code, in which `1e-3` is a number, a key stands once and aliases are few."""

    def get_single_node(self) -> yaml.Node | None:
        """The document, refusing aliases that lead back to themselves or multiply."""
        node = super().get_single_node()
        if node is not None:
            _count_values(node, {}, set())
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping as a dict, refusing a key that appears twice."""
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} appears twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _count_values(node: yaml.Node, counted: dict[int, int], above: set[int]) -> int:
    """The number of values with aliases written out; `above` are the nodes around this one."""
    if id(node) in above:
        raise yaml.constructor.ConstructorError(
            problem="an alias (*) refers to a value that contains it", problem_mark=node.start_mark
        )
    if id(node) not in counted:
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        inside = {*above, id(node)} if parts else above
        counted[id(node)] = 1 + sum(_count_values(part, counted, inside) for part in parts)
        if counted[id(node)] > MOST_VALUES:
            raise yaml.constructor.ConstructorError(
                problem=f"with its aliases (*) written out it is more than {MOST_VALUES} values",
                problem_mark=node.start_mark,
            )
    return counted[id(node)]


def _reason(error: Exception) -> str:
    """What is wrong with a piece of YAML, and where, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{error.problem}, line {error.problem_mark.line + 1}."
    if isinstance(error, RecursionError):
        return "it is nested too deeply."
    if isinstance(error, OSError):
        return f"{error.strerror}."
    return " ".join(str(error).split())


OptionLoader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))


def read_option_file(path: str) -> Options:
    """The options in a YAML file.

    Raises:
        OptionsError: the file is missing, is not YAML, holds a key twice or is not a mapping.
    """
    try:
        options = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=OptionLoader)
    except FileNotFoundError:
        raise OptionsError(f"The option file {path} does not exist.") from None
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise OptionsError(f"The option file {path} cannot be read: {_reason(error)}") from error
    if not isinstance(options, dict):
        raise OptionsError(
            f"The option file {path} holds no options; it must be a mapping of keys to values."
        )
    return {key: _unshared(value) for key, value in options.items()}


def _unshared(value: Any) -> Any:
    """A copy without shared values: BasicSR's data sets remove entries from theirs."""
    if isinstance(value, dict):
        return {key: _unshared(entry) for key, entry in value.items()}
    return [_unshared(entry) for entry in value] if isinstance(value, list) else value


def force_options(options: Options, entries: list[str]) -> None:
    """Replace options by entries `key:key=value`; a key that is new is announced.

    Raises:
        OptionsError: an entry has no `=` or leads through a key that is not there.
    """
    for entry in entries:
        keys, separator, text = entry.partition("=")
        if not separator:
            raise OptionsError(f"--force_yml {entry!r} has no '='; write key:key=value.")
        *parents, last = (key.strip() for key in keys.split(":"))
        if not last:
            raise OptionsError(f"--force_yml {entry!r} names no option; write key:key=value.")
        place = options
        for key in parents:
            if not isinstance(place.get(key), dict):
                raise OptionsError(
                    f"--force_yml {entry!r}: the option file has no section {key!r}."
                )
            place = place[key]
        if last not in place:
            print(f"--force_yml adds {keys}, which the option file does not have.", flush=True)
        text = text.strip()
        if text.lower() == "none":  # as in BasicSR, and braces are text
            place[last] = None
        else:
            is_text = text.startswith("{")
            place[last] = text if is_text else yaml_value(text, f"--force_yml {entry!r}")


def yaml_value(text: str, where: str) -> Any:
    """A value as YAML reads it; an OptionsError names the flag `where`."""
    try:
        return yaml.load(text, Loader=OptionLoader)
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise OptionsError(f"{where}: the value cannot be read: {_reason(error)}") from error


def parse_options(root_path: str, is_train: bool = True) -> tuple[Options, argparse.Namespace]:
    """BasicSR's `parse_options`: read the flags and the file, check, seed, fill in paths.

    Nothing is created before every check has passed.

    Args:
        root_path: the directory below which experiments and results go.
        is_train: whether this is a training run or a test.

    Returns:
        The options as BasicSR's pipelines expect them, and the flags.

    Raises:
        OptionsError: the options cannot be run; the message lists every problem.
    """
    from basicsr.utils import set_random_seed
    from basicsr.utils.dist_util import get_dist_info
    from basicsr.utils.options import init_dist
    from torch import distributed

    from constyle_arch.losses import perceptual_backbone
    from constyle_arch.torchvision_weights import download
    from constyle_arch.training.resuming import start_of

    options, flags = read_checked_options(sys.argv[1:], is_train)
    if is_train:
        download(perceptual_backbone.downloads(options["train"]))
    launcher = _launcher(flags)
    if options["dist"]:
        settings = dict(options.get("dist_params") or {}) if launcher == "slurm" else {}
        if options["num_gpu"] == 0:
            settings["backend"] = "gloo"
        init_dist(launcher, **settings)
    options["rank"], options["world_size"] = get_dist_info()
    if options["manual_seed"] is None:
        seeds = [random.randint(1, 10000)]
        if options["dist"]:
            distributed.broadcast_object_list(seeds, src=0)
        options["manual_seed"] = seeds[0]
        start_of(options).seed_was_drawn = True
    set_random_seed(options["manual_seed"] + options["rank"])
    complete_paths(options, Path(root_path))
    if is_train and options["name"].startswith("debug"):
        options["logger"].update(print_freq=1, save_checkpoint_freq=8)
        if options.get("val"):
            options["val"]["val_freq"] = 8
    return options, flags


def read_checked_options(
    arguments: Sequence[str], is_train: bool | None = None
) -> tuple[Options, argparse.Namespace]:
    """Read the flags and the option file of a run, and check them.

    Args:
        arguments: the command line after the command.
        is_train: whether this is a training run; None where the file itself says so, by its section
            `train`.

    Returns:
        The options, checked, and the flags.

    Raises:
        OptionsError: the options cannot be run; the message lists every problem.
    """
    import torch

    from constyle_arch.options.authors import of_the_authors
    from constyle_arch.options.preflight import check_options, fill_gaps

    parser = argparse.ArgumentParser()
    add_training_arguments(parser)
    flags = parser.parse_args(arguments)
    options = read_option_file(flags.opt)
    if authors := of_the_authors(options):
        raise OptionsError(
            f"{flags.opt} has `{authors}`, as the authors' program reads it; `basicsr "
            f"convert-options {flags.opt} OUT.yml` writes it as an option file of this package."
        )
    force_options(options, flags.force_yml)
    if flags.total_iter:
        for line in scale_iterations(options, flags.total_iter):
            print(f"--total-iter {flags.total_iter}: {line}", flush=True)
    options["dist"] = _launcher(flags) != "none"
    options["auto_resume"] = flags.auto_resume
    options["archive"] = flags.archive
    options["is_train"] = "train" in options if is_train is None else is_train
    options.setdefault("manual_seed", None)
    if str(options.get("num_gpu")).lower() == "auto":
        # of this process; torchrun starts one for each GPU
        options["num_gpu"] = min(torch.cuda.device_count(), 1)
    if flags.debug and "name" in options and not str(options["name"]).startswith("debug"):
        options["name"] = f"debug_{options['name']}"
    complete_datasets(options)
    check_options(options, starts=is_train is not None)
    fill_gaps(options)
    return options, flags


def _launcher(flags: argparse.Namespace) -> str:
    """How the processes were started; torchrun is noticed by itself."""
    launcher = str(flags.launcher)
    if launcher == "none" and "TORCHELASTIC_RUN_ID" in os.environ:
        launcher = "pytorch"
    if launcher == "pytorch" and "RANK" not in os.environ:
        raise OptionsError(
            "--launcher pytorch needs torchrun: torchrun --nproc-per-node N -m constyle_arch …"
        )
    missing = [name for name in SLURM if name not in os.environ]
    if launcher == "slurm" and missing:
        raise OptionsError(
            f"--launcher slurm needs Slurm's {', '.join(missing)}: start the command with srun."
        )
    return launcher


def complete_datasets(options: Options) -> None:
    """Fill in what BasicSR adds to every data set: its phase and the run's scale."""
    datasets = options.get("datasets")
    for phase, dataset in datasets.items() if isinstance(datasets, dict) else ():
        if isinstance(dataset, dict):  # what is none, preflight reports
            dataset["phase"] = str(phase).split("_")[0]
            if "scale" in options:
                dataset["scale"] = options["scale"]


def complete_paths(options: Options, root: Path) -> None:
    """Fill in the folders below `root` that BasicSR writes to."""
    path = options["path"]
    if "pretrain_constyle" in path:  # of other paths BasicSR makes folders
        path["pretrain_network_constyle"] = path.pop("pretrain_constyle")
    for key, value in path.items():
        if value is not None and ("resume_state" in key or "pretrain_network" in key):
            path[key] = str(Path(value).expanduser())
    if options["is_train"]:
        home = root / "experiments" / options["name"]
        path["experiments_root"] = str(home)
        path["models"] = str(home / "models")
        path["training_states"] = str(home / "training_states")
    else:
        home = root / "results" / options["name"]
        path["results_root"] = str(home)
    path["log"] = str(home)
    path["visualization"] = str(home / "visualization")
