"""Starting a ConStyle network from the weights of the original it is built of, stage by stage."""

from dataclasses import dataclass

from torch import Tensor, nn

from constyle_arch.checkpoints.detection import detect_network
from constyle_arch.checkpoints.reading import StateDict
from constyle_arch.errors import CheckpointError

FAMILIES = {"Restormer": "ConStyleRestormer", "NAFNet": "ConStyleNAFNet"}
"""An original, and the ConStyle network with its operator."""


@dataclass(frozen=True, kw_only=True)
class FilledStage:
    """What a stage of the network took from which stage of the original."""

    stage: str
    source: str
    blocks: int
    parameters: int


def is_warm_start(network: nn.Module, weights: StateDict) -> bool:
    """Whether `weights` are the original of `network`'s family."""
    try:
        return FAMILIES.get(detect_network(weights)[0]) == type(network).__name__
    except CheckpointError:
        return False


def warm_start(network: nn.Module, weights: StateDict, source: str) -> str:
    """Fill every block of `network` whose counterpart in the original has the same shape.

    Counterparts are found by role: what is at the same level on the same way. A block is filled as a whole or not at
    all, and the rest of the network stays as it is.

    Args:
        network: a ConStyle network.
        weights: of its original, under this project's names.
        source: where they are from, for the messages.

    Returns:
        A table of what was filled, from where, and the share of the network.

    Raises:
        CheckpointError: no block has the shape of its counterpart.
    """
    original, options = detect_network(weights)
    wanted = network.state_dict()
    filled: dict[str, Tensor] = {}
    stages = []
    for stage, counterpart in _counterparts(original, options).items():
        blocks = [block for block in _blocks(wanted, stage) if _fits(wanted, weights, stage, counterpart, block)]
        taken = {
            name: weights[counterpart + name.removeprefix(stage)]
            for block in blocks
            for name in wanted
            if name.startswith(f"{stage}.{block}")
        }
        if taken:
            parameters = sum(tensor.numel() for tensor in taken.values())
            stages.append(FilledStage(stage=stage, source=counterpart, blocks=len(blocks), parameters=parameters))
            filled |= taken
    if not filled:
        raise CheckpointError(
            f"{source} holds a {original} of which no block has the shape of its counterpart in this "
            f"{type(network).__name__}; a warm start needs the same width (dim) as the original's."
        )
    network.load_state_dict(filled, strict=False)
    return _table(stages, original, sum(tensor.numel() for tensor in wanted.values()))


def _counterparts(original: str, options: dict[str, list[int]]) -> dict[str, str]:
    """The stages of a ConStyle network, and what has their role in the original."""
    if original == "Restormer":
        first, last, bottleneck, refinement, coarsest = "patch_embed", "output", "latent", "refinement", 0
    else:
        first, last, bottleneck, refinement = "intro", "ending", "middle_blks", ""
        coarsest = len(options["enc_blk_nums"]) - 3  # its decoder at 1/4 of the resolution
    stages = {"preprocess": first}
    stages |= {f"down.{level}": f"encoders.{level}" for level in range(3)}
    stages |= {"bottleneck": bottleneck}
    stages |= {f"up.{position}": f"decoders.{coarsest + position}" for position in range(3)}
    return {**stages, "refine": refinement, "output": last} if refinement else {**stages, "output": last}


def _blocks(wanted: StateDict, stage: str) -> list[str]:
    """The beginnings of the names below `stage` that belong to one block: `0.`, `1.`, …, or `` for a single layer."""
    children = {name.removeprefix(f"{stage}.").split(".")[0] for name in wanted if name.startswith(f"{stage}.")}
    numbered = sorted(int(child) for child in children if child.isdigit())
    return [f"{number}." for number in numbered] if numbered else [""] * bool(children)


def _fits(wanted: StateDict, weights: StateDict, stage: str, counterpart: str, block: str) -> bool:
    names = [name for name in wanted if name.startswith(f"{stage}.{block}")]
    counterparts = [weights.get(counterpart + name.removeprefix(stage)) for name in names]
    return all(
        tensor is not None and tensor.shape == wanted[name].shape
        for name, tensor in zip(names, counterparts, strict=True)
    )


def _table(stages: list[FilledStage], original: str, total: int) -> str:
    lines = [f"warm start from {original}:", f"  {'stage':<12} {'from':<14} {'blocks':>6} {'parameters':>12}"]
    lines += [f"  {row.stage:<12} {row.source:<14} {row.blocks:>6} {row.parameters:>12,}" for row in stages]
    parameters = sum(row.parameters for row in stages)
    return "\n".join([*lines, f"  together {parameters:,} of {total:,}, {parameters / total:.1%} of the network"])
