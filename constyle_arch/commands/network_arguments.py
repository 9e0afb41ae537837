"""What the commands that load a network have in common: which weights, and of which network."""

import argparse
from pathlib import Path
from typing import Any

from constyle_arch.errors import OptionsError


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
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE.py",
        help="run this Python file first; it may register architectures of your own",
    )


def add_tlc_argument(parser: argparse.ArgumentParser) -> None:
    """Add the flag for local statistics."""
    parser.add_argument(
        "--tlc",
        metavar="WINDOW",
        help="have channel attention look at windows of so many pixels instead of the whole "
        "image; auto: one and a "
        "half training crops; off (default: what the weights' file notes)",
    )


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
    import yaml

    from constyle_arch.options.reading import OptionLoader

    options = {}
    for entry in parsed.network_option:
        key, separator, text = entry.partition("=")
        if not separator or not key.isidentifier():
            raise OptionsError(
                f"--network-option {entry!r} must be KEY=VALUE, such as num_block=8."
            )
        try:
            options[key] = yaml.load(text, Loader=OptionLoader)
        except (ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise OptionsError(
                f"--network-option {entry!r}: the value cannot be read: {reason}"
            ) from error
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
    """Over which windows a network takes statistics, to append to a sentence; empty for the whole
    image.
    """
    from constyle_arch.archs.local_statistics import local_window

    window = local_window(network)
    return f"; statistics are those of windows of {window} pixels" if window else ""
