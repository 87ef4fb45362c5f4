"""Fingerprints of weights: what a cache was computed with."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import torch

from trainer.sharding import whole

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from torch import Tensor, nn

CHUNK = 2**22
"""Words summed at once: bounds the memory that a fingerprint takes beside the weights."""


def fingerprint(modules: Iterable[nn.Module], without: Collection[str] = ()) -> str:
    """32 hex digits over the names, types and values of all weights and buffers and the modules' configs.

    Weights whose names are in `without` do not enter.

    The values enter by two integer sums of their bits, taken on the device they lie on, so that the weights of a large
    model are read once and never copied.
    """
    digest = hashlib.blake2b(digest_size=16)
    for module in modules:
        settings = getattr(module, "config", None)
        digest.update(json.dumps(_plain(settings), sort_keys=True, default=str).encode())
        for name, value in module.state_dict().items():
            if isinstance(value, torch.Tensor) and name not in without:
                # Where an adapter lies on a layer, its own weights have another name.
                plain = name.replace(".base_layer.", ".")
                digest.update(f"{plain} {value.dtype} {tuple(value.shape)} {_sums(whole(value))}".encode())
    return digest.hexdigest()


def _plain(settings: object) -> dict[str, object]:
    values = settings.to_dict() if hasattr(settings, "to_dict") else dict(settings or {})  # type: ignore[call-overload]  # configs or dicts
    return {name: value for name, value in values.items() if not name.startswith("_")}


def _sums(value: Tensor) -> tuple[int, int]:
    """Plain and place-weighted sum, modulo 2^64, of a tensor's bits."""
    flat = value.detach().contiguous().view(-1).view(torch.uint8)
    words = flat.view(torch.int32) if flat.numel() % 4 == 0 and flat.storage_offset() % 4 == 0 else flat
    plain = weighted = 0
    for start in range(0, words.numel(), CHUNK):
        part = words[start : start + CHUNK].long()
        place = torch.arange(start + 1, start + 1 + part.numel(), device=part.device)
        plain += int(part.sum())
        weighted += int((part * place).sum())
    return plain % 2**64, weighted % 2**64
