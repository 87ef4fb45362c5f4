"""Find and load the base pipeline that a config names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainer.contract.errors import ModelError

if TYPE_CHECKING:
    import torch

    from trainer.backbones.flux_fill import FluxFillBackbone

SPATIALWORLD = "spatialworld"


def load_backbone(
    base: str, *, revision: str | None = None, dtype: str = "auto", device: str | None = None
) -> FluxFillBackbone:
    """Load `spatialworld`, a local folder or a hub id through the ordinary `from_pretrained`.

    `device` None takes the GPU if there is one; `dtype` is auto, float32 or bfloat16. Raises ModelError with the way
    out.
    """
    import torch
    from diffusers import FluxFillPipeline
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    from trainer.backbones.flux_fill import FluxFillBackbone

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    path = resolve_base(base)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    compute = compute_type(dtype, place)
    stored = torch.float32 if place.type == "cpu" else compute
    try:
        pipeline = FluxFillPipeline.from_pretrained(path, revision=revision, dtype=stored)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError("model_unloadable", f"The base model {base!r} cannot be loaded: {_first(error)}") from error
    return FluxFillBackbone(pipeline, place, compute)


def compute_type(dtype: str, device: torch.device) -> torch.dtype:
    """What `auto`, `float32` or `bfloat16` means on a device."""
    import torch

    if dtype != "auto":
        return torch.bfloat16 if dtype == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    abilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return torch.bfloat16 if abilities.get("avx512_bf16") or abilities.get("amx_bf16") else torch.float32


def resolve_base(base: str) -> str:
    """The folder or hub id that a base's name means. Raises ModelError for a folder that is none."""
    if base == SPATIALWORLD:
        from trainer.spatialworld import pipeline_path

        try:
            return str(pipeline_path())
        except FileNotFoundError as error:
            raise ModelError("model_missing", str(error)) from error
    if base.startswith((".", "/", "~")) and not (Path(base).expanduser() / "model_index.json").is_file():
        raise ModelError("model_missing", f"The folder {base} holds no model_index.json, so it is no pipeline.")
    return str(Path(base).expanduser()) if Path(base).expanduser().is_dir() else base


def _first(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
