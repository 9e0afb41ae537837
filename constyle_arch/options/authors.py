"""Conversion of option files of the authors' programs: IRConStyle's, Restormer's, NAFNet's.

A rule says what becomes of a key; what no rule and no description in `schema` knows is left out,
and named. Keys marked `BY_ANALOGY` stood in no description of IRConStyle's program that was at
hand; they are called as `right_blk_num`, which did, or as MoCo's arguments.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from constyle_arch.errors import OptionsError
from constyle_arch.options import data_sets, schema
from constyle_arch.options.kinds import Section, section_in

Options = dict[str, Any]
Path = tuple[str, ...]

MODELS = {
    "ConStyle": "ConStyleModel",
    "ImageCleanModel": "RestorationModel",
    "ImageRestorationModel": "RestorationModel",
}
"""Models of the authors' programs; the first is IRConStyle's, then come Restormer's and
NAFNet's."""

DATA_SETS = {
    "Dataset_Paired": "PairedRestorationDataset",
    "Dataset_PairedImage": "PairedRestorationDataset",
    "PairedImageSRLRDataset": "PairedRestorationDataset",
    "Dataset_GaussianDenoising": "DegradedImageDataset",
}


@dataclass(frozen=True)
class Rule:
    """What becomes of a key.

    Attributes:
        why: said in the file, or, where the key is left out, in the list of those.
        place: the key here, from the top; nothing where it is left out. A path of one key stays in
            its section.
        value: the value here, of the value there.
    """

    why: str
    place: Path = ()
    value: Callable[[Any], Any] = lambda value: value


BY_ANALOGY = " (by analogy: compare with the program)"
"""Said of keys whose meaning is inferred from their names."""

GUIDED = {
    "left_blk_num": Rule(f"left_blk_num{BY_ANALOGY}", ("num_blocks_down",)),
    "bottom_blk_num": Rule(f"bottom_blk_num{BY_ANALOGY}", ("num_blocks_bottleneck",)),
    "right_blk_num": Rule(
        "right_blk_num, which begins at full resolution", ("num_blocks_up",), lambda up: up[::-1]
    ),
    "base_channel": Rule(f"base_channel{BY_ANALOGY}", ("dim",)),
    "Train": Rule("the network is the same in training and in a test"),
}
"""Of networks that ConStyle guides."""

RULES: dict[str, dict[str, Rule]] = {
    "network_g": {
        "LayerNorm_type": Rule("LayerNorm_type", ("layer_norm_type",)),
        "K": Rule("K", ("train", "contrast", "queue_size")),
        "m": Rule(f"m{BY_ANALOGY}", ("train", "contrast", "momentum")),
        "T": Rule(f"T{BY_ANALOGY}", ("train", "contrastive_opt", "temperature")),
    },
    "datasets": {
        "mean": Rule("images stay in [0, 1]"),
        "std": Rule("images stay in [0, 1]"),
        "in_ch": Rule("in_ch", ("color",), lambda channels: "gray" if channels == 1 else None),
    },
    "train": {
        "use_grad_clip": Rule(
            "use_grad_clip", ("grad_clip_norm",), lambda clips: 0.01 if clips else None
        ),
    },
    "val": {
        "window_size": Rule("networks pad to what they need, and crop before anything is measured"),
        "rgb2bgr": Rule("images are restored as RGB and written as such"),
        "use_image": Rule("scores are always those of images of 8 bits, as they are written"),
        "max_minibatch": Rule("val.tile is for images that memory does not hold"),
        "grids": Rule("val.tile restores in tiles"),
    },
}
"""What becomes of keys, by their section."""

PUBLISHED = {
    "contrastive_opt": {"type": "InfoNCELoss", "temperature": 0.07, "loss_weight": 1},
    "content_opt": {"type": "ContentLoss", "loss_weight": 1},
    "style_opt": {"type": "StyleLoss", "loss_weight": 1},
}
"""The losses that IRConStyle's program has in its code."""

ITERATIONS = {
    "ConStyle_iter": Rule(
        "ConStyle_iter; afterwards everything of ConStyle rests", ("train", "constyle_iter")
    ),
}


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

    def put(self, path: Path, value: Any, comment: str) -> None:
        """Set an option, creating its sections, and note where it is from."""
        section = self.options
        for key in path[:-1]:
            section = section.setdefault(key, {})
        section[path[-1]] = value
        self.comments[path] = comment

    def text(self, *header: str) -> str:
        """The file, with comments."""
        lines = [f"# {line}".rstrip() for line in header]
        if self.left_out:
            lines += [
                "#",
                "# Left out:",
                *(f"#   {key}: {why}" for key, why in self.left_out.items()),
            ]
        return "\n".join([*lines, "", *self._lines(self.options, ())]) + "\n"

    def _lines(self, section: Options, above: Path) -> Iterator[str]:
        for key, value in section.items():
            path = (*above, str(key))
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
    from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY

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
            _convert_data_set(made, str(phase), section)
    _convert_network(made)
    for section in ("train", "val"):
        _apply(made, (section,), made.options.get(section) or {}, RULES[section])
    if made.options["model_type"] == "ConStyleModel" and made.options.get("train"):
        _add_what_is_code_there(made)
    _leave_out_unknown(made)
    return made


