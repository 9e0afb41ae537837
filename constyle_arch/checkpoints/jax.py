"""Weights of MAXIM as Google released them: `.npz` files with Flax's names and layouts."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PREFIX = "opt/target/"
"""Begins the names of weights; the others are the optimizer's."""


def from_jax(arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, Tensor]:
    """The weights under the names of MAXIM's releases for PyTorch, in PyTorch's layouts.

    A convolution's kernel is (height, width, in, out) in JAX and (out, in, height, width) in
    PyTorch, a dense layer's (in, out) and (out, in). A transposed convolution's is (height, width,
    in, out) and (in, out, height, width), and it is applied the other way round: JAX correlates
    where PyTorch convolves.

    Raises:
        ValueError: no name begins with `opt/target/`.
    """
    weights = {
        name.removeprefix(PREFIX): arrays[name] for name in arrays if name.startswith(PREFIX)
    }
    if not weights:
        raise ValueError(
            f"it is no release of MAXIM: none of its {len(arrays)} names begins with {PREFIX}"
        )
    converted = {}
    for name, array in weights.items():
        module, kind = name.rsplit("/", 1)
        if f"{module}/scale" in weights:  # of a layer norm
            kind = {"scale": "gamma", "bias": "beta"}[kind]
        elif kind == "kernel":
            kind, array = "weight", _kernel(array, transposed=module.endswith("/ConvTranspose_0"))
        converted[f"{module}/{kind}".replace("/", ".")] = torch.from_numpy(
            np.ascontiguousarray(array)
        )
    return converted


def _kernel(array: NDArray[np.generic], transposed: bool) -> NDArray[np.generic]:
    if array.ndim == 2:
        return array.T
    return array[::-1, ::-1].transpose(2, 3, 0, 1) if transposed else array.transpose(3, 2, 0, 1)
