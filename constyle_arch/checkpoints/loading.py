"""Loading a checkpoint into a network: all of it, or an error that says what does not fit."""

from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from constyle_arch.archs.local_statistics import use_local_statistics
from constyle_arch.checkpoints.detection import detect_network
from constyle_arch.checkpoints.experiments import experiment_options
from constyle_arch.checkpoints.former_names import from_former
from constyle_arch.checkpoints.published_names import LEFT_OUT, from_published, is_published
from constyle_arch.checkpoints.reading import (
    WRAPPERS,
    StateDict,
    noted_window,
    read_checkpoint,
    section_of,
    weights_in,
)
from constyle_arch.checkpoints.trained import located
from constyle_arch.checkpoints.warm_start import is_warm_start, warm_start
from constyle_arch.errors import CheckpointError, UnknownNetworkError, listed
from constyle_arch.registry import ARCH_REGISTRY, is_architecture

Window = int | Literal["auto"] | None
"""Of local statistics, in pixels; 0: the whole image; `auto`: one and a half of the crops that the
network was trained on, or what its file notes; None: what the file notes, else the whole image."""


def load_network(
    path: str | Path,
    type: str | None = None,
    *,
    key: str | None = None,
    tlc: Window = None,
    **options: Any,
) -> nn.Module:
    """The network a checkpoint holds, or a pretrained one: `load_network("denoise")`.

    Args:
        path: the name of a pretrained network (`denoise`, `derain`, `dehaze`); an experiment's
            folder, for its best network or else its last; or a `.pth` or `.safetensors` file: this
            package's, BasicSR's, or a published one (IRConStyle, Restormer, NAFNet; MAXIM, also as
            `.npz`).
        type: the architecture's name; left out, it and its options are worked out from the weights,
            or are those of the experiment that the file lies in.
        key: the section of the file to take; left out, the first of `reading.SECTIONS` that is
            there.
        tlc: the window of local statistics, see `Window` and `archs.use_local_statistics`.
        **options: of the architecture; those left out are worked out where the weights are of that
            architecture.

    Returns:
        The network, in evaluation mode, on the CPU.

    Raises:
        CheckpointError: the file cannot be read, or does not fit the network.
    """
    return read_network(path, type, key=key, tlc=tlc, **options)[0]


def read_network(
    path: str | Path,
    type: str | None = None,
    *,
    key: str | None = None,
    tlc: Window = None,
    **options: Any,
) -> tuple[nn.Module, str | None]:
    """As `load_network`, and the section of the file, None if it holds weights alone."""
    path = located(path)
    content = read_checkpoint(path)
    weights = own_names(weights_in(content, str(path), key))
    type, detected = network_of(weights, path, type)
    options = {**detected, **options}
    try:
        network: nn.Module = ARCH_REGISTRY.get(type)(**options)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{type} cannot be built with the options {options}: {error}"
        ) from error
    fill(network, weights, str(path))
    if window := window_of(path, tlc):
        use_local_statistics(network, window)
    return network.eval(), section_of(content, str(path), key)


def window_of(path: Path, tlc: Window = None) -> int | None:
    """The window, in pixels, that `tlc` means for a file; None for the whole image.

    Raises:
        CheckpointError: `auto`, and neither the file nor an experiment around it tells.
    """
    if isinstance(tlc, int):
        return tlc or None
    window = noted_window(path)
    if window is None and tlc == "auto":
        window = window_for_crops(experiment_options(path))
        if window is None:
            raise CheckpointError(
                f"{path} does not tell what crops its network was trained on; give the window in "
                "pixels instead of auto, one and a half of their side: 192 for crops of 128."
            )
    return window


def window_for_crops(options: dict[str, Any]) -> int | None:
    """One and a half of the crops that options train on, in pixels; None if unknown."""
    crop = ((options.get("datasets") or {}).get("train") or {}).get("gt_size")
    return 3 * int(crop) // 2 if crop else None


