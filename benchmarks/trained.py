"""Adds a pretrained network to the package: weights in half precision, their checksum, the
model card, README's table.

  python -m benchmarks.trained denoise --trainings experiments/trained_denoise --commit COMMIT

Run it where `datasets/` has what `options/test/trained_NAME.yml` tests on.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import textwrap
import timeit
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

import cv2
import numpy as np
import torch
from numpy.random import RandomState
from skimage import data

from constyle_arch import load_network, restore
from constyle_arch.checkpoints.conversion import save_safetensors
from constyle_arch.checkpoints.reading import noted_window, read_state_dict
from constyle_arch.checkpoints.trained import CHECKSUMS, FOLDER, TRAINED, located
from constyle_arch.data.degradations import Haze, Noise, Rain
from constyle_arch.data.degradations.degradation import Degradation
from constyle_arch.images import to_8_bit, to_float
from constyle_arch.options.reading import read_option_file
from constyle_arch.reporting.pictures import comparison, encoded
from constyle_arch.reporting.scores import markdown_table
from constyle_arch.reporting.training_log import read_training_log

REPOSITORY = Path(__file__).parents[1]
TIME = "%Y-%m-%d %H:%M:%S"

DATA = {
    "denoise": "CBSD432: 432 photographs of the Berkeley Segmentation Data Set 500 (Arbeláez et "
    "al., 2011; for non-commercial research and education), with Gaussian noise added to each crop",
    "derain": "the 200 training pairs of Rain100L (Yang et al., 2017; no licence stated, for "
    "research), whose clean images are from the Berkeley Segmentation Data Set",
    "dehaze": "28 rooms of RESIDE SOTS indoor in 5 densities of haze each (Li et al., 2019; no "
    "licence stated, for research), none of them tested on; the same hazed again by `python -m "
    "benchmarks.rehaze`, in other densities, tones and sizes; and the photographs of CBSD432 with "
    "haze over an invented depth, 365 of them also over that of these rooms",
}
FAILURES = {
    "denoise": "Trained on Gaussian noise, independent for each pixel and channel. Noise that a "
    "camera has processed, or JPEG has compressed, is coarser and remains in part.",
    "derain": "Trained only on the light, near-vertical, synthetic streaks of Rain100L. Other "
    "streaks are taken for brighter than they are and leave dark traces; heavy rain, drops on the "
    "lens and the mist of distant rain remain.",
    "dehaze": "Trained on the synthetic haze of 28 rooms and on haze over invented depths. "
    "Outdoors, under another light, colours may shift, and dense haze far away remains in part. "
    "Thin haze may be taken for thicker haze, and pale walls come out too dark.",
}
"""What is known to go wrong."""


PUBLISHED = {
    "CBSD68-sigma15": "CBM3D 33.52, DnCNN 33.90, Restormer 34.35",
    "CBSD68-sigma25": "CBM3D 30.71, DnCNN 31.24, Restormer 31.75",
    "CBSD68-sigma50": "CBM3D 27.38, DnCNN 27.95, Restormer 28.56",
    "Rain100L": "PReNet 37.48, Restormer 36.74",
    "SOTS-indoor": "DCP 16.62, AOD-Net 19.06, GridDehazeNet 32.16 (all 50 rooms)",
}
"""Published PSNR in dB, to compare with; for Rain100L of the luminance."""
MEASURED = Path(__file__).with_name("trained.json")
"""What the tests of the pretrained networks measured."""
ASSETS = REPOSITORY / "docs" / "assets"
PICTURES: dict[str, tuple[Callable[[], Any], Degradation]] = {
    "denoise": (data.coffee, Noise(sigma=35)),
    "derain": (data.chelsea, Rain(density=0.004, length=20, angle=-8, brightness=0.5)),
    "dehaze": (data.astronaut, Haze(beta=1.2, airlight=0.85)),
}
"""The photographs of scikit-image that show what the networks do, and what is done to them
before."""
MARKS = "<!-- trained -->\n", "<!-- /trained -->\n"
"""Begin and end README's table."""
MEGAPIXEL = (1, 3, 1000, 1000)
ROUNDS = 5


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=TRAINED)
    parser.add_argument(
        "--trainings",
        type=Path,
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="the experiments' folders, if more than one in the order they continue one another",
    )
    parser.add_argument(
        "--tlc", type=int, metavar="WINDOW", help="note this window of local statistics, in pixels"
    )
    parser.add_argument("--commit", required=True, help="of the code that trained it")
    parser.add_argument(
        "--machine", default="one core of a processor with AMX", help="that trained it"
    )
    args = parser.parse_args()
    take_in(args.name, args.trainings[-1], args.tlc)
    test = REPOSITORY / "options" / "test" / f"trained_{args.name}.yml"
    subprocess.run([sys.executable, "-m", "constyle_arch", "test", "-opt", str(test)], check=True)
    results = json.loads(
        Path("results", f"trained_{args.name}", "results.json").read_text(encoding="utf-8")
    )
    card = model_card(args.name, args.trainings, results, args.commit, args.machine)
    (FOLDER / f"{args.name}.md").write_text(card, encoding="utf-8")
    measured = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.is_file() else {}
    measured[args.name] = {
        "parameters": results["parameters"],
        "bytes": located(args.name).stat().st_size,
        "seconds a megapixel": seconds_a_megapixel(args.name),
        "scores": {
            benchmark: {column: score["value"] for column, score in result["scores"].items()}
            for benchmark, result in results["benchmarks"].items()
        },
    }
    MEASURED.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    (ASSETS / f"{args.name}.jpg").write_bytes(picture(args.name))
    readme = REPOSITORY / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8"), measured), encoding="utf-8")


