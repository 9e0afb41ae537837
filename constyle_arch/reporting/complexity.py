"""How large a network is and how much it computes."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any
from weakref import finalize

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from constyle_arch.archs.layers import channels_of
from constyle_arch.reporting import SIDE


def count_parameters(network: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_gmacs(network: nn.Module, side: int = SIDE) -> float | None:
    """Multiply-accumulates in 10⁹, of convolutions and matrix products for `side`×`side` pixels.

    Nothing is computed: shapes alone pass through a copy of the network. None for a network that
    cannot run so.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        try:
            without_values(network).eval()(
                torch.empty(1, channels_of(network), side, side, device="meta")
            )
        except Exception:  # of whatever another project's network takes
            return None
    return counter.get_total_flops() / 2e9


def shapes_of(build: Callable[[], nn.Module]) -> nn.Module:
    """The network that `build` builds, on the meta device: its shapes alone."""
    try:
        with torch.device("meta"), _Unfilled():
            return build()
    except Exception:  # its constructor needs numbers, as SwinIR's and ECBSR's do
        return without_values(build())


def without_values(network: nn.Module) -> nn.Module:
    """A copy of a network on the meta device: its shapes alone. No weight is copied on the way."""
    tensors: dict[int, Any] = {}
    for parameter in network.parameters():
        empty = torch.empty_like(parameter, device="meta")
        tensors[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
    for buffer in network.buffers():
        tensors[id(buffer)] = torch.empty_like(buffer, device="meta")
    return deepcopy(network, tensors)


class _Unfilled(TorchFunctionMode):
    """Draws no random numbers; on the meta device that would import torch's compiler: 1.5 s."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Return what would be filled as it is."""
        if func in (Tensor.normal_, Tensor.uniform_, Tensor.erfinv_):
            return args[0]
        return func(*args, **(kwargs or {}))


class PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of tensors computed under it, and notes the most that live at a time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.living: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Compute, and note what the results take."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()  # views share a storage
        if key in self.living:
            return
        self.living.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self.living.discard(key)
        self.now -= size
