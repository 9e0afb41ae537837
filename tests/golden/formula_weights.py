"""Deterministic weights: a value for every tensor of a state dict, computed from its name and shape
alone.

Used to compare two implementations of one network without shipping weights: load the same formula
weights under the published names on both sides, run the same input, compare the outputs.
"""

import math
import zlib

import numpy as np


def formula_tensor(name, shape, salt=0):
    """Value of the tensor `name` of `shape` as float32 (int64 zeros for counters and pointers)."""
    shape = tuple(shape)
    if name.endswith(("queue_ptr", "num_batches_tracked")):
        return np.zeros(shape, np.int64)
    # the legacy generator is frozen for good
    rng = np.random.RandomState((zlib.crc32(name.encode()) + salt) % 2**32)
    noise = rng.standard_normal(shape).astype(np.float32)
    if len(shape) >= 2 and not name.endswith("queue"):
        fan_in = math.prod(shape[1:])
        return noise / np.float32(math.sqrt(fan_in))
    if name.endswith("queue"):
        return noise
    if name.endswith("running_var"):
        return 1 + np.float32(0.1) * np.abs(noise)
    if name.endswith(("weight", "gamma")):
        return 1 + np.float32(0.1) * noise
    return np.float32(0.1) * noise


def formula_input(shape, seed):
    """Uniform [0, 1) image batch of `shape` (N, C, H, W), float32."""
    return np.random.RandomState(seed).random_sample(shape).astype(np.float32)
