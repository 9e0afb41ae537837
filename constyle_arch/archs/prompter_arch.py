"""The prompter of ConStyle v2 (arXiv 2406.18242): ConStyle with a classifier."""

from typing import NamedTuple

from torch import Tensor, nn

from constyle_arch.archs.constyle_arch import Codes, ConStyle
from constyle_arch.archs.layers import at_least_float32, without_autocast
from constyle_arch.registry import ARCH_REGISTRY

HIDDEN_CHANNELS = 512


class Prompt(NamedTuple):
    """What the prompter makes of a batch: as `Encoding`, and scores of classes (N, classes)."""

    codes: Codes
    features: tuple[Tensor, Tensor, Tensor]
    scores: Tensor


@ARCH_REGISTRY.register()
class Prompter(ConStyle):
    """ConStyle with a classifier beside its projections (1.835 M parameters with 1000 classes).

    Trained by `PrompterModel`; a network that ConStyle guides then takes it by
    `path.pretrain_constyle`.

    Source: ConStyle v2, arXiv 2406.18242.

    Args:
        num_classes: how many classes the images have.
        initialization: see `ConStyle`.

    Raises:
        ValueError: there are fewer than two classes, or there is no such initialization.
    """

    multiple = 1
    """Any size will do."""

    def __init__(self, *, num_classes: int = 1000, initialization: str = "he") -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes is {num_classes}; it must be at least 2.")
        super().__init__(initialization=initialization)
        self.classifier = nn.Sequential(
            nn.Linear(256, HIDDEN_CHANNELS),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(HIDDEN_CHANNELS, num_classes),
        )
        self.num_classes = num_classes

    @property
    def encoder(self) -> "Prompter":
        """What is trained by contrast: all of it."""
        return self

    def forward(self, image: Tensor) -> Prompt:  # type: ignore[override]  # an Encoding with scores
        """Encode and classify `image` (N, 3, H, W) in [0, 1]; training needs an N of at least 2."""
        half, quarter, eighth, deepest = self.features(image)
        pooled = at_least_float32(deepest).mean(dim=(2, 3))
        with without_autocast(pooled.device):
            scores = self.classifier(pooled.to(next(self.classifier.parameters()).dtype))
        return Prompt(self.codes(pooled), (half, quarter, eighth), scores)
