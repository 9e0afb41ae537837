"""Arguments that several commands have in common, and what they mean."""

import argparse
from pathlib import Path
from typing import Any

from constyle_arch.errors import OptionsError, RunError
from constyle_arch.options.flags import add_plugin_argument
from constyle_arch.options.reading import yaml_value

DEVICES = ("cpu", "cuda", "mps", "xpu")


def add_weights_argument(
    parser: argparse.ArgumentParser, name: str = "--weights", **options: Any
) -> None:
    """Add the argument that names a network's weights."""
    what = (
        "a pretrained network (`basicsr info` lists them), a checkpoint of any origin, or an "
        "experiment's folder (its best network, or else its newest)"
    )
    parser.add_argument(name, metavar="W", help=what, **options)


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how weights are to be read."""
    parser.add_argument(
        "--key", help="section of the checkpoint (default: params_ema, or else params)"
    )
    parser.add_argument(
        "--type",
        metavar="NAME",
        help="the architecture, as in network_g.type (default: detected from the weights or their "
        "experiment)",
    )
    parser.add_argument(
        "--network-option",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="options that cannot be detected from the weights, as in network_g: num_block=8",
    )
    add_plugin_argument(parser)


def add_tlc_argument(parser: argparse.ArgumentParser) -> None:
    """Add the flag for local statistics."""
    parser.add_argument(
        "--tlc",
        metavar="WINDOW",
        help="have channel attention look at windows of so many pixels instead of the whole image; "
        "auto: one and a half training crops; off (default: what the weights' file notes)",
    )


def add_precision_arguments(parser: argparse.ArgumentParser, half: str, bf16: str) -> None:
    """Add `--half` and `--bf16`, with their help; `precision` is then the name of a torch type."""
    group = parser.add_mutually_exclusive_group()
    parser.set_defaults(precision="float32")
    for flag, name, text in (("--half", "float16", half), ("--bf16", "bfloat16", bf16)):
        group.add_argument(flag, action="store_const", const=name, dest="precision", help=text)


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add the flag for what computes."""
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1, mps (default: a GPU if there is one)"
    )


def add_name_arguments(parser: argparse.ArgumentParser, default: str = "detected") -> None:
    """Add the flags that say how degraded and clean names correspond."""
    for side, whose, example in (("lq", "degraded", "rain-{}"), ("gt", "clean", "norain-{}")):
        what = f"form of the {whose} names, e.g. '{example}' (default: {default})"
        parser.add_argument(f"--{side}-name", metavar="FORM", help=what)


def names_given(parsed: argparse.Namespace, needed: str) -> tuple[str, str] | None:
    """The forms of degraded and clean names; None where neither is given.

    Args:
        parsed: the command's arguments.
        needed: the flag, without its dashes, of the images that they match.

    Raises:
        OptionsError: they are given without those images.
    """
    if not (parsed.lq_name or parsed.gt_name):
        return None
    if getattr(parsed, needed) is None:
        flag = "--lq-name" if parsed.lq_name else "--gt-name"
        raise OptionsError(f"{flag} is for matching names; give --{needed} too, or leave it out.")
    return parsed.lq_name or "{}", parsed.gt_name or "{}"


def window_asked_for(parsed: argparse.Namespace) -> Any:
    """What `--tlc` says, as `load_network` takes it.

    Raises:
        OptionsError: it is neither pixels nor `auto` nor `off`.
    """
    tlc = parsed.tlc
    if tlc in (None, "auto"):
        return tlc
    if tlc == "off":
        return 0
    if not tlc.isdecimal() or int(tlc) < 1:
        raise OptionsError(f"--tlc is {tlc!r}; it must be a number of pixels, auto or off.")
    return int(tlc)


def network_options_of(parsed: argparse.Namespace) -> dict[str, Any]:
    """What `--network-option` says.

    Raises:
        OptionsError: an entry is not KEY=VALUE.
    """
    options = {}
    for entry in parsed.network_option:
        key, separator, text = entry.partition("=")
        if not separator or not key.isidentifier():
            raise OptionsError(
                f"--network-option {entry!r} must be KEY=VALUE, such as num_block=8."
            )
        options[key] = yaml_value(text, f"--network-option {entry!r}")
    return options


def load_chosen_network(parsed: argparse.Namespace) -> tuple[Any, Path, str]:
    """The network that `parsed.weights` and the flags mean.

    Returns:
        The network, in evaluation mode, on the CPU; its file; and where it is from, for people.

    Raises:
        UserError: the flags, a plugin or the weights cannot be used.
    """
    from constyle_arch.checkpoints.trained import checkpoint_file

    weights, options = checkpoint_file(parsed.weights), network_options_of(parsed)

    from constyle_arch.checkpoints.loading import read_network
    from constyle_arch.training.runner import prepare_basicsr

    if parsed.plugin:  # which may need all of BasicSR
        prepare_basicsr(parsed.plugin)
    network, section = read_network(
        weights, parsed.type, key=parsed.key, tlc=window_asked_for(parsed), **options
    )
    return network, weights, f"{weights} [{section}]" if section else str(weights)


def in_words(network: Any) -> str:
    """Over which windows a network takes statistics, to append to a sentence; empty for none."""
    from constyle_arch.archs.local_statistics import local_window

    window = local_window(network)
    return f"; statistics are those of windows of {window} pixels" if window else ""


def device_named(name: str) -> Any:
    """The device that `--device` names; of `auto`, a GPU if there is one.

    Raises:
        UserError: there is no such device.
    """
    import torch

    if name == "auto":
        available = torch.accelerator.is_available()
        return torch.accelerator.current_accelerator() if available else torch.device("cpu")
    if name.split(":")[0] not in DEVICES:
        raise OptionsError(
            f"--device is {name}; it must be one of {', '.join(DEVICES)}, or cuda:1 and so on."
        )
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except Exception as error:  # each kind has errors of its own
        raise RunError(
            f"--device {name} cannot be used here: torch finds none; leave it out for the CPU."
        ) from error
    return device


def check_option_target(file: Path, overwrite: bool) -> None:
    """Check that an option file can be written under this name.

    Raises:
        OptionsError: it cannot.
    """
    if file.suffix not in (".yml", ".yaml"):
        raise OptionsError(f"{file}: the name must end in .yml.")
    if file.exists() and not overwrite:
        raise OptionsError(f"{file} already exists; choose another name or add --overwrite.")
    if not file.absolute().parent.is_dir():
        raise OptionsError(f"{file}: there is no folder {file.parent}.")
