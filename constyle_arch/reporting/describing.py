"""`basicsr info`: what a checkpoint, a training state or an option file holds."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from constyle_arch.archs.general_restoration_arch import GuidedNetwork
from constyle_arch.checkpoints.detection import foreign_network
from constyle_arch.checkpoints.experiments import experiment_options
from constyle_arch.checkpoints.loading import fitting_tensors, network_of, own_names
from constyle_arch.checkpoints.published_names import NAMED_AS_RELEASED, is_published
from constyle_arch.checkpoints.reading import (
    StateDict,
    is_training_state,
    noted_window,
    read_checkpoint,
    section_of,
    weights_in,
)
from constyle_arch.errors import OptionsError, UnknownNetworkError, UserError
from constyle_arch.options.reading import Options, read_option_file
from constyle_arch.registry import ARCH_REGISTRY, is_architecture
from constyle_arch.reporting.complexity import count_gmacs, count_parameters, shapes_of
from constyle_arch.training.metrics_history import FILE, MetricsHistory

OPTION_FILES = {".yml", ".yaml"}
MEGABYTE = 10**6

Facts = dict[str, str]
"""What is known, by what it is, in the order in which it is printed."""


def describe(
    path: Path,
    side: int | None = None,
    key: str | None = None,
    names: bool = False,
    type: str | None = None,
    options: Options | None = None,
) -> str:
    """Describe a file.

    Args:
        path: a checkpoint of any origin, a training state, or an option file.
        side: of the image, in pixels, for which computations are counted; left out, they are not.
        key: the section of the checkpoint to take; left out, the one that loading takes.
        names: also list each tensor with its type and shape.
        type: the network's architecture, where the weights do not tell.
        options: of the network, likewise.

    Raises:
        UserError: the file cannot be read.
    """
    if path.suffix in OPTION_FILES:
        facts, weights = _of_options(path, side), StateDict()
    else:
        facts, weights = _of_checkpoint(path, side, key, type, options or {})
    width = max(map(len, facts))
    lines = [f"{what:<{width}}  {fact}" for what, fact in facts.items()]
    if names:
        lines += [f"{name}  {_kind(tensor)}" for name, tensor in weights.items()]
    return "\n".join(lines) + "\n"


def _of_options(path: Path, side: int | None) -> Facts:
    options = read_option_file(str(path))
    facts = {"file": f"{path}, options of a {'training' if 'train' in options else 'test'}"}
    for what, option in (("name", "name"), ("model", "model_type")):
        if option in options:
            facts[what] = str(options[option])
    network_opt = options.get("network_g")
    if not isinstance(network_opt, dict) or "type" not in network_opt:
        raise OptionsError(f"{path}: network_g.type is missing; it names the architecture.")
    hyperparameters = {name: value for name, value in network_opt.items() if name != "type"}
    name = str(network_opt["type"])
    facts |= _of_network(_built(name, hyperparameters), name, hyperparameters, side)
    train_opt = options.get("train")
    if isinstance(train_opt, dict) and "total_iter" in train_opt:
        facts["iterations"] = str(train_opt["total_iter"])
    datasets = options.get("datasets")
    for phase, dataset_opt in (datasets if isinstance(datasets, dict) else {}).items():
        if isinstance(dataset_opt, dict):
            type_ = dataset_opt.get("type", "no type")
            facts[str(phase)] = f"{dataset_opt.get('name', '')} ({type_})"
    return facts


def _of_checkpoint(
    path: Path, side: int | None, key: str | None, type: str | None, options: Options
) -> tuple[Facts, StateDict]:
    content = read_checkpoint(path)
    facts = {"file": f"{path}, {path.stat().st_size / MEGABYTE:.1f} MB"}
    if is_training_state(content):
        facts["holds"] = f"a training state: {', '.join(map(str, content))}"
        facts["iteration"] = str(content.get("iter"))
        return facts, {}
    sections = {name: section for name, section in content.items() if isinstance(section, Mapping)}
    weights = weights_in(content, str(path), key)
    taken = section_of(content, str(path), key) if len(sections) > 1 else None
    keys = [
        f"{name} ({len(section)} tensors{', described here' if name == taken else ''})"
        for name, section in sections.items()
    ]
    facts["keys"] = ", ".join(keys) or f"none, {len(weights)} tensors"
    own = own_names(weights)
    try:
        name, hyperparameters = network_of(own, path, type)
    except UnknownNetworkError:
        foreign = foreign_network(weights)
        whose = f"{foreign}, not of this package" if foreign else "no network of this package"
        facts["tensors"] = f"of {whose}"
        facts["parameters"] = _millions(sum(tensor.numel() for tensor in weights.values()))
    else:
        published = is_published(weights) or name in NAMED_AS_RELEASED
        facts["tensors"] = f"names of {'the publication' if published else 'this package'}"
        hyperparameters |= options
        network = _built(name, hyperparameters)
        fitting_tensors(network, own, str(path))  # what `restore` would refuse is refused
        facts |= _of_network(network, name, hyperparameters, side)
    if window := noted_window(path):
        statistics = f"statistics are those of windows of {window} pixels"
        facts["tlc"] = f"{statistics}, unless --tlc says otherwise"
    facts["iteration"] = _iteration(path) or "not in the file's name or its folder"
    return facts, weights


def _built(name: str, hyperparameters: Options) -> nn.Module:
    """The shapes of a network, on the meta device."""
    if not is_architecture(name):
        raise OptionsError(f"There is no architecture {name!r}; import it with --plugin FILE.py.")
    try:
        return shapes_of(lambda: ARCH_REGISTRY.get(name)(**hyperparameters))
    except (TypeError, ValueError) as error:
        raise OptionsError(
            f"{name} cannot be built with the options {hyperparameters}: {error}"
        ) from error


def _of_network(network: nn.Module, name: str, hyperparameters: Options, side: int | None) -> Facts:
    options = ", ".join(f"{option} {value}" for option, value in hyperparameters.items())
    parameters = _millions(count_parameters(network))
    if isinstance(network, GuidedNetwork):
        parameters += f", {_millions(count_parameters(network.encoder))} of them ConStyle's"
    facts = {"network": name, "options": options, "parameters": parameters}
    if side and (gmacs := count_gmacs(network, side)) is not None:
        facts["computations"] = f"{gmacs:.2f} GMACs for {side}×{side} pixels"
    return {what: fact for what, fact in facts.items() if fact}


def _iteration(path: Path) -> str:
    """The iteration a network is of, by its name or what else lies in its experiment."""
    version = path.stem.rsplit("_", 1)[-1]
    if version.isdigit():
        return str(int(version))
    try:
        options = experiment_options(path)
        if version == "latest":
            return str(int(options["train"]["total_iter"]))
        if version == "best" and (path.parent / FILE).is_file():
            metrics = options["val"]["metrics"]
            best = next(iter(MetricsHistory(path.parent).best(metrics).values()))
            return str(best[next(iter(metrics))]["iter"])
    except (UserError, KeyError, TypeError, ValueError, StopIteration):
        pass
    return ""


def _millions(number: int) -> str:
    return f"{number / 1e6:.3f} M"


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