def network_of(
    weights: StateDict, path: Path, type: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Which network some weights are of, and its options, as far as they tell.

    Args:
        weights: under this project's names.
        path: of their file.
        type: the architecture's name; left out, the weights tell, or the option file of the
            experiment they lie in.

    Raises:
        UnknownNetworkError: nothing tells.
        CheckpointError: there is no such architecture, or tensors of one are missing.
    """
    if type is not None and not is_architecture(type):
        known = sorted(name for name, _ in ARCH_REGISTRY)
        raise CheckpointError(
            f"There is no architecture {type!r}; there are {listed(known, None)}."
        )
    try:
        detected, options = detect_network(weights)
    except UnknownNetworkError as error:
        options = dict(experiment_options(path).get("network_g", {}))
        detected = options.pop("type", "")
        if type is None and not is_architecture(detected):
            its = f" Its experiment's is {detected}; name the file that has it by --plugin."
            raise UnknownNetworkError(f"{path}: {error}{its if detected else ''}") from None
    except CheckpointError as error:
        if type is None:
            raise CheckpointError(f"{path}: {error}") from None
        return type, {}
    return type or detected, options if type in (None, detected) else {}


def own_names(weights: StateDict) -> StateDict:
    """`weights` under today's names, without what a network for inference does not hold."""
    if is_published(weights):
        return from_published(weights)
    return from_former(
        {name: tensor for name, tensor in weights.items() if not name.startswith(LEFT_OUT)}
    )


def fill(network: nn.Module, weights: StateDict, source: str, strict: bool = True) -> str:
    """Load `weights` into `network`.

    Args:
        network: what to fill; untouched if this fails.
        weights: under this project's names.
        source: where they are from, for the message.
        strict: every tensor must fit; otherwise those that do are loaded, from an original of the
            network's family (Restormer, NAFNet) block by block: a warm start.

    Returns:
        How much was loaded, in words.

    Raises:
        CheckpointError: the weights do not fit; the message lists up to ten names of each kind of
            difference.
    """
    if not strict and is_warm_start(network, weights):
        return warm_start(network, weights, source)
    fitting, matched = fitting_tensors(network, weights, source, strict)
    network.load_state_dict(fitting, strict=strict)
    return matched


def fitting_tensors(
    network: nn.Module, weights: StateDict, source: str, strict: bool = True
) -> tuple[StateDict, str]:
    """The weights that fit `network`, which may be on the meta device, and how many, in words.

    Nothing is loaded; for arguments and errors see `fill`.
    """
    wanted = network.state_dict()
    for wrapper in WRAPPERS:  # which `weights_in` took for one
        if all(name.startswith(wrapper) for name in wanted):
            weights = {
                name if name in wanted else wrapper + name: tensor
                for name, tensor in weights.items()
            }
    fitting: StateDict = {}
    differences: dict[str, list[str]] = {
        "missing": [name for name in wanted if name not in weights],
        "not in the network": [name for name in weights if name not in wanted],
        "of another shape": [],
        "of another kind of number": [],
    }
    for name, tensor in weights.items():
        if (its := wanted.get(name)) is None:
            continue
        if its.dim() == 0 and tensor.shape == (1,):
            # PyTorch 0.3 wrote BatchNorm's counters with an axis, and later ones read them
            tensor = tensor[0]
        if tensor.shape != its.shape:
            shapes = f"{tuple(tensor.shape)} instead of {tuple(its.shape)}"
            differences["of another shape"].append(f"{name} {shapes}")
        if not _of_one_kind(tensor, its):
            kinds = f"{_kind(tensor)} instead of {_kind(its)}"
            differences["of another kind of number"].append(f"{name} {kinds}")
        elif tensor.shape == its.shape:
            fitting[name] = tensor
    numbers = sum(tensor.numel() for tensor in wanted.values())
    share = sum(tensor.numel() for tensor in fitting.values()) / numbers
    matched = f"{len(fitting)} of its {len(wanted)} tensors match, {share:.1%} of its numbers"
    if len(fitting) == len(wanted) == len(weights) or (fitting and not strict):
        return fitting, matched
    report = "".join(
        f"\n  {len(names)} {kind}: {listed(names)}" for kind, names in differences.items() if names
    )
    advice = ""
    if is_warm_start(network, weights):
        advice = "\n  Set path.strict_load_g: false for a warm start from it."
    raise CheckpointError(
        f"{source} does not fit {type(network).__name__}: {matched}.{report}\n"
        f"  The file holds {_description(weights)}.{advice}"
    )


def _of_one_kind(one: Tensor, other: Tensor) -> bool:
    """Whether both hold whole, floating-point or complex numbers, of whatever precision."""
    both_are_real = one.is_floating_point() == other.is_floating_point()
    return both_are_real and one.is_complex() == other.is_complex()


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _description(weights: StateDict) -> str:
    try:
        name, options = detect_network(weights)
    except CheckpointError:
        return f"{len(weights)} tensors of no network of this package"
    return f"a {name} with {', '.join(f'{option} {value}' for option, value in options.items())}"
