"""What the commands that load a network have in common: which weights, and of which network."""

import argparse
from pathlib import Path
from typing import Any

from constyle_arch.errors import OptionsError


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how weights are to be read."""
    parser.add_argument("--key", help="section of the checkpoint (default: params_ema, or else params)")
    parser.add_argument(
        "--type",
        metavar="NAME",
        help="the architecture, as in network_g.type (default: detected from the weights or their experiment)",
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
            raise OptionsError(f"--network-option {entry!r} must be KEY=VALUE, such as num_block=8.")
        try:
            options[key] = yaml.load(text, Loader=OptionLoader)
        except (ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise OptionsError(f"--network-option {entry!r}: the value cannot be read: {reason}") from error
    return options


def load_chosen_network(parsed: argparse.Namespace) -> tuple[Any, Path, str]:
    """The network that `parsed.weights` and the flags mean.

    Returns:
        The network, in evaluation mode, on the CPU; its file; and where it is from, for people.

    Raises:
        UserError: the flags, a plugin or the weights cannot be used.
    """
    from constyle_arch.checkpoints.loading import read_network
    from constyle_arch.checkpoints.trained import located
    from constyle_arch.training.runner import prepare_basicsr

    prepare_basicsr(parsed.plugin)
    weights = located(parsed.weights)
    options = network_options_of(parsed)
    network, section = read_network(weights, parsed.type, key=parsed.key, **options)
    return network, weights, f"{weights} [{section}]" if section else str(weights)
