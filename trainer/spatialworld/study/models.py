"""The models of a worker, loaded once."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone
    from trainer.contract.checkpoint import RunResult


@lru_cache(maxsize=1)
def base_model(base: str) -> Backbone:
    """The base, kept for as long as the worker lives; nothing may be added to it."""
    from trainer.backbones.load import load_backbone

    return load_backbone(base)


def tuned_model(base: str, run: Path, result: RunResult) -> Backbone:
    """What a finished run made, fresh: the base with its adapter, or the model whose every weight was trained."""
    from trainer.backbones.load import load_backbone

    if result.model:
        return load_backbone(str(run / result.model))
    backbone = load_backbone(base)
    backbone.load_adapter(run / str(result.adapter))
    return backbone
