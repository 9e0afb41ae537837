"""The page of `basicsr web`: upload a photograph, restore and download it; nothing is kept.

`Workplace` restores; `build_page` is what a browser shows of it. gradio serves the page.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from constyle_arch.archs.local_statistics import local_window, use_local_statistics
from constyle_arch.checkpoints.loading import load_network, window_of
from constyle_arch.checkpoints.trained import located
from constyle_arch.errors import OptionsError, UserError
from constyle_arch.images import MAX_PIXELS, size_of
from constyle_arch.inference.photographs.photograph import (
    FORMATS,
    Photograph,
    lost_in,
    read_photograph,
    readable,
    write_photograph,
)
from constyle_arch.inference.photographs.pipeline import check_same_size, scored
from constyle_arch.inference.photographs.restorer import Restorer
from constyle_arch.registry import require_basicsr
from constyle_arch.reporting.scores import INPUT, Row

SHOWN = 1600
"""Pixels of the longer side that the slider shows at most; the download has them all."""

SQUARES = [(f"{side} × {side} pixels", side) for side in (128, 192, 256, 384, 512, 768, 1024)]
TILES = [("automatic", 0), *SQUARES[2:]]
WINDOWS = [("automatic", -1), ("off", 0), *SQUARES[:4]]
CLEANUP_INTERVAL, LIFETIME = 60, 1800
"""Seconds between looks for old files, and after which a file is old."""
QUEUE_LENGTH = 20
"""Photographs that may wait for their turn."""

TITLE = "Restore a photograph"
INTRODUCTION = f"""\
# {TITLE}
Upload a photograph, choose a network and compare the result. Files are deleted within the hour.
"""


@dataclass(frozen=True)
class Result:
    """A restored photograph and what there is to see and say of it.

    Args:
        before: the photograph, (H, W, 3), RGB, 8 bits, reduced to `SHOWN` pixels at most.
        after: the restored one in the same form.
        file: the restored one at full size and depth.
        report: what is worth knowing, in Markdown.
    """

    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    file: Path
    report: str


@dataclass
class Workplace:
    """Restores one photograph after the other; the network last used stays in memory.

    Args:
        device: to compute on.
        max_pixels: larger photographs are refused.
    """

    device: torch.device
    max_pixels: float = MAX_PIXELS
    _loaded: tuple[tuple[Path, float], nn.Module] | None = field(default=None, init=False)

    def restore(
        self,
        photograph: Path,
        weights: str | Path,
        folder: Path,
        *,
        strength: float = 1.0,
        tile: int | None = None,
        tlc: int | None = None,
        truth: Path | None = None,
        progress: Callable[[int, int], object] = lambda done, of: None,
    ) -> Result:
        """Restore a photograph as `basicsr restore` does.

        Args:
            photograph: its file.
            weights: the name of a pretrained network, or a checkpoint.
            folder: where the restored photograph is written, as `NAME_restored`.
            strength: from 0, the photograph as it is, to 1, as the network restores it.
            tile: side of the tiles, in pixels; None as memory needs.
            tlc: the window of local statistics, in pixels; 0: the whole image; None as the
                network's file says.
            truth: the clean photograph, to score with.
            progress: called after each tile with how many are done, and of how many.

        Raises:
            UserError: a file cannot be read or is too large, the sizes differ, the checkpoint is
                not a network's, or memory does not do.
        """
        if truth is not None:
            require_basicsr("Scoring")
        if not 0 <= strength <= 1:
            raise OptionsError(f"The strength is {strength:g}; it must lie in [0, 1].")
        degraded = read_photograph(photograph, self.max_pixels)
        clean = None if truth is None else read_photograph(truth, self.max_pixels)
        if clean is not None:
            what = "Both must be of one size: the photograph"
            check_same_size(what, degraded, "the clean one", clean)
        said: list[str] = []
        restorer = Restorer(
            self._network(weights, tlc), tile, strength=strength, say=said.append, progress=progress
        )
        restored = restorer.restored(degraded)
        suffix = photograph.suffix if photograph.suffix.lower() in FORMATS else ".png"
        file = folder / f"{photograph.stem}_restored{suffix}"
        said += [f"{what}; left out." for what in restored.left_out]
        if lost := lost_in(restored, suffix):
            said.append(f"This kind of file cannot hold {' and '.join(lost)}; left out.")
        write_photograph(restored, file)
        size, bits = size_of(restored.pixels), 8 * restored.pixels.dtype.itemsize
        megabytes = file.stat().st_size / 1e6
        report = [f"{size} pixels, {bits} bits a channel, {megabytes:.1f} MB.", *said]
        if clean is not None:
            report.append(_table(scored("", degraded, restored, clean)))
        return Result(_shown(degraded), _shown(restored), file, "\n\n".join(report))

    def _network(self, weights: str | Path, tlc: int | None) -> nn.Module:
        file = located(weights)
        version = (file, file.stat().st_mtime if file.is_file() else 0.0)
        if self._loaded is None or self._loaded[0] != version:
            self._loaded = None  # two at a time need not fit
            self._loaded = version, load_network(file).to(self.device)
        network = self._loaded[1]
        if (window := window_of(file, tlc)) != local_window(network):
            use_local_statistics(network, window)
        return network


def _table(row: Row) -> str:
    """The scores of a photograph and of its restored version, in Markdown."""
    lines = ["| | PSNR | SSIM |", "|---|---:|---:|"]
    for name, prefix in (("Photograph", INPUT), ("Restored", "")):
        lines.append(f"| {name} | {row[f'{prefix}psnr']:.2f} dB | {row[f'{prefix}ssim']:.4f} |")
    return "\n".join(lines)


def _shown(photograph: Photograph) -> NDArray[np.uint8]:
    picture = photograph.picture
    scale = SHOWN / max(picture.shape[:2])
    if scale < 1:
        reduced = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        picture = reduced.astype(np.uint8)
    return np.ascontiguousarray(picture[..., ::-1])


def build_page(workplace: Workplace, networks: Mapping[str, str]) -> Any:
    """The page, a `gradio.Blocks` whose queue restores one photograph at a time.

    Args:
        workplace: what restores.
        networks: weights to choose from by what the page calls them, the first one chosen already.
    """
    import gradio as gr

    kinds = sorted(readable())

    def restore(
        photograph: str | None,
        weights: str,
        checkpoint: str | None,
        strength: float,
        tile: int,
        truth: str | None,
        tlc: int,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # so gradio hands one over
    ) -> tuple[Any, ...]:
        if photograph is None:
            raise gr.Error("There is no photograph yet; upload one first.", print_exception=False)
        progress(0.0, desc="Reading")
        with tempfile.TemporaryDirectory() as folder:
            try:
                result = workplace.restore(
                    Path(photograph),
                    checkpoint or weights,
                    Path(folder),
                    strength=strength,
                    tile=tile or None,
                    tlc=None if tlc < 0 else tlc,
                    truth=Path(truth) if truth else None,
                    progress=lambda done, of: progress((done, of), desc="Restoring", unit="tiles"),
                )
            except (UserError, OSError, RuntimeError, MemoryError, ValueError) as error:
                files = (photograph, checkpoint, truth)
                raise gr.Error(_sentence(error, files), print_exception=False) from error
            kept = gr.processing_utils.save_file_to_cache(result.file, page.GRADIO_CACHE)
        page.upload_file_set.add(kept)  # what is deleted when it is old
        download = gr.DownloadButton(f"Download {result.file.name}", value=kept, interactive=True)
        return (result.before, result.after), download, result.report

    with gr.Blocks(
        title=TITLE, analytics_enabled=False, delete_cache=(CLEANUP_INTERVAL, LIFETIME)
    ) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                photograph = gr.File(label="Photograph", file_types=kinds, height=140)
                choices = list(networks.items())
                weights = gr.Radio(choices, value=choices[0][1], label="Network")
                unchanged = "0 keeps the photograph unchanged"
                strength = gr.Slider(0, 1, value=1, step=0.05, label="Strength", info=unchanged)
                with gr.Accordion("Advanced", open=False):
                    checkpoint = gr.File(
                        label="Your own checkpoint, instead of the network above",
                        file_types=[".pth", ".safetensors"],
                        height=120,
                    )
                    memory = "Smaller tiles need less memory"
                    tile = gr.Dropdown(TILES, value=0, label="Tiles", info=memory)
                    local = "Average over windows instead of the whole image"
                    tlc = gr.Dropdown(WINDOWS, value=-1, label="Local statistics", info=local)
                    truth = gr.File(
                        label="Ground truth, to score the result", file_types=kinds, height=120
                    )
                button = gr.Button("Restore", variant="primary")
            with gr.Column(scale=2, min_width=300):
                slider = gr.ImageSlider(
                    label="Before and after",
                    interactive=False,
                    max_height=560,
                    format="png",
                    buttons=[],
                )
                download = gr.DownloadButton("Download", interactive=False)
                report = gr.Markdown()
        asked = [photograph, weights, checkpoint, strength, tile, truth, tlc]
        shown = [slider, download, report]
        button.click(restore, asked, shown, api_name="restore", concurrency_limit=1)
    return page.queue(max_size=QUEUE_LENGTH)


def _sentence(error: Exception, files: tuple[str | None, ...]) -> str:
    """What went wrong, with the files' names instead of the places where they lie for now."""
    text = str(error).strip() or type(error).__name__
    for file in filter(None, files):
        text = text.replace(file, Path(file).name)
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
