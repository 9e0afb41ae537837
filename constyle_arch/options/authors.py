"""Conversion of option files of the authors' programs: IRConStyle's, Restormer's, NAFNet's.

The tables say what becomes of a key; what neither they nor `schema` know is left out, and named.
"""

import inspect
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import yaml
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY

from constyle_arch.errors import OptionsError
from constyle_arch.options import data_sets, schema
from constyle_arch.options.kinds import Section, section_in
from constyle_arch.options.lookup import Options

Path = tuple[Any, ...]

MODELS = {
    "ConStyle": "ConStyleModel",  # IRConStyle's
    "ImageCleanModel": "RestorationModel",  # Restormer's
    "ImageRestorationModel": "RestorationModel",  # NAFNet's
}

DATA_SETS = {
    "Dataset_Paired": "PairedRestorationDataset",
    "Dataset_PairedImage": "PairedRestorationDataset",
    "PairedImageSRLRDataset": "PairedRestorationDataset",
    "Dataset_GaussianDenoising": "DegradedImageDataset",
}

MOVED: dict[str, dict[str, str]] = {
    "": {"ConStyle_iter": "train.constyle_iter"},
    "datasets": {"in_ch": "color"},
    "network_g": {
        "left_blk_num": "num_blocks_down",
        "bottom_blk_num": "num_blocks_bottleneck",
        "right_blk_num": "num_blocks_up",
        "base_channel": "dim",
        "LayerNorm_type": "layer_norm_type",
        "K": "train.contrast.queue_size",
        "m": "train.contrast.momentum",
        "T": "train.contrastive_opt.temperature",
        "ConStyle_iter": "train.constyle_iter",
    },
    "train": {"use_grad_clip": "grad_clip_norm", "ConStyle_iter": "train.constyle_iter"},
}
"""Options by section, with their names here: in the same section, or from the top."""

VALUES: dict[str, Callable[[Any], Any]] = {
    "right_blk_num": lambda blocks: blocks[::-1],
    "in_ch": lambda channels: "gray" if channels == 1 else None,
    "use_grad_clip": lambda clips: 0.01 if clips else None,
}
"""Their values here, of the values there; None is left out."""

NOTES = {
    "right_blk_num": ", which begins at full resolution",
    "ConStyle_iter": "; afterwards everything of ConStyle rests",
    # these stood in no description of IRConStyle's program that was at hand; they are called as
    # `right_blk_num`, which did, or as MoCo's arguments
    **dict.fromkeys(
        ("left_blk_num", "bottom_blk_num", "base_channel", "m", "T"),
        " (by analogy: compare with the program)",
    ),
}

NOT_NEEDED: dict[str, dict[str, str]] = {
    "datasets": dict.fromkeys(("mean", "std"), "images stay in [0, 1]"),
    "network_g": {"Train": "the network is the same in training and in a test"},
    "val": {
        "window_size": "networks pad to what they need, and crop before anything is measured",
        "rgb2bgr": "images are restored as RGB and written as such",
        "use_image": "scores are always those of images of 8 bits, as they are written",
        "max_minibatch": "val.tile is for images that memory does not hold",
        "grids": "val.tile restores in tiles",
    },
}

PUBLISHED = {
    "contrastive_opt": {"type": "InfoNCELoss", "temperature": 0.07, "loss_weight": 1},
    "content_opt": {"type": "ContentLoss", "loss_weight": 1},
    "style_opt": {"type": "StyleLoss", "loss_weight": 1},
}
"""The losses that IRConStyle's program has in its code."""


