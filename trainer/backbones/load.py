"""Load the base pipeline that a config names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.backbones.families import family_of, resolve_base
from trainer.contract.errors import ModelError

if TYPE_CHECKING:
    import torch

    from trainer.backbones.protocol import Backbone


def load_backbone(
    base: str,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device: str | None = None,
    encoders: bool = True,
) -> Backbone:
    """Load a base as `trainer.backbones.families` names it, through the ordinary `from_pretrained`.

    `device` None takes the GPU if there is one; `dtype` is auto, float32 or bfloat16. Without `encoders` the text
    encoders and the autoencoder stay where they are until `load_encoders`. Raises ModelError with the way out.
    """
    import torch
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    from trainer.backbones.pipeline import first_line
    from trainer.backbones.protocol import Source

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    found = resolve_base(base)
    kind = family_of(found, revision).load_class()
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    compute = compute_type(dtype, place)
    stored = torch.float32 if place.type == "cpu" else compute
    try:
        parts = {} if encoders else kind.without_encoders(found, revision)
        pipeline = kind.open(found, revision=revision, dtype=stored, **parts)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        words = first_line(error)
        raise ModelError("model_unloadable", f"The base model {base!r} cannot be loaded: {words}") from error
    backbone = kind(pipeline, place, compute)
    backbone.source = Source(found, revision, stored)
    return backbone


def compute_type(dtype: str, device: torch.device) -> torch.dtype:
    """What `auto`, `float32` or `bfloat16` means on a device."""
    import torch

    if dtype != "auto":
        return torch.bfloat16 if dtype == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    abilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return torch.bfloat16 if abilities.get("avx512_bf16") or abilities.get("amx_bf16") else torch.float32
