"""Load the base pipeline that a config names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.backbones.families import family_of, resolve_base
from trainer.contract.errors import ModelError

if TYPE_CHECKING:
    import torch

    from trainer.backbones.protocol import Backbone


def load_backbone(
    base: str, *, revision: str | None = None, dtype: str = "auto", device: str | None = None
) -> Backbone:
    """Load a base as `trainer.backbones.families` names it, through the ordinary `from_pretrained`.

    `device` None takes the GPU if there is one; `dtype` is auto, float32 or bfloat16. Raises ModelError with the way
    out.
    """
    import torch
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    found = resolve_base(base)
    kind = family_of(found, revision).load_class()
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    compute = compute_type(dtype, place)
    stored = torch.float32 if place.type == "cpu" else compute
    try:
        pipeline = kind.open(found, revision=revision, dtype=stored)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError("model_unloadable", f"The base model {base!r} cannot be loaded: {_first(error)}") from error
    return kind(pipeline, place, compute)


def compute_type(dtype: str, device: torch.device) -> torch.dtype:
    """What `auto`, `float32` or `bfloat16` means on a device."""
    import torch

    if dtype != "auto":
        return torch.bfloat16 if dtype == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    abilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return torch.bfloat16 if abilities.get("avx512_bf16") or abilities.get("amx_bf16") else torch.float32


def _first(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
