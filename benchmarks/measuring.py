"""What benchmarks measure with: a network and its training step, and the machine's own rates."""

import argparse
import os
import platform
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("RESULTS.md")
GUIDED = {"ConStyleRestormer": "Restormer", "ConStyleNAFNet": "NAFNet", "ConStyleMaxim": "Maxim"}
QUEUE = 65_760


@dataclass(frozen=True)
class Variant:
    """A way of computing a network."""

    label: str
    network: str
    plain: bool = False
    """Whether it is computed by its papers' equations, NCHW."""
    tuned_memory: bool = True
    amp: str = "off"
    compile: bool = False
    channels_last: bool = True
    peer: bool = False
    """Whether it is spandrel's implementation, with the same weights."""


class Subject:
    """A network with what a training step of it needs; built inside its process."""

    def __init__(self, variant: Variant, batch: int, side: int, queue: int, device: str) -> None:
        import torch

        from constyle_arch import archs
        from constyle_arch.archs.fused import use_fused
        from constyle_arch.losses import ContentLoss, InfoNCELoss, StyleLoss
        from constyle_arch.models.acceleration import Acceleration
        from constyle_arch.models.momentum_contrast import MomentumContrast

        torch.manual_seed(0)
        self.torch, self.device = torch, torch.device(device)
        self.acceleration = Acceleration(
            amp=variant.amp,
            compile=variant.compile,
            channels_last=variant.channels_last and not variant.plain,
        )
        self.network = getattr(archs, variant.network)()
        for parameter in self.network.parameters():
            # NAFNet's blocks begin as nothing: all versions of nothing agree
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        if variant.plain:
            use_fused(self.network, False)
        if variant.peer:
            self.network = peer(self.network)
        self.acceleration.prepare(self.network)
        self.network.to(self.device)
        self.guided = variant.network in GUIDED
        if self.guided:
            self.encoder = self.network.encoder
            self.contrast = MomentumContrast(self.encoder, queue_size=queue).to(self.device)
            self.constyle_losses = (InfoNCELoss(), ContentLoss(), StyleLoss())
        fused = {} if variant.plain else {"fused": True}
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=3e-4, **fused)
        self.feed(batch, side, side)

    def feed(self, batch: int, height: int, width: int) -> None:
        """Take other images, the same ones for the same size."""
        generator = self.torch.Generator().manual_seed(1)
        self.lq, self.gt = (
            self.torch.rand(batch, 3, height, width, generator=generator).to(self.device)
            for _ in range(2)
        )

    def forward(self) -> Any:
        """Restore the batch."""
        self.network.eval()
        with self.torch.inference_mode(), self.acceleration.autocast(self.device):
            return self.network(self.lq)

    def step(self) -> None:
        """A training step as `ConStyleModel` makes it: losses, gradients, optimizer and queue."""
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        with self.acceleration.autocast(self.device):
            if self.guided:
                self.contrast.update_encoder(self.encoder)
                positive = self.contrast.positive(self.gt)
                restored, codes = self.network(self.lq, return_codes=True)
            else:
                restored = self.network(self.lq)
        loss = (restored - self.gt).abs().mean()
        if self.guided:
            contrastive, content, style = self.constyle_losses
            loss = loss + contrastive(codes.c2, positive, self.contrast.queue)
            loss = loss + content(codes.c2, positive)
            loss = loss + style(codes, self.contrast.negatives(len(positive)))
        loss.backward()
        self.optimizer.step()
        if self.guided:
            self.contrast.enqueue(codes.c2.detach())

    def seconds(self, what: str) -> float:
        """How long a forward pass or a step takes."""
        run: Callable[[], object] = getattr(self, what)
        start = time.perf_counter()
        run()
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()
        return time.perf_counter() - start

    def peak(self) -> float:
        """The most memory that was in use so far, GiB."""
        if self.device.type == "cuda":
            return self.torch.cuda.max_memory_allocated() / 2**30
        return resident_peak()


def peer(network: Any) -> Any:
    """Spandrel's implementation of a network, with its weights."""
    from spandrel import MAIN_REGISTRY, ModelLoader
    from spandrel_extra_arches import EXTRA_REGISTRY

    from constyle_arch.checkpoints.published_names import to_published

    registry = MAIN_REGISTRY.copy()
    registry.add(*EXTRA_REGISTRY, ignore_duplicates=True)
    state_dict = to_published(network.state_dict(), type(network).__name__)
    model = ModelLoader(registry=registry).load_from_state_dict(state_dict).model
    return model.requires_grad_(True)


def resident_peak() -> float:
    """The most memory that this process has held, GiB."""
    status = Path("/proc/self/status")  # getrusage begins with what the parent held
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30  # bytes on macOS


def least_seconds(run: Callable[[], object], device: str) -> float:
    """The shortest time that `run` takes: other programs only ever lengthen it."""
    import torch

    times = []
    for _ in range(20):
        start = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def copy_rate(device: str) -> float:
    """GB/s read and written by copying a tensor that no cache holds."""
    import torch

    source = torch.ones(2**27 if device == "cpu" else 2**30, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / least_seconds(lambda: target.copy_(source), device) / 1e9


def matrix_rate(device: str, dtype: Any) -> float:
    """TFLOP/s of a product of two large square matrices, by the faster of PyTorch's two ways.

    Products and convolutions are computed by different libraries on CPUs.
    """
    import torch

    side = 2048 if device == "cpu" else 8192
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    pixels, weight = a.reshape(1, 32, -1, side).permute(0, 3, 1, 2), b[:, :, None, None]
    ways = (lambda: a @ b, lambda: torch.nn.functional.conv2d(pixels, weight))
    return 2 * side**3 / min(least_seconds(way, device) for way in ways) / 1e12


def machine(device: str = "cpu") -> str:
    """What a part of RESULTS.md begins with: the card, or threads and processor, and versions."""
    import torch

    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, {versions}"
    cpus = Path("/proc/cpuinfo")  # Linux
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    processor = next(names, platform.processor())
    return f"{torch.get_num_threads()} threads of {processor}, {versions}"


def own_process(initializer: Callable[..., object], *arguments: Any) -> ProcessPoolExecutor:
    """A process of its own for what is submitted, which the initializer prepares."""
    return ProcessPoolExecutor(1, get_context("spawn"), initializer, arguments)


def prepare_process(keep_memory: bool) -> None:
    """Set up a process: its allocator and its number of threads."""
    if keep_memory:
        from constyle_arch.allocator import keep_freed_memory

        keep_freed_memory()
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))


def parser_for(benchmark: str | None) -> argparse.ArgumentParser:
    """A parser described by a module's docstring, with the file to write to."""
    parser = argparse.ArgumentParser(
        description=benchmark, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="file whose part is replaced")
    return parser


def marks_of(part: str) -> tuple[str, str]:
    """What a part of RESULTS.md begins and ends with."""
    return f"<!-- {part}: begin -->", f"<!-- {part}: end -->"


def write_part(file: Path, part: str, lines: list[str]) -> None:
    """Put lines of Markdown between the two marks of a part of a file."""
    begin, end = marks_of(part)
    before, rest = file.read_text(encoding="utf-8").split(begin)
    body = "\n".join(lines)
    file.write_text(f"{before}{begin}\n{body}\n{end}{rest.split(end)[1]}", encoding="utf-8")
