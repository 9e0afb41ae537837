"""Models: what a training step and a validation do."""

from constyle_arch.models.constyle_model import ConStyleModel
from constyle_arch.models.prompter_model import PrompterModel
from constyle_arch.models.restoration_model import RestorationModel

__all__ = ["ConStyleModel", "PrompterModel", "RestorationModel"]
