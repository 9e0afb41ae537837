"""Several data sets to train one network on at a time."""

import math
import random
from typing import Any

from basicsr.data import build_dataset
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from constyle_arch.errors import DataError, UserError
from constyle_arch.options.data_sets import Crops, MixedImages


@DATASET_REGISTRY.register()
class MixedDataset(Dataset[dict[str, Tensor | str]]):
    """Samples of several data sets, drawn at random: one network for noise, rain and haze.

    Which set a sample is from, and which of its images, follow from the sample's seed alone, so
    that a resumed run sees what the interrupted one would have. An item is that of its set, with
    the set's name under `set` and its number, from 0, under `class`. With `balanced`,
    `batch_of_sets` has those of each batch, in turn.

    Its options are `MixedImages` and `Crops` of `options.data_sets`.

    Raises:
        DataError: there are no sets, `weights` do not fit them or the batch, a set's option does
            not fit, or the data set is not to train on.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        options = MixedImages.read(opt)
        if opt["phase"] != "train":
            raise DataError(
                "A MixedDataset is to train on; to measure, list its sets apart: val_1, val_2 and "
                "so on."
            )
        sets = options.sets
        if not sets or not all("type" in one for one in sets):
            raise DataError(
                f"sets is {sets!r}; it must list options of data sets, each with a type."
            )
        self.weights = [1.0] * len(sets) if options.weights is None else options.weights
        if len(self.weights) != len(sets):
            raise DataError(
                f"weights is {opt['weights']!r}; it must list a number above 0 for each of the "
                f"{len(sets)} sets."
            )
        self.batch_of_sets = self._balanced(opt["batch_size_per_gpu"]) if options.balanced else []
        shared = {key: opt[key] for key in ("phase", "scale", *Crops.model_fields) if key in opt}
        numbered = enumerate(sets, start=1)
        self.names = [str(one.get("name", f"set {number}")) for number, one in numbered]
        self.sets = []
        for name, one in zip(self.names, sets, strict=True):
            try:
                self.sets.append(build_dataset({**one, **shared, "name": name}))
            except (UserError, KeyError) as error:
                raise DataError(f"sets, {name}: {error}") from error

    def __len__(self) -> int:
        return sum(map(len, self.sets))

    def _balanced(self, batch_size: int) -> list[int]:
        """The set of each sample of a batch, every set as evenly spread as can be."""
        shares = [batch_size * weight / sum(self.weights) for weight in self.weights]
        if not all(math.isclose(share, round(share)) for share in shares):
            raise DataError(
                f"balanced: with weights {self.weights} and batch_size_per_gpu {batch_size} a "
                f"batch would hold {', '.join(f'{share:.4g}' for share in shares)} samples of the "
                "sets; change them until all are whole."
            )
        places = []
        for number, share in enumerate(shares):
            places += [((k + 0.5) / share, number) for k in range(round(share))]
        return [number for _, number in sorted(places)]

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        """A sample of a set drawn by weight; with `balanced`, of the set number `index`."""
        number = index % len(self.sets)
        if not self.batch_of_sets:
            [number] = random.choices(range(len(self.sets)), self.weights)
        dataset = self.sets[number]
        sample = dataset[random.randrange(len(dataset))]
        return {"class": number, **sample, "set": self.names[number]}
