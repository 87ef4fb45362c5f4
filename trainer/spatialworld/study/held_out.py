"""Held-out pairs as a model's training sees them: noise and timestep are one draw a pair, the same for every model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.spatialworld.study.pairs import Chosen
from trainer.spatialworld.study.pool import Candidates, pasted

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.backbones.protocol import Backbone, Tensors
    from trainer.spatialworld.scenes import Condition


@dataclass(frozen=True)
class Rows:
    """What a forward takes, its target [B,C,h,w], and the background's share of each cell [B,1,h,w]."""

    noisy: Tensor
    t: Tensor
    known: Tensors
    text: Tensors
    target: Tensor
    background: Tensor

    def predicted(self, model: Backbone) -> Tensor:
        """The model's prediction [B,C,h,w]."""
        return model.predict(self.noisy, self.t, self.known, self.text)


def held_out_rows(
    encoder: Backbone,
    base: Candidates,
    conditions: Sequence[Condition],
    pairs: Sequence[Chosen],
    *,
    first: int,
    t_min: float = 0.0,
) -> tuple[Rows, Rows]:
    """Winners and losers of pairs, the ``first``-th and following, at timesteps from ``t_min`` to 1."""
    wins, loses = [pair.win for pair in pairs], [pair.lose for pair in pairs]
    made = (_rows(encoder, base, conditions, pairs, draws, first, t_min) for draws in (wins, loses))
    win, lose = made
    return win, lose


def _rows(
    encoder: Backbone,
    base: Candidates,
    conditions: Sequence[Condition],
    pairs: Sequence[Chosen],
    draws: Sequence[int],
    first: int,
    t_min: float,
) -> Rows:
    import torch

    from trainer.data.source import to_mask, to_tensor
    from trainer.noise import gaussian, timestep
    from trainer.objectives import pool_mask

    chosen = [conditions[pair.condition] for pair in pairs]
    images = [pasted(base.raw[pair.condition, k], c) for pair, k, c in zip(pairs, draws, chosen, strict=True)]
    masks = to_mask([condition.mask for condition in chosen])
    clean = encoder.encode_images(to_tensor(images))
    items = [f"held-out {first + i}" for i in range(len(images))]
    noise = torch.stack([gaussian(tuple(clean.shape[1:]), 0, item, 0) for item in items]).to(clean)
    t = torch.tensor([timestep(t_min, 1.0, 0, item, 0) for item in items]).to(clean)
    return Rows(
        encoder.noisy(clean, noise, t),
        t,
        encoder.encode_condition(to_tensor([condition.image for condition in chosen]), masks),
        encoder.encode_text([condition.prompt for condition in chosen]),
        encoder.target(clean, noise, t),
        pool_mask(masks, *clean.shape[2:]).to(clean),
    )
