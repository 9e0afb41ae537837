"""Draw ConStyle's codes of degraded and clean images before training (a new encoder) and after it
(the weights), as figure 2 of the paper, and measure how well they separate degraded from clean
images, and degradations from each other.

The silhouette coefficient is 1 for groups far apart and 0 for mixed ones. It is computed from the
codes, 128 numbers, not from the picture's points, as are the nearest images. Other differences
between folders count too: use the same photographs, degraded in several ways.
"""

import argparse
import math
import sys
from pathlib import Path
from typing import Any

HELP = "draw ConStyle's codes of images"

EXAMPLES = """\
  basicsr latents --weights experiments/NAME --lq hazy rainy blurred --gt clean
  basicsr latents --weights net_g_best.pth --lq 'data/*/lq' --gt 'data/*/gt' -o codes.svg
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    several: dict[str, Any] = {"required": True, "nargs": "+"}
    weights = "a ConStyle network's checkpoint, or experiments/NAME; several are drawn side by side"
    parser.add_argument("--weights", type=Path, metavar="W", help=weights, **several)
    degraded = "degraded images; each folder is a type, and of a single one each folder in it"
    parser.add_argument("--lq", metavar="DIR", help=degraded, **several)
    parser.add_argument("--gt", metavar="DIR", help="clean images", **several)
    file = "the .png or .svg file to write, replaced if it exists (default: latents.png)"
    default = Path("latents.png")
    parser.add_argument("-o", "--output", type=Path, default=default, metavar="FILE", help=file)
    method = "principal components, or t-SNE with scikit-learn (default: pca)"
    parser.add_argument("--method", choices=["pca", "tsne"], default="pca", help=method)


def run(parsed: argparse.Namespace) -> int:
    """Encode the images, measure and draw their codes; returns 1 where images were left out."""
    from constyle_arch.checkpoints.trained import located
    from constyle_arch.reporting.figure_files import (
        check_format,
        distinct_names,
        require_matplotlib,
    )

    check_format(parsed.output)
    require_matplotlib()
    from constyle_arch.reporting.figures import save_figure
    from constyle_arch.reporting.latents import collecting, drawing, embedding, scores

    embedding.check_method(parsed.method)
    types, clean = collecting.degraded_images(parsed.lq), collecting.clean_images(parsed.gt)
    networks = [collecting.guided_network(located(path)) for path in parsed.weights]
    names = distinct_names(parsed.weights) if len(networks) > 1 else ["after training"]
    trained = {name: network.encoder for name, network in zip(names, networks, strict=True)}
    encoders = {"before training": collecting.untrained_encoder(), **trained}
    multiple = math.lcm(*(network.multiple for network in networks))
    latents = collecting.encode(encoders, multiple, clean, types)
    measured = {
        name: scores.separation(codes, latents.labels) for name, codes in latents.codes.items()
    }
    print(scores.table(measured))
    save_figure(drawing.draw(latents, measured, parsed.method), parsed.output)
    print(f"Wrote {parsed.output}.")
    for problem in latents.problems:
        print(f"Left out: {problem}", file=sys.stderr)
    return 1 if latents.problems else 0
