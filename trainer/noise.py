"""Random numbers by counter: every draw is a function of (seed, purpose, item, draw) and of nothing else.

The order of calls, the number of processes and where a run was stopped do not matter, which gives exact resume,
reference caches that fit and an order independent of the rank.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

NOISE_SCHEME = "philox by blake2b of seed, purpose, item, draw; 1"
"""Names how noise is drawn, for what is cached with it. It changes when the same arguments would give other noise."""


def generator(seed: int, purpose: str, item: str, draw: int) -> np.random.Generator:
    """A Philox generator keyed by its four arguments."""
    digest = hashlib.blake2b(f"{seed}\0{purpose}\0{item}\0{draw}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype=np.uint64)))


def gaussian(shape: tuple[int, ...], seed: int, item: str, draw: int, purpose: str = "noise") -> Tensor:
    """Standard normal noise in float32 on the CPU, whatever the compute dtype."""
    return torch.from_numpy(generator(seed, purpose, item, draw).standard_normal(shape, dtype=np.float32))


def sampling_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """The noise an image is sampled from, by the image's seed alone: what tracked noise draws again."""
    return gaussian(shape, seed, "image", 0, "sampling noise")


def timestep(t_min: float, t_max: float, seed: int, item: str, draw: int, purpose: str = "timestep") -> float:
    """A timestep, uniform in [t_min, t_max)."""
    return float(t_min + (t_max - t_min) * generator(seed, purpose, item, draw).random())


def permutation(length: int, seed: int, purpose: str, draw: int) -> np.ndarray:
    """A permutation of range(length)."""
    return generator(seed, purpose, "", draw).permutation(length)
