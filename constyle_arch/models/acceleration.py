"""How a training computes: precision, layout, compilation, checkpointing."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from constyle_arch.archs.layers import Stage, compile_blocks
from constyle_arch.options.schema import Train

PRECISIONS = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Acceleration:
    """The options of `schema.Train` that change how a step is computed, not what it computes.

    Weights, codes, losses, EMA and optimizer stay in float32 whatever `amp` says; `fp16` scales the
    loss.
    """

    amp: str = "off"
    channels_last: bool | None = None
    compile: bool = False
    checkpointing: bool = False
    accumulate: int = 1

    @classmethod
    def of(cls, train: Train) -> "Acceleration":
        """What the section `train` asks for."""
        return cls(**{field.name: getattr(train, field.name) for field in fields(cls)})

    def __str__(self) -> str:
        """For the log."""
        parts = [
            f"precision {'float32' if self.amp == 'off' else self.amp}",
            {None: "layout as built", True: "channels-last", False: "channels first"}[
                self.channels_last
            ],
            "compiled" if self.compile else "not compiled",
            *(["blocks recomputed in the backward pass"] if self.checkpointing else []),
            *([f"batches in {self.accumulate} parts"] if self.accumulate > 1 else []),
        ]
        return ", ".join(parts)

    def prepare(self, network: nn.Module) -> None:
        """Set a network up as the options say, in place; its weights stay what they are."""
        if self.channels_last is not None:
            layout = torch.channels_last if self.channels_last else torch.contiguous_format
            # torch's stubs know it positional only
            network.to(memory_format=layout)  # type: ignore[call-overload]
        for module in network.modules():
            if isinstance(module, Stage):
                module.checkpointing = self.checkpointing
        if self.compile:
            # crops are of one size; images to validate on, of any, are left to eager
            compile_blocks(network, dynamic=False)

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """What the network is called in."""
        precision = PRECISIONS[self.amp]
        return torch.autocast(device.type, dtype=precision, enabled=precision is not None)

    def loss_scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """Keeps small gradients from vanishing in fp16; with other precisions it does nothing."""
        return torch.amp.GradScaler(device.type, enabled=self.amp == "fp16")