@dataclass
class Conversion:
    """An option file of this package.

    Attributes:
        options: it.
        comments: what stands beside an option, by its path.
        left_out: keys of the other file, with why there is none here.
    """

    options: Options
    comments: dict[Path, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def section(self, path: Path) -> Options:
        """A section by its path, new where there is none."""
        section = self.options
        for key in path:
            section[key] = {} if section.get(key) is None else section[key]
            section = section[key]
        return section

    def put(self, path: Path, value: Any, comment: str) -> None:
        """Set an option, and note where it is from."""
        self.section(path[:-1])[path[-1]] = value
        self.comments[path] = comment

    def leave_out(self, path: Path, why: str) -> Any:
        """Take an option out, and note why; returns its value."""
        self.left_out[".".join(map(str, path))] = why
        return self.section(path[:-1]).pop(path[-1])

    def text(self, *header: str) -> str:
        """The file, with comments."""
        lines = [*header]
        if self.left_out:
            left_out = (f"  {key}: {why}" for key, why in self.left_out.items())
            lines += ["", "Left out:", *left_out]
        comments = (f"# {line}".rstrip() for line in lines)
        return "\n".join([*comments, "", *self._lines(self.options, ())]) + "\n"

    def _lines(self, section: Options, above: Path) -> Iterator[str]:
        for key, value in section.items():
            path = (*above, key)
            comment = f"  # {self.comments[path]}" if path in self.comments else ""
            name = "  " * len(above) + _yaml(key)
            if isinstance(value, dict) and value:
                yield from ("",) if not above else ()
                yield f"{name}:{comment}"
                yield from self._lines(value, path)
            else:
                yield f"{name}: {_yaml(value)}{comment}"


def of_the_authors(options: Options) -> str | None:
    """What marks an option file as one of the authors', such as `model_type: ConStyle`, or None.

    Names that a plugin has registered are its own.
    """
    if str(options.get("model_type")) in MODELS.keys() - dict(iter(MODEL_REGISTRY)).keys():
        return f"model_type: {options['model_type']}"
    datasets = options.get("datasets")
    for phase, section in datasets.items() if isinstance(datasets, dict) else ():
        there = section.get("type") if isinstance(section, dict) else None
        if str(there) in DATA_SETS.keys() - dict(iter(DATASET_REGISTRY)).keys():
            return f"datasets.{phase}.type: {there}"
    return None


def convert(options: Options) -> Conversion:
    """Translate an option file of the authors' programs.

    Args:
        options: as read; left as they are.

    Raises:
        OptionsError: the file is of none of these programs, or a section is none.
    """
    if of_the_authors(options) is None:
        known = ", ".join([*MODELS, *DATA_SETS])
        raise OptionsError(
            f"model_type is {options.get('model_type')!r} and no data set is one of the authors' "
            f"programs; those are {known}. BasicSR's option files need no conversion."
        )
    made = Conversion(deepcopy(options))
    for key in ("datasets", "network_g", "train", "val", "path", "logger"):
        if not isinstance(made.options.get(key, {}), dict | None):
            raise OptionsError(
                f"{key} is {made.options[key]!r}; it must be a section of keys and values."
            )
    _convert_top(made)
    for phase, section in (made.options.get("datasets") or {}).items():
        if isinstance(section, dict):
            _convert_data_set(made, ("datasets", phase), section)
    _convert_network(made)
    for key in ("train", "val"):
        if made.options.get(key):
            _follow_tables(made, (key,))
    if made.options["model_type"] == "ConStyleModel" and made.options.get("train"):
        _add_what_is_code_there(made)
    _leave_out_unknown(made, schema.TrainingRun if "train" in options else schema.TestRun, ())
    for phase, section in (made.options.get("datasets") or {}).items():
        if isinstance(section, dict):
            model = data_sets.data_set(str(section.get("type")), trains=phase == "train")
            _leave_out_unknown(made, model, ("datasets", phase))
    return made


def _convert_top(made: Conversion) -> None:
    there, gpus = made.options.get("model_type"), made.options.get("num_gpu")
    if there in MODELS:
        made.put(("model_type",), MODELS[there], there)
    if isinstance(gpus, int) and gpus > 0:
        start = f"; start {gpus} by torchrun --nproc-per-node {gpus} -m constyle_arch train"
        made.put(
            ("num_gpu",), "auto", f"{gpus}: the GPU of each process{start if gpus > 1 else ''}"
        )
    _follow_tables(made, ())


def _convert_data_set(made: Conversion, where: Path, section: Options) -> None:
    there = section.get("type")
    if there in DATA_SETS:
        made.put((*where, "type"), DATA_SETS[there], there)
    if DATA_SETS.get(str(there)) == "DegradedImageDataset":
        _convert_noise(made, where, section)
    if "geometric_augs" in section:
        augments = section.pop("geometric_augs")
        for key in ("use_hflip", "use_rot"):
            made.put((*where, key), augments, "geometric_augs")
    _follow_tables(made, where)


def _convert_noise(made: Conversion, where: Path, section: Options) -> None:
    """`sigma_type` and `sigma_range`, or `sigma_test`, as noise that is added to clean images."""
    keys = ("sigma_type", "sigma_range", "sigma_test")
    kind, sigma, tested = (section.pop(key, None) for key in keys)
    if sigma is None:
        sigma = tested
    elif kind == "choice":
        sigma = {"choice": sigma}
    said = "sigma_test" if tested is not None else f"sigma_type {kind}; in 1/255"
    made.put((*where, "degradations"), [{"type": "noise", "sigma": sigma}], said)
    for key in ("dataroot_lq", "filename_tmpl", "io_backend", "use_shuffle"):
        if key in section:
            made.leave_out((*where, key), "clean images are read by their paths, and degraded")


def _convert_network(made: Conversion) -> None:
    section = made.section(("network_g",))
    there = str(section.get("type"))
    names = {_plain(name): name for name, _ in ARCH_REGISTRY}
    if _plain(there) not in names:
        near = get_close_matches(_plain(there), names, n=3, cutoff=0)
        raise OptionsError(
            f"network_g.type is {there!r}, which is no network here; the nearest are "
            f"{', '.join(names[name] for name in near)}. Change it in the file first."
        )
    name = names[_plain(there)]
    if name != there:
        made.put(("network_g", "type"), name, there)
    _follow_tables(made, ("network_g",))
    known = inspect.signature(ARCH_REGISTRY.get(name)).parameters
    if any(one.kind is one.VAR_KEYWORD for one in known.values()):
        return
    for key in [key for key in section if key != "type" and key not in known]:
        value = made.leave_out(("network_g", key), f"{name} has no such option")
        if key in ("inp_channels", "out_channels") and value == 3:
            made.left_out[f"network_g.{key}"] = "images have 3 channels"
    if "encoder_initialization" in known:
        why = "as there; he, the default here, trains better"
        made.put(("network_g", "encoder_initialization"), "published", why)


def _add_what_is_code_there(made: Conversion) -> None:
    """The contrast and its losses, which IRConStyle's program has in its code."""
    train_opt = made.options["train"]
    for key, loss_opt in PUBLISHED.items():
        train_opt[key] = loss_opt | train_opt.get(key, {})
        made.comments.setdefault(("train", key), "in the code there")
    contrast = {"queue_size": 65760, "momentum": 0.999} | train_opt.get("contrast", {})
    train_opt["contrast"] = contrast
    made.put(("train", "contrast", "normalize"), False, "as there; see docs/training.md")


def _follow_tables(made: Conversion, where: Path) -> None:
    """Move the options of a section that have other places here, and leave out those not needed."""
    section, table = made.section(where), where[0] if where else ""
    for key, why in NOT_NEEDED.get(table, {}).items():
        if key in section:
            made.leave_out((*where, key), why)
    for key, name in MOVED.get(table, {}).items():
        if key not in section:
            continue
        place = tuple(name.split("."))
        if place[0] == "train" and "train" not in made.options:
            made.leave_out((*where, key), "of a training; this is the file of a test")
            continue
        value = VALUES.get(key, lambda value: value)(section.pop(key))
        if value is not None:
            path = place if len(place) > 1 else (*where, *place)
            made.put(path, value, f"{key}{NOTES.get(key, '')}")


def _leave_out_unknown(made: Conversion, model: type[Section], where: Path) -> None:
    """Take out what no section of this package describes."""
    named = issubclass(model, schema.Named)  # its constructor's options are its own
    for key, value in list(made.section(where).items()):
        described = model.model_fields.get(key)
        loss = issubclass(model, schema.Train) and str(key).endswith("_opt")
        inner = section_in(described.annotation) if described else None
        if described is None and not named and not loss:
            why = "no option here; docs/reference/keys.md lists the options"
            made.leave_out((*where, key), why)
        elif inner and isinstance(value, dict):
            _leave_out_unknown(made, inner, (*where, key))


def _plain(name: str) -> str:
    """A name without what programs write differently: `ConStyle_Restormer` is ConStyleRestormer."""
    return "".join(filter(str.isalnum, name)).lower()


def _yaml(value: Any) -> str:
    if value is None:
        return "~"
    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=float("inf"), sort_keys=False
    )
    return str(text).removesuffix("...\n").strip()
