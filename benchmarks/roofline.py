"""Where the time of a pass goes, and where it need not: `python -m benchmarks.roofline`.

Every operator that PyTorch calls is timed. Its least time on this machine is what its
floating-point operations take at the rate of a large matrix product, or what the bytes that it
reads and writes take at the rate of a large copy, whichever is longer. What it takes beyond that is
the operator's loss.
"""

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.measuring import (
    GUIDED,
    Subject,
    Variant,
    copy_rate,
    machine,
    matrix_rate,
    parser_for,
    write_part,
)
from constyle_arch.allocator import keep_freed_memory

NETWORKS = (*GUIDED, *GUIDED.values())
LOSSES = 3
"""How many operators are listed for each pass."""
COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
"""Of operators that are made of others."""
MOVES_NOTHING = (
    *("empty", "empty_like", "empty_strided"),
    *("new_empty", "new_empty_strided", "_unsafe_view"),
)


@dataclass
class Spent:
    """What calls of an operator took and moved; `least` is what the machine's rates allow."""

    calls: int = 0
    seconds: float = 0.0
    flop: float = 0.0
    bytes: float = 0.0
    least: float = 0.0


@dataclass(eq=False)
class Ledger(TorchDispatchMode):
    """Books what operators take, by their names.

    Args:
        flop_rates: FLOP/s of matrix products, by type.
        byte_rate: of copying, in bytes read and written a second.
    """

    flop_rates: dict[torch.dtype, float] = field(default_factory=dict)
    byte_rate: float = float("inf")
    spent: dict[str, Spent] = field(default_factory=lambda: defaultdict(Spent))

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call an operator and book it; one that is made of others, in inference mode, by those."""
        # func.decompose() would compute images' resizing by the compiler's indexing instead
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), COMPOSITE.name):
            with self:
                return func._op_dk(COMPOSITE, *args, **(kwargs or {}))
        start = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        seconds = time.perf_counter() - start
        if func.is_view or func._opname in MOVES_NOTHING:
            return result
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        moved = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        flop = flop_of(func, args, kwargs or {}, result)
        rate = self.flop_rates.get(tensors[0].dtype, float("inf")) if tensors else float("inf")
        entry = self.spent[name_of(func, args)]
        entry.calls += 1
        entry.seconds += seconds
        entry.flop += flop
        entry.bytes += moved
        entry.least += max(flop / rate, moved / self.byte_rate)
        return result

    def total(self) -> Spent:
        """Of all operators."""
        entries = self.spent.values()
        return Spent(
            *(sum(getattr(entry, name) for entry in entries) for name in Spent.__dataclass_fields__)
        )


def flop_of(func: Any, args: Any, kwargs: Any, result: Any) -> int:
    """Floating-point operations of a convolution or matrix product; 0 of all else."""
    if func._opname == "convolution_backward":  # the registry's formula does not know groups
        gradient, image, weight, *_, transposed, _, _, wanted = args
        pixels_and_channels = image if transposed else gradient
        return 2 * pixels_and_channels.numel() * weight[0].numel() * sum(wanted[:2])
    count = flop_registry.get(func._overloadpacket)
    return int(count(*args, **kwargs, out_val=result)) if count else 0


def name_of(func: Any, args: Any) -> str:
    """An operator's name; for convolutions with what kind it is."""
    name = str(func._opname)
    if "convolution" not in name:
        return name
    weight = args[2 if "backward" in name else 1]
    kind = "depthwise " if weight.shape[1] == 1 and weight.shape[0] > 1 else ""
    return f"{name}, {kind}{weight.shape[2]}×{weight.shape[3]}"


def traffic(network: Any, batch: int, side: int) -> int:
    """Bytes that the operators of a forward pass read and write, one by one, by their shapes."""
    network, lq = network.to("meta").eval(), torch.empty(batch, 3, side, side, device="meta")
    with torch.no_grad(), Ledger() as ledger:
        network(lq)
    return int(ledger.total().bytes)


def measure(
    subject: Subject, what: str, rounds: int, flop_rates: dict[torch.dtype, float], byte_rate: float
) -> Ledger:
    """What the operators of a pass take: of `rounds` passes that of the median time."""
    subject.seconds(what)
    ledgers = []
    for _ in range(rounds):
        with Ledger(flop_rates, byte_rate) as ledger:
            subject.seconds(what)
        ledgers.append(ledger)
    return sorted(ledgers, key=lambda ledger: ledger.total().seconds)[rounds // 2]


def row(network: str, what: str, precision: str, ledger: Ledger) -> str:
    """A row of the table."""
    total = ledger.total()
    losses = sorted(ledger.spent.items(), key=lambda item: item[1].least - item[1].seconds)[:LOSSES]
    listed = "; ".join(
        f"{name} {entry.seconds - entry.least:.2f} s (of {entry.seconds:.2f}, {entry.calls} calls)"
        for name, entry in losses
    )
    return (
        f"| {network} | {what} | {precision} | {total.flop / 1e9:.0f} | {total.bytes / 1e9:.1f} | "
        f"{total.least:.2f} | {total.seconds:.2f} | {total.least / total.seconds:.0%} | {listed} |"
    )


def main() -> None:
    """Measure, and replace this benchmark's part of RESULTS.md."""
    parser = parser_for(__doc__)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    keep_freed_memory()
    rates = {dtype: 1e12 * matrix_rate("cpu", dtype) for dtype in (torch.float32, torch.bfloat16)}
    byte_rate = 1e9 * copy_rate("cpu")
    table = []
    for network in arguments.networks:
        for precision in ("float32", "bf16"):
            amp = "off" if precision == "float32" else precision
            variant = Variant("", network, amp=amp)
            subject = Subject(variant, arguments.batch, arguments.side, 1024, "cpu")
            for what in ("forward", "step"):
                ledger = measure(subject, what, arguments.rounds, rates, byte_rate)
                table.append(row(network, what, precision, ledger))
                print(table[-1], flush=True)
    lines = [
        f"{machine()}; batches of {arguments.batch}×{arguments.side}×{arguments.side}, the median "
        f"of {arguments.rounds} passes. Large matrix products reach "
        f"{rates[torch.float32] / 1e12:.2f} TFLOP/s in float32 and "
        f"{rates[torch.bfloat16] / 1e12:.2f} in bf16, large copies {byte_rate / 1e9:.0f} GB/s, "
        "read and written. At least: what operators that run one by one take at those rates, the "
        "longer of both for each. Tensors that a cache holds may beat it.",
        "",
        "| network | pass | precision | GFLOP | GB | at least, s | measured, s | | largest losses "
        "|",
        "|---|---|---|---:|---:|---:|---:|---:|---|",
        *table,
    ]
    write_part(arguments.results, "roofline", lines)


if __name__ == "__main__":
    main()