def _convert_top(made: Conversion) -> None:
    options = made.options
    there = options.get("model_type")
    if there in MODELS:
        made.put(("model_type",), MODELS[there], there)
    gpus = options.get("num_gpu")
    if isinstance(gpus, int) and gpus > 0:
        start = (
            f"; start {gpus} by torchrun --nproc-per-node {gpus} -m constyle_arch train"
            if gpus > 1
            else ""
        )
        made.put(("num_gpu",), "auto", f"{gpus}: the GPU of each process{start}")
    _apply(made, (), options, ITERATIONS)
    for section in ("train", "network_g"):
        _apply(made, (section,), options.get(section) or {}, ITERATIONS)


def _convert_data_set(made: Conversion, phase: str, section: Options) -> None:
    where, there = ("datasets", phase), section.get("type")
    if there in DATA_SETS:
        made.put((*where, "type"), DATA_SETS[there], str(there))
    if DATA_SETS.get(str(there)) == "DegradedImageDataset":
        _convert_noise(made, where, section)
    if "geometric_augs" in section:
        augments = section.pop("geometric_augs")
        for key in ("use_hflip", "use_rot"):
            made.put((*where, key), augments, "geometric_augs")
    _apply(made, where, section, RULES["datasets"])


def _convert_noise(made: Conversion, where: Path, section: Options) -> None:
    """`sigma_type` and `sigma_range`, or `sigma_test`, as noise that is added to clean images."""
    kind, sigma, tested = (
        section.pop(key, None) for key in ("sigma_type", "sigma_range", "sigma_test")
    )
    if sigma is None:
        sigma = tested
    elif kind == "choice":
        sigma = {"choice": sigma}
    said = "sigma_test" if tested is not None else f"sigma_type {kind}; in 1/255"
    made.put((*where, "degradations"), [{"type": "noise", "sigma": sigma}], said)
    for key in ("dataroot_lq", "filename_tmpl", "io_backend", "use_shuffle"):
        if key in section:
            section.pop(key)
            made.left_out[".".join((*where, key))] = (
                "clean images are read by their paths, and degraded"
            )


def _convert_network(made: Conversion) -> None:
    from basicsr.utils.registry import ARCH_REGISTRY

    from constyle_arch.archs.general_restoration_arch import GuidedNetwork

    section = made.options.get("network_g") or {}
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
    network = ARCH_REGISTRY.get(name)
    guided = isinstance(network, type) and issubclass(network, GuidedNetwork)
    _apply(made, ("network_g",), section, RULES["network_g"] | (GUIDED if guided else {}))
    known = inspect.signature(network).parameters
    if any(one.kind is one.VAR_KEYWORD for one in known.values()):
        return
    for key in [key for key in section if key != "type" and key not in known]:
        value = section.pop(key)
        images = key in ("inp_channels", "out_channels") and value == 3
        made.left_out[f"network_g.{key}"] = (
            "images have 3 channels" if images else f"{name} has no such option"
        )
    if guided:
        made.put(
            ("network_g", "encoder_initialization"),
            "published",
            "as there; he, the default here, trains better",
        )


def _add_what_is_code_there(made: Conversion) -> None:
    """The contrast and its losses, which IRConStyle's program has in its code."""
    train_opt = made.options["train"]
    for key, loss_opt in PUBLISHED.items():
        train_opt[key] = loss_opt | train_opt.get(key, {})
        made.comments.setdefault(("train", key), "in the code there")
    contrast = {"queue_size": 65760, "momentum": 0.999} | train_opt.get("contrast", {})
    train_opt["contrast"] = contrast
    made.put(("train", "contrast", "normalize"), False, "as there; see docs/training.md")


def _apply(made: Conversion, where: Path, section: Options, rules: Mapping[str, Rule]) -> None:
    """Follow the rules of a section."""
    for key, rule in rules.items():
        if key not in section:
            continue
        value = section.pop(key)
        place = rule.place if len(rule.place) > 1 else (*where, *rule.place)
        if not rule.place:
            made.left_out[".".join((*where, key))] = rule.why
        elif place[0] == "train" and "train" not in made.options:
            made.left_out[".".join((*where, key))] = "of a training; this is the file of a test"
        elif rule.value(value) is not None:
            made.put(place, rule.value(value), rule.why)


def _leave_out_unknown(made: Conversion) -> None:
    """Take out what no section of this package describes."""
    options = made.options
    run = schema.TrainingRun if "train" in options else schema.TestRun
    _leave_out(made, run, options, ())
    for phase, section in (options.get("datasets") or {}).items():
        if isinstance(section, dict):
            model = data_sets.data_set(str(section.get("type")), trains=phase == "train")
            _leave_out(made, model, section, ("datasets", str(phase)))


def _leave_out(made: Conversion, model: type[Section], section: Options, where: Path) -> None:
    named = issubclass(model, schema.Named)  # its constructor's options are its own
    for key in list(section):
        described = model.model_fields.get(key)
        loss = issubclass(model, schema.Train) and str(key).endswith("_opt")
        if described is None and not named and not loss:
            section.pop(key)
            made.left_out[".".join((*where, str(key)))] = (
                "no option here; docs/reference/keys.md lists the options"
            )
        elif (
            described
            and (inner := section_in(described.annotation))
            and isinstance(section[key], dict)
        ):
            _leave_out(made, inner, section[key], (*where, key))


def _plain(name: str) -> str:
    """A name without what programs write differently: `ConStyle_Restormer` is ConStyleRestormer."""
    return "".join(filter(str.isalnum, name)).lower()


def _yaml(value: Any) -> str:
    import yaml

    if value is None:
        return "~"
    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=float("inf"), sort_keys=False
    )
    return str(text).removesuffix("...\n").strip()
