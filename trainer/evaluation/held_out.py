"""Margin, D_w and D_l on held-out pairs at noise and timesteps that never change."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import torch

from trainer.contract.config import ObjectiveConfig
from trainer.contract.events import Validation
from trainer.contract.snapshot import Pair
from trainer.data.rows import RowBuilder
from trainer.reference import policy_prediction, reference_prediction
from trainer.terms import StepCounts, combine, errors_of

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone

AT_ONCE = 16
"""Held-out pairs a forward."""
SHOWN = (
    "loss_preference", "d_win", "d_lose", "margin", "accuracy", "win_worse", "loss_foreground",
    "foreground_against_reference",
)  # fmt: skip


class HeldOut:
    """Measures a model on pairs of the validation split."""

    def __init__(self, pairs: list[Pair], builder: RowBuilder, backbone: Backbone, objective: ObjectiveConfig) -> None:
        self._pairs = pairs
        self._builder = builder
        self._backbone = backbone
        # the healthy quantities are defined for a preference; SFT is measured as MaskDPO would see it
        self._objective = objective if objective.prefers else objective.model_copy(update={"preference": "mask_dpo"})

    @torch.no_grad()
    def measure(self, step: int, guidance: float) -> Validation:
        """One validation event for the model as it stands after `step` steps."""
        sums: dict[str, float] = defaultdict(float)
        counts = StepCounts(len(self._pairs), 0, 0, 0)
        for start in range(0, len(self._pairs), AT_ONCE):
            batch, layout = self._builder.held_out(self._pairs[start : start + AT_ONCE])
            reference = errors_of(reference_prediction(self._backbone, batch, guidance), batch, layout, self._objective)
            policy = errors_of(policy_prediction(self._backbone, batch, guidance), batch, layout, self._objective)
            terms = combine(policy, reference, batch, layout, counts, self._objective)
            for name in SHOWN:
                sums[name] += terms.figures[name]
        return Validation(step=step, values={**sums, "pairs": float(len(self._pairs))})
