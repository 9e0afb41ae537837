"""Networks as the Hugging Face Hub keeps them: `config.json`, `model.safetensors` and a model card,
`README.md`.

Folders are written and read without further libraries; the Hub itself needs the extra `hub`.
huggingface_hub's `PyTorchModelHubMixin` would make that library a base of every network, and knows
neither checksum nor window of the weights; of what is here it would replace the two transfers.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import yaml
from torch import nn

import constyle_arch
from constyle_arch.archs.local_statistics import local_window
from constyle_arch.checkpoints.detection import detect_network
from constyle_arch.checkpoints.experiments import recipe_in
from constyle_arch.checkpoints.loading import load_network
from constyle_arch.checkpoints.reading import DIGEST, WINDOW, digest_of
from constyle_arch.checkpoints.trained import TRAINED, located
from constyle_arch.errors import CheckpointError, RunError
from constyle_arch.files import save_bytes_atomically
from constyle_arch.reporting.complexity import count_parameters
from constyle_arch.reporting.scores import markdown_table
from constyle_arch.training.metrics_history import MetricsHistory

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
LIBRARY = "constyle-arch"

USE = """\
```python
from constyle_arch.checkpoints.hub import from_pretrained
import constyle_arch

network = from_pretrained("{name}")
restored = constyle_arch.restore(network, photograph)  # an array (H, W, 3), RGB
```
"""


def save_pretrained(
    source: nn.Module | str | Path,
    folder: str | Path,
    *,
    name: str | None = None,
    license: str | None = None,
) -> None:
    """Write a network as a folder that `from_pretrained` reads and the Hub shows.

    Args: source: a network of this package, or what `--weights` takes: a checkpoint, the name of a
        pretrained network, or an experiment's folder, whose options and scores the card
        then tells. folder: where to write; files of the same names are replaced. name: what the
        card calls it, `USER/NAME` on the Hub; left out, the folder's name. license: of the weights,
        as the Hub abbreviates it, e.g. `apache-2.0`.

    Raises:
        CheckpointError: the weights cannot be read, or are of no network of this package.
        RunError: a file cannot be written.
    """
    from safetensors.torch import save

    network = source if isinstance(source, nn.Module) else load_network(source)
    weights = {key: tensor.cpu().contiguous() for key, tensor in network.state_dict().items()}
    architecture, options = detect_network(weights)
    config = {
        "library_name": LIBRARY,
        "library_version": constyle_arch.__version__,
        "architecture": architecture,
        "options": options,
    }
    folder = Path(folder)
    card = _front_matter(license) + _card(source, network, name or folder.name)
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt", DIGEST: digest_of(weights)}
    if window := local_window(network):
        metadata[WINDOW] = str(window)
    save_bytes_atomically(save(weights, metadata), folder / WEIGHTS)
    save_bytes_atomically(f"{json.dumps(config, indent=2)}\n".encode(), folder / CONFIG)
    save_bytes_atomically(card.encode(), folder / CARD)


def from_pretrained(source: str | Path, *, revision: str | None = None) -> nn.Module:
    """The network that `save_pretrained` wrote, in evaluation mode, on the CPU.

    Args:
        source: a folder, or a repository of the Hub, `USER/NAME`.
        revision: a branch, tag or commit of the repository.

    Raises: CheckpointError: there is no such folder or repository, or it holds no network of this
        package. RunError: the Hub is asked for and huggingface_hub is not installed.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = _downloaded(str(source), revision)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        architecture, options = str(config["architecture"]), dict(config["options"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / CONFIG} cannot be read ({error!r}); wanted what save_pretrained wrote."
        ) from error
    return load_network(folder / WEIGHTS, architecture, **options)