def with_table(readme: str, measured: dict[str, Any]) -> str:
    """README with the table of what was measured."""
    before, rest = readme.split(MARKS[0])
    rows = []
    for name in filter(measured.__contains__, TRAINED):
        one = measured[name]
        for number, (benchmark, scores) in enumerate(one["scores"].items()):
            metric = "psnr_y" if "psnr_y" in scores else "psnr"
            link = "" if number else f"[`{name}`](constyle_arch/checkpoints/trained/{name}.md)"
            means = (f"{scores[column]:.2f}" for column in (f"input_{metric}", metric))
            rows.append([link, benchmark.replace("-sigma", ", σ "), *means, PUBLISHED[benchmark]])
    table = markdown_table(["network", "test set", "input", "restored", "published"], rows)
    return f"{before}{MARKS[0]}{table}\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


def picture(name: str) -> bytes:
    """A JPEG of a photograph of `PICTURES`, degraded, restored and clean, side by side."""
    photograph, degradation = PICTURES[name]
    clean = to_float(np.asarray(photograph()))
    degraded = np.clip(degradation(clean, RandomState(0)), 0, 1)
    restored = restore(load_network(name), degraded)
    images = {"input": degraded, "restored": restored, "clean": clean}
    shown = {
        label: cv2.cvtColor(to_8_bit(image), cv2.COLOR_RGB2BGR) for label, image in images.items()
    }
    return encoded(comparison(shown, panel=300), ".jpg")


def seconds_a_megapixel(name: str) -> float:
    """The median of some restorations in float32."""
    network, image = load_network(name), torch.rand(MEGAPIXEL)
    with torch.inference_mode():
        return median(timeit.repeat(lambda: network(image), number=1, repeat=ROUNDS))


def take_in(name: str, training: Path, tlc: int | None) -> None:
    """Write a training's averaged weights into the package, halved, and their checksum."""
    weights = read_state_dict(training / "models" / "net_g_latest.pth", "params_ema")
    halves = {
        key: tensor.half() if tensor.is_floating_point() else tensor
        for key, tensor in weights.items()
    }
    file = FOLDER / f"{name}.safetensors"
    save_safetensors(halves, file, tlc)
    lines = CHECKSUMS.read_text(encoding="ascii").splitlines() if CHECKSUMS.is_file() else []
    others = [line for line in lines if not line.endswith(f"  {file.name}")]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    lines = sorted([*others, f"{digest}  {file.name}"], key=lambda line: line.split()[1])
    CHECKSUMS.write_text("".join(f"{line}\n" for line in lines))


def model_card(
    name: str, trainings: list[Path], results: dict[str, Any], commit: str, machine: str
) -> str:
    """What the network is for, its scores, how it was trained and where it fails."""
    recipes = []
    for training in trainings:
        options = read_option_file(str(next(training.glob("*.yml"))))
        iterations = options["train"]["total_iter"]
        recipes.append(f"`options/{options['name']}.yml`: {iterations} iterations")
    log = read_training_log(trainings[-1])
    accuracy = [
        value
        for step, value in log.values["contrast_acc"].items()
        if step > 0.8 * max(log.learning_rate)
    ]
    metrics = results["metrics"]
    columns = [column for metric in metrics for column in (f"input_{metric}", metric)]
    scores = [
        [benchmark, str(result["images"])]
        + [f"{result['scores'][column]['value']:.4f}" for column in columns]
        for benchmark, result in results["benchmarks"].items()
    ]
    titles = [title for metric in metrics for title in (f"{metric}, input", metric)]
    header = ["benchmark", "images", *titles]
    side = results["gmacs_image_side"]
    facts = {
        "network": f"{results['network']}, {results['parameters'] / 1e6:.3f} M parameters, "
        f"{results['gmacs']:.1f} GMACs for {side}×{side} pixels; weights in float16",
        "data": DATA[name],
        "recipe": f"{'; then '.join(recipes)}; seed {options['manual_seed']}",
        "time": f"{60 * sum(map(hours, trainings)):.0f} minutes on {machine}, shared with other "
        "work",
        "contrast": f"`contrast_acc` {fmean(accuracy):.2f} over the last fifth of the training",
        "commit": commit,
    }
    if window := noted_window(located(name)):
        facts["statistics"] = (
            f"over windows of {window} pixels instead of the whole image (TLC), as stored in the "
            "file; `--tlc off` uses the whole image"
        )
    return (
        f"# `{name}`\n\nThis network {TRAINED[name]}.\n\n"
        f"```\nbasicsr restore -i photo.jpg -o restored.jpg --weights {name}\n```\n\n"
        f"## Scores\n\nBy `basicsr test -opt options/test/trained_{name}.yml`; PSNR in dB:\n\n"
        f"{markdown_table(header, scores)}\n\n"
        "## Training\n\n"
        + "".join(wrapped(f"- {what}: {fact}", indent="  ") for what, fact in facts.items())
        + f"\n## Where it fails\n\n{wrapped(FAILURES[name])}"
    )


def wrapped(paragraph: str, indent: str = "") -> str:
    """A paragraph in lines as long as the repository's."""
    return textwrap.fill(paragraph, 100, subsequent_indent=indent, break_on_hyphens=False) + "\n"


def hours(training: Path) -> float:
    """How long a training ran, its interruptions not counted."""
    seconds = 0.0
    for log in training.glob("train_*.log"):
        lines = log.read_text(encoding="utf-8").splitlines()
        steps = [line[:19] for line in lines if line[:2] == "20" and "iter:" in line[:200]]
        times = [datetime.strptime(step, TIME) for step in steps]
        seconds += (times[-1] - times[0]).total_seconds() if times else 0.0
    return seconds / 3600


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
