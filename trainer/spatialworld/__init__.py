"""SpatialWorld: a procedural world with an exact judge of spatial rationality, and a small pipeline that hallucinates.

Nothing imported from here loads torch; ``build_pipeline`` does when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffusers import FluxFillPipeline

__all__ = ["build_pipeline", "pipeline_path"]


def pipeline_path() -> Path:
    """The folder that ``FluxFillPipeline.from_pretrained`` takes.

    Raises FileNotFoundError with the command that makes the weights if they are not there.
    """
    from trainer.spatialworld.model import weights_path

    path = weights_path()
    if not (path / "model_index.json").exists():
        raise FileNotFoundError(
            "SpatialWorld's weights are missing. Make them with `python -m trainer.spatialworld pretrain --out DIR`."
        )
    return path


def build_pipeline(seed: int = 0, debug: bool = False) -> FluxFillPipeline:
    """An untrained pipeline of the same layout; ``debug`` is the smallest that still has every part."""
    from trainer.spatialworld.model import build_pipeline as build

    return build(seed, debug)
