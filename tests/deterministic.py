"""A plugin for runs that are to be equal to the last bit, on a GPU too."""

import torch

torch.use_deterministic_algorithms(True)