def push_to_hub(
    source: nn.Module | str | Path,
    name: str,
    *,
    license: str | None = None,
    private: bool | None = None,
) -> str:
    """Write a network as `save_pretrained` does and upload it, with the login of `hf auth login`.

    Args: source: see `save_pretrained`. name: of the repository, `USER/NAME`; it is made where it
        is not there. license: see `save_pretrained`. private: whether a new repository is to be
        seen by its owner alone; None as the owner's settings say.

    Returns:
        The repository's address.

    Raises:
        CheckpointError, RunError: see `save_pretrained`.
        huggingface_hub.errors.HfHubHTTPError: the Hub refuses.
    """
    hub = _huggingface_hub()
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(source, folder, name=name, license=license)
        address = hub.create_repo(name, private=private, exist_ok=True)
        hub.upload_folder(
            repo_id=name,
            folder_path=folder,
            commit_message=f"{LIBRARY} {constyle_arch.__version__}",
        )
    return str(address)


def _huggingface_hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise RunError(
            'The Hub needs huggingface_hub; install it: pip install "constyle-arch[hub]"'
        ) from error
    return huggingface_hub


def _downloaded(name: str, revision: str | None) -> Path:
    hub = _huggingface_hub()
    try:
        return Path(
            hub.snapshot_download(name, revision=revision, allow_patterns=[CONFIG, WEIGHTS])
        )
    except (
        hub.errors.HfHubHTTPError,
        hub.errors.HFValidationError,
        hub.errors.LocalEntryNotFoundError,
    ) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"{name} is neither a folder nor a repository of the Hub that can be read: {reason}"
        ) from error


def _front_matter(license: str | None) -> str:
    """What the Hub reads of a card."""
    facts: dict[str, Any] = {
        "library_name": LIBRARY,
        "pipeline_tag": "image-to-image",
        "tags": ["image-restoration", "basicsr", "irconstyle", "arxiv:2402.15784"],
    }
    if license is not None:
        facts = {"license": license, **facts}
    return f"---\n{yaml.safe_dump(facts, sort_keys=False)}---\n"


def _card(source: nn.Module | str | Path, network: nn.Module, name: str) -> str:
    if str(source) in TRAINED:
        own = located(str(source)).with_suffix(".md").read_text(encoding="utf-8")
        return own + "\n## Use\n\n" + USE.format(name=name)
    facts = [
        f"network: {type(network).__name__}, {count_parameters(network) / 1e6:.3f} M parameters"
    ]
    if window := local_window(network):
        facts.append(
            f"statistics: of windows of {window} pixels, as `model.safetensors` notes (`tlc`)"
        )
    scores = ""
    if not isinstance(source, nn.Module) and (folder := Path(source).expanduser()).is_dir():
        facts += _facts_of_training(folder)
        scores = _scores_of_training(folder)
    return (
        f"# {name.rsplit('/', 1)[-1]}\n\nRestores images; made with {LIBRARY}.\n\n"
        f"## Use\n\n{USE.format(name=name)}\n"
        "## Training\n\n" + "".join(f"- {fact}\n" for fact in facts) + scores
    )


def _facts_of_training(experiment: Path) -> list[str]:
    """What the copy of the options in an experiment's folder tells, a line each."""
    name, options = recipe_in(experiment)
    if not options:
        return []
    data = options["datasets"]["train"]
    return [
        f"recipe: `{name}`, {options['model_type']}, {options['train']['total_iter']} iterations, "
        "seed "
        f"{options.get('manual_seed', 'not set')}",
        f"data: {data.get('name', 'unnamed')}, {data['type']}, crops of "
        f"{data.get('gt_size', 'varying')} pixels",
    ]


def _scores_of_training(experiment: Path) -> str:
    """The last validation of each data set, as a section with a table; nothing where there was
    none.
    """
    last = {record["dataset"]: record for record in MetricsHistory(experiment / "models").records}
    rows = [
        [
            f"{record['dataset']}, {metric}",
            str(record["iter"]),
            "none" if value is None else f"{value:.4f}",
        ]
        for record in last.values()
        for metric, value in record["scores"].items()
    ]
    return (
        f"\n## Validation\n\n{markdown_table(['data set, metric', 'iteration', 'mean'], rows)}\n"
        if rows
        else ""
    )
