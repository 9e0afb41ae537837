"""Restore photographs with a trained network.

Reads jpg, png, webp, tiff and bmp of 8 and 16 bits, gray and in colour, avif, and with the extra
"heif" heic. Depth, alpha, colour profile and EXIF data are kept, orientation is applied. A
photograph that cannot be restored does not stop the others: it is reported at the end, with exit
code 1. Existing results are skipped, so that the same command resumes.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from constyle_arch.checkpoints.trained import checkpoint_file
from constyle_arch.commands.arguments import (
    add_device_argument,
    add_name_arguments,
    add_network_arguments,
    add_precision_arguments,
    add_tlc_argument,
    add_weights_argument,
    device_named,
    in_words,
    load_chosen_network,
    names_given,
)
from constyle_arch.errors import DataError, OptionsError, RunError, listed
from constyle_arch.options.flags import add_number

HELP = "restore photographs"

EXAMPLES = """\
  basicsr restore -i photo.jpg -o restored.jpg --weights denoise
  basicsr restore -i hazy.jpg -o restored.jpg --weights experiments/NAME
  basicsr restore -i photos -o restored --weights net_g_latest.pth
  basicsr restore -i 'photos/**/*.jpg' -o restored --weights net.pth --ext png --suffix _clean
  basicsr restore -i photos -o restored --weights net.pth --compare --gt clean
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    images = "images, folders, or patterns in quotes"
    parser.add_argument("-i", "--input", nargs="+", required=True, metavar="INPUT", help=images)
    output = "a folder; for one image also the file to write"
    parser.add_argument("-o", "--output", required=True, metavar="OUTPUT", help=output)
    add_weights_argument(parser, required=True)
    add_network_arguments(parser)
    add_tlc_argument(parser)
    add_device_argument(parser)
    default = "(default: the largest that fit, where the whole image does not)"
    add_number(parser, "--tile", f"restore in tiles of N×N pixels {default}", least=1)
    overlap = "overlap of neighbouring tiles, in pixels (default: 32)"
    add_number(parser, "--tile-overlap", overlap, least=0)
    pixels = "refuse photographs of more than N million pixels"
    add_number(parser, "--max-megapixels", pixels, kind=float, default=200, above=0)
    add_precision_arguments(parser, half="compute in float16", bf16="compute in bfloat16")
    compiled = "compile the network first, by torch.compile; takes minutes"
    parser.add_argument("--compile", action="store_true", help=compiled)
    ensemble = "mean over 8 rotations and reflections; 8 times as long"
    parser.add_argument("--self-ensemble", action="store_true", help=ensemble)
    share = "share of the restored image in the result, from 0 to 1"
    add_number(parser, "--strength", share, kind=float, default=1.0, least=0, most=1)
    parser.add_argument("--suffix", default="", help="append to names, e.g. _restored")
    ext = "format of the files (default: the input's; png for heic and avif)"
    parser.add_argument("--ext", choices=["png", "jpg", "webp", "tif", "bmp"], help=ext)
    quality = "quality of JPEG and WebP files, from 1 to 100 (default: 95)"
    add_number(parser, "--quality", quality, least=1, most=100)
    comparison = "also write NAME_comparison.jpg: input, restored and clean image"
    parser.add_argument("--compare", action="store_true", help=comparison)
    truths = "clean images of the same names, to score with"
    parser.add_argument("--gt", metavar="PATH", help=truths)
    add_name_arguments(parser, default="'{}', the same names")
    parser.add_argument("--overwrite", action="store_true", help="replace existing results")
    parser.set_defaults(when_interrupted="the same command resumes")


