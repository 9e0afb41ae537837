"""Starting a ConStyle network from the weights of the original it is built of, stage by stage."""

from torch import Tensor, nn

from constyle_arch.checkpoints.detection import detect_network
from constyle_arch.checkpoints.reading import StateDict
from constyle_arch.errors import CheckpointError

FAMILIES = {"Restormer": "ConStyleRestormer", "NAFNet": "ConStyleNAFNet"}
"""An original, and the ConStyle network with its operator."""


def is_warm_start(network: nn.Module, weights: StateDict) -> bool:
    """Whether `weights` are the original of `network`'s family."""
    try:
        return FAMILIES.get(detect_network(weights)[0]) == type(network).__name__
    except CheckpointError:
        return False


def warm_start(network: nn.Module, weights: StateDict, source: str) -> str:
    """Fill every block of `network` whose counterpart in the original has the same shape.

    Counterparts are found by role: what is at the same level on the same way. A block is filled as
    a whole or not at all, and the rest of the network stays as it is. `source` is where the weights
    are from, for the message.

    Returns:
        A table of what was filled, from where, and the share of the network.

    Raises:
        CheckpointError: no block has the shape of its counterpart.
    """
    original, options = detect_network(weights)
    wanted = network.state_dict()
    filled: dict[str, Tensor] = {}
    header = f"  {'stage':<12} {'from':<16} {'blocks':>6} {'parameters':>12}"
    table = [f"warm start from {original}:", header]
    for stage, counterpart in _counterparts(original, options).items():
        blocks: dict[str, dict[str, str]] = {}  # our names and theirs, by the number of the block
        for name in wanted:
            if name.startswith(f"{stage}."):
                number = name.removeprefix(f"{stage}.").split(".")[0]
                blocks.setdefault(number if number.isdigit() else "", {})[name] = (
                    counterpart + name.removeprefix(stage)
                )
        fitting = [
            block
            for block in blocks.values()
            if all(
                theirs in weights and weights[theirs].shape == wanted[ours].shape
                for ours, theirs in block.items()
            )
        ]
        taken = {ours: weights[theirs] for block in fitting for ours, theirs in block.items()}
        if taken:
            table.append(
                f"  {stage:<12} {counterpart:<16} {len(fitting):>6} {_numbers_in(taken):>12,}"
            )
            filled |= taken
    if not filled:
        raise CheckpointError(
            f"{source} holds a {original} of which no block has the shape of its counterpart in "
            f"this {type(network).__name__}; a warm start needs the same width (dim) as the "
            "original's."
        )
    network.load_state_dict(filled, strict=False)
    share, total = _numbers_in(filled), _numbers_in(wanted)
    return "\n".join(
        [*table, f"  together {share:,} of {total:,}, {share / total:.1%} of the network"]
    )


def _counterparts(original: str, options: dict[str, list[int]]) -> dict[str, str]:
    """The stages of a ConStyle network, and what has their role in the original."""
    if original == "Restormer":
        encoders = [f"encoder_level{level}" for level in (1, 2, 3)]
        decoders = [f"decoder_level{level}" for level in (3, 2, 1)]
        first, bottleneck, last = "patch_embed.proj", "latent", "output"
    else:
        coarsest = len(options["enc_blk_nums"]) - 3  # its decoder at 1/4 of the resolution
        encoders = [f"encoders.{level}" for level in range(3)]
        decoders = [f"decoders.{coarsest + position}" for position in range(3)]
        first, bottleneck, last = "intro", "middle_blks", "ending"
    stages = {"preprocess": first}
    stages |= {f"down.{level}": encoder for level, encoder in enumerate(encoders)}
    stages |= {"bottleneck": bottleneck}
    stages |= {f"up.{position}": decoder for position, decoder in enumerate(decoders)}
    return {**stages, "refine": "refinement", "output": last}


def _numbers_in(weights: StateDict) -> int:
    return sum(tensor.numel() for tensor in weights.values())
