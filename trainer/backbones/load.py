"""Find and load the base pipeline that a config names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainer.contract.errors import ModelError

if TYPE_CHECKING:
    from trainer.backbones.flux_fill import FluxFillBackbone

SPATIALWORLD = "spatialworld"


def load_backbone(
    base: str, *, revision: str | None = None, dtype: str = "float32", device: str | None = None
) -> FluxFillBackbone:
    """Load `spatialworld`, a local folder or a hub id through the ordinary `from_pretrained`.

    `device` None takes the GPU if there is one. Raises ModelError with the way out.
    """
    import torch
    from diffusers import FluxFillPipeline

    from trainer.backbones.flux_fill import FluxFillBackbone

    path = resolve_base(base)
    kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    try:
        pipeline = FluxFillPipeline.from_pretrained(path, revision=revision, dtype=kind)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError("model_unloadable", f"The base model {base!r} cannot be loaded: {_first(error)}") from error
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return FluxFillBackbone(pipeline, place)


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
