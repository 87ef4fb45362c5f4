"""Why MaskDPO differs from Diffusion-DPO, or does not: what the foreground weighs in the gradient of DPO's margin.

Winner and loser share the foreground, so DPO pulls one and the same target both ways there. What the two pulls leave of
each other is the foreground's part of the margin's gradient; MaskDPO takes just that part away.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.contract.files import write_durably
from trainer.spatialworld.study.conditions import conditions_for
from trainer.spatialworld.study.held_out import Rows, held_out_rows
from trainer.spatialworld.study.pairs import Chosen, PairRule, choose_pairs
from trainer.spatialworld.study.pool import Candidates
from trainer.spatialworld.study.scale import Study
from trainer.spatialworld.study.tasks import candidates

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.backbones.protocol import Backbone
    from trainer.spatialworld.scenes import Condition

CONFLICT = "conflict.json"
PAIRS = 64
"""Held-out pairs looked at, at most."""
WINDOWS = (0.0, 0.8)
"""Least timesteps: everywhere, and where layout is decided."""


def foreground_conflict(
    backbone: Backbone, base: Candidates, conditions: Sequence[Condition], pairs: Sequence[Chosen]
) -> list[dict[str, Any]]:
    """By window, medians over pairs of figures of the gradients by all weights of the denoiser.

    ``left`` is the share of the foreground's two pulls that they leave of each other, the norm of their difference by
    the sum of their norms (0: they cancel, 1: nothing does). ``weight`` is that difference's norm by the norm of the
    background's own, ``alike`` the cosine of DPO's whole gradient with MaskDPO's. The backbone is changed: all its
    weights become trainable. The second figure of each window is of the quarter with the largest subjects.
    """
    backbone.train_fully(copy_reference=False)
    shares = np.array([conditions[pair.condition].foreground.mean() for pair in pairs])
    largest = shares >= np.quantile(shares, 0.75)
    found = []
    for t_min in WINDOWS:
        each = np.array(
            [
                _figures(backbone, *held_out_rows(backbone, base, conditions, [pair], first=index, t_min=t_min))
                for index, pair in enumerate(pairs)
            ]
        )
        for subjects, counted in (("all", np.ones(len(pairs), bool)), ("largest quarter", largest)):
            medians = dict(zip(("left", "weight", "alike"), np.median(each[counted], axis=0).tolist(), strict=True))
            share = float(shares[counted].mean())
            found.append({"t_min": t_min, "subjects": subjects, "share": share, "pairs": int(counted.sum())} | medians)
    return found


def _figures(backbone: Backbone, win: Rows, lose: Rows) -> tuple[float, float, float]:
    win_parts, lose_parts = _gradients(backbone, win), _gradients(backbone, lose)
    background, foreground = (one - other for one, other in zip(win_parts, lose_parts, strict=True))
    whole = background + foreground
    return (
        float(foreground.norm() / (win_parts[1].norm() + lose_parts[1].norm())),
        float(foreground.norm() / background.norm()),
        float(whole @ background / (whole.norm() * background.norm())),
    )


def _gradients(backbone: Backbone, rows: Rows) -> tuple[Tensor, Tensor]:
    """Of the background's and of the foreground's part of the mean squared error, each flat over all weights."""
    import torch

    from trainer.objectives import region_error

    weights = list(backbone.trainable().values())
    prediction = rows.predicted(backbone)
    parts = [
        region_error(prediction, rows.target, region, reduction="full_mean").sum()
        for region in (rows.background, 1 - rows.background)
    ]
    background, foreground = (
        torch.cat([gradient.flatten() for gradient in torch.autograd.grad(part, weights, retain_graph=True)])
        for part in parts
    )
    return background, foreground


@dataclass(frozen=True)
class ConflictTask:
    """Weigh the foreground in the gradient of DPO's margin, at the base."""

    name: str = "the foreground's part of DPO's gradient"

    def done(self, study: Study) -> bool:
        return (study.root / CONFLICT).exists()

    def cost(self, study: Study) -> float:
        return 12.0 * len(WINDOWS) * min(PAIRS, study.scale.test_pairs)

    def run(self, study: Study) -> str:
        from trainer.backbones.load import load_backbone

        base = candidates(study, "test")
        pairs = choose_pairs(base, PairRule(min(PAIRS, study.scale.test_pairs)))
        found = foreground_conflict(load_backbone(study.base), base, conditions_for("test", len(base)), pairs)
        write_durably(study.root / CONFLICT, json.dumps(found, indent=1).encode())
        return f"DPO's gradient and MaskDPO's have a cosine of {found[0]['alike']:.3f}"