def run(parsed: argparse.Namespace) -> int:
    """Restore what is found; 1 if anything failed."""
    from constyle_arch.inference.photographs.finding import find_jobs, find_truths, other_files
    from constyle_arch.inference.photographs.photograph import FORMATS, HAVING_QUALITY, QUALITY

    if parsed.gt == "":
        raise OptionsError("--gt is empty; name the clean images, or leave it out.")
    names = names_given(parsed, "gt") or ("{}", "{}")
    jobs = find_jobs(
        parsed.input,
        parsed.output,
        suffix=parsed.suffix,
        extension=f".{parsed.ext}" if parsed.ext else None,
        compare=parsed.compare,
    )
    if parsed.quality is not None and not any(
        FORMATS[job.target.suffix.lower()] in HAVING_QUALITY for job in jobs
    ):
        raise OptionsError(
            "--quality is of JPEG and WebP files, and none would be written; leave it out, or see "
            "--ext."
        )
    others = other_files(parsed.input, parsed.output)
    truths = find_truths(jobs, parsed.gt, *names) if parsed.gt else None

    checkpoint_file(parsed.weights)  # is it there? asked before torch is imported

    import torch
    from tqdm import tqdm

    from constyle_arch.allocator import keep_freed_memory
    from constyle_arch.archs.local_statistics import depends_on_tiles, local_window
    from constyle_arch.inference.photographs.pipeline import Pipeline
    from constyle_arch.inference.photographs.restorer import Restorer
    from constyle_arch.inference.restoring import OVERLAP
    from constyle_arch.reporting.complexity import count_parameters
    from constyle_arch.tiles import COST, LARGE_ENOUGH, largest_overlap, multiple_of

    keep_freed_memory()
    device = device_named(parsed.device)
    network, weights, source = load_chosen_network(parsed)
    network.to(device)
    overlap = parsed.tile_overlap
    if parsed.tile and overlap is not None:
        most = largest_overlap(parsed.tile, multiple_of(network))
        if overlap > most:
            raise OptionsError(
                f"--tile-overlap is {overlap} with --tile {parsed.tile}; it must lie in [0, "
                f"{most}]."
            )
    _check_writable(Path(parsed.output).expanduser())
    precision, name = getattr(torch, parsed.precision), type(network).__name__
    print(
        f"{name}, {count_parameters(network) / 1e6:.3f} M parameters, of {source}; computes on "
        f"{device} in {parsed.precision}{in_words(network)}."
    )
    if parsed.tlc not in (None, "off") and local_window(network) is None:
        print(f"--tlc {parsed.tlc}: {name} takes no statistics over images; nothing changes.")
    if parsed.tile and parsed.tile < LARGE_ENOUGH and depends_on_tiles(network, parsed.tile):
        print(f"--tile {parsed.tile}: {COST}.")
    if parsed.compile:
        _compile(network, precision)
    restorer = Restorer(
        network,
        tile=parsed.tile,
        overlap=OVERLAP if overlap is None else overlap,
        precision=precision,
        self_ensemble=parsed.self_ensemble,
        strength=parsed.strength,
        say=tqdm.write,
    )
    pipeline = Pipeline(
        restorer,
        weights_time=weights.stat().st_mtime,
        overwrite=parsed.overwrite,
        truths=truths,
        max_pixels=1e6 * parsed.max_megapixels,
        quality=parsed.quality or QUALITY,
    )
    summary = pipeline.run(jobs)
    _tell(summary, parsed.output, others)
    return 1 if summary.failed else 0


def _check_writable(output: Path) -> None:
    """Find out before anything is computed whether results can be written."""
    there = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    if not there.is_file() and not os.access(there, os.W_OK):
        raise DataError(f"-o {output}: the folder {there} cannot be written to; name another one.")
    if there.is_file() and there != output:
        raise DataError(f"-o {output}: {there} is a file; name a folder.")


def _compile(network: Any, precision: Any) -> None:
    """Compile the network for images of any size, before the first one."""
    import torch

    from constyle_arch.archs.layers import compile_blocks
    from constyle_arch.inference.restoring import restore

    print("Compiling the network; this takes minutes.", flush=True)
    compile_blocks(network, dynamic=True)
    try:
        restore(network, torch.zeros(1, 3, 128, 192), precision=precision)
    except Exception as error:  # of the compiler, in many forms
        reason = str(error).strip().splitlines()[0]
        raise RunError(
            f"--compile failed ({reason}); on a CPU it needs a C++ compiler. Leave it out."
        ) from error


def _tell(summary: Any, output: str, others: str) -> None:
    from constyle_arch.reporting.scores import means_of, text_table

    if summary.scores:
        means = means_of(summary.scores)
        numbers = {column: float(mean) for column, mean in means.items()}
        print(text_table([*summary.scores, {"image": "mean", **numbers}], ["psnr", "ssim"]))
        for column, mean in means.items():
            if mean.remark():
                print(f"{column}: {mean.remark()}.")
    print(f"Restored {summary.restored}, in {output}.")
    if others:
        print(f"Not read, for their names: {others}.")
    if summary.unscored:
        names = listed([str(path) for path in summary.unscored])
        print(
            f"Not scored {len(summary.unscored)} without a clean image of their name; --lq-name "
            f"and --gt-name say how names differ: {names}"
        )
    if summary.skipped:
        print(
            f"Skipped {summary.skipped} whose names {output} has already; --overwrite restores "
            "them again and replaces those files.\n"
            "  If they are not results of this command, choose another folder."
        )
    if summary.older:
        print(f"  {len(summary.older)} of them are older than their photograph or the weights.")
    if summary.failed:
        print(f"Failed {len(summary.failed)}:")
        for name, reason in summary.failed.items():
            print(f"  {name}: {reason}")
