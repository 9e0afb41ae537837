"""Restore and score images with a network: those of --gt and --lq, those that an experiment held
out of its training, or the data sets of an option file with the network in its
path.pretrain_network_g.

Writes, below the current directory:
  results/NAME/                 log; results.md, .json and .csv: the table, every image's scores
  results/NAME/visualization/   restored images; with val.save_comparison beside input and clean
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from constyle_arch.checkpoints.trained import checkpoint_file
from constyle_arch.commands.arguments import (
    add_name_arguments,
    add_network_arguments,
    add_tlc_argument,
    add_weights_argument,
    names_given,
    network_options_of,
    window_asked_for,
)
from constyle_arch.errors import OptionsError
from constyle_arch.options.flags import add_run_arguments
from constyle_arch.options.reading import Options, read_option_file

HELP = "restore and score test sets"

EXAMPLES = """\
  basicsr test --weights experiments/NAME
  basicsr test --weights experiments/NAME --gt mine/test/clean --lq mine/test/rainy
  basicsr test --weights denoise --gt photos --noise 25
  basicsr test -opt options/test/demo_dehaze_constyle_restormer.yml
"""

METRICS = {
    name: {"type": f"calculate_{name}", "crop_border": 0, "test_y_channel": False}
    for name in ("psnr", "ssim")
}
"""What is measured where the weights' experiment does not say."""

IN_FILE = (
    *("gt", "lq", "noise", "lq_name", "gt_name"),
    *("name", "key", "type", "network_option", "tlc"),
)
"""Arguments for which an option file has options."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("-opt", metavar="FILE", help="an option file (YAML), or give --weights")
    add_weights_argument(parser)
    parser.add_argument(
        "--gt", metavar="DIR", help="clean images (default: the experiment's validation images)"
    )
    parser.add_argument("--lq", metavar="DIR", help="degraded images, of the same sizes")
    parser.add_argument(
        "--noise", type=float, metavar="SIGMA", help="instead of --lq: add noise, in 1/255"
    )
    add_name_arguments(parser)
    parser.add_argument(
        "--name", help="name of the folder in results/ (default: the experiment's or the file's)"
    )
    add_network_arguments(parser)
    add_tlc_argument(parser)
    add_run_arguments(parser)


def run(parsed: argparse.Namespace) -> None:
    """Run BasicSR's test pipeline."""
    _check_flags(parsed)
    if parsed.opt:  # its errors are reported before torch is imported
        read_option_file(parsed.opt)
    else:
        checkpoint_file(parsed.weights)

    from constyle_arch.training.runner import prepare_basicsr, run_pipeline

    if parsed.opt:
        run_pipeline("test", parsed.arguments, parsed.plugin)
        return
    import yaml

    prepare_basicsr(parsed.plugin)
    options = _options(parsed)
    flags = ["--launcher", parsed.launcher]
    if parsed.force_yml:
        flags += ["--force_yml", *parsed.force_yml]
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{options['name']}.yml"
        text = yaml.safe_dump(options, sort_keys=False, allow_unicode=True)
        file.write_text(text, encoding="utf-8")
        run_pipeline("test", ["-opt", str(file), *flags])


def _check_flags(parsed: argparse.Namespace) -> None:
    if bool(parsed.opt) == bool(parsed.weights):
        raise OptionsError("Give either -opt FILE or --weights W.")
    given = [
        f"--{name.replace('_', '-')}" for name in IN_FILE if getattr(parsed, name) not in (None, [])
    ]
    if parsed.opt and given:
        raise OptionsError(
            f"{', '.join(given)}: the option file says so; leave it out, or give --weights instead."
        )
    if (parsed.lq or parsed.noise is not None) and not parsed.gt:
        raise OptionsError("--lq and --noise need --gt, the clean images.")
    names_given(parsed, "lq")
    if parsed.gt and bool(parsed.lq) == (parsed.noise is not None):
        raise OptionsError("--gt needs either --lq, the degraded images, or --noise SIGMA.")


def _options(parsed: argparse.Namespace) -> Options:
    """The options of a test of some weights, as a file would have them."""
    from constyle_arch.checkpoints.experiments import experiment_options
    from constyle_arch.checkpoints.loading import network_of, own_names
    from constyle_arch.checkpoints.reading import read_state_dict
    from constyle_arch.checkpoints.trained import located

    weights = located(parsed.weights)
    trained = experiment_options(weights)
    name, network = network_of(
        own_names(read_state_dict(weights, parsed.key)), weights, parsed.type
    )
    path = {"pretrain_network_g": str(weights), "strict_load_g": True}
    return {
        "name": parsed.name or (trained.get("name") or weights.stem),
        "model_type": "RestorationModel",
        "scale": 1,
        "num_gpu": "auto",
        "manual_seed": 0,
        "datasets": _data_sets(parsed, trained),
        "network_g": {"type": name, **network, **network_options_of(parsed)},
        "path": path | ({"param_key_g": parsed.key} if parsed.key else {}),
        "val": {
            "save_img": False,
            "save_comparison": True,
            "tlc": window_asked_for(parsed),
            "metrics": (trained.get("val") or {}).get("metrics") or METRICS,
        },
    }


def _data_sets(parsed: argparse.Namespace, trained: Options) -> Options:
    if not parsed.gt:
        datasets = trained.get("datasets") or {}
        held_out = {
            phase: dataset for phase, dataset in datasets.items() if str(phase).startswith("val")
        }
        if not held_out:
            raise OptionsError(
                f"--weights {parsed.weights} has no images to validate on; name some by --gt and "
                "--lq."
            )
        return held_out
    if parsed.noise is not None:
        noise = [{"type": "noise", "sigma": parsed.noise}]
        dataset: Options = {"type": "DegradedImageDataset", "degradations": noise}
    else:
        from constyle_arch.training.own_data import look_at

        data = look_at(parsed.gt, parsed.lq, names_given(parsed, "lq"))
        names = {"lq_name": data.lq_name, "gt_name": data.gt_name}
        dataset = {"type": "PairedRestorationDataset", "dataroot_lq": parsed.lq, **names}
    return {"test": {"name": "test", **dataset, "dataroot_gt": parsed.gt}}
