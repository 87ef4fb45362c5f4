"""Margin, D_w and D_l on held-out pairs at noise and timesteps that never change."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import torch

from trainer.contract.events import Validation
from trainer.contract.objective import ObjectiveConfig
from trainer.contract.snapshot import Pair
from trainer.data.rows import RowBuilder
from trainer.objectives import error_map
from trainer.reference import Reference, policy_prediction, with_residuals
from trainer.terms import StepCounts, combine, errors_of

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone

AT_ONCE = 16
"""Held-out pairs a forward at most."""
SHOWN = (
    "loss_preference", "d_win", "d_lose", "margin", "accuracy", "win_worse", "loss_foreground",
    "foreground_against_reference",
)  # fmt: skip


class HeldOut:
    """Measures a model on pairs of the validation split, no more of them a forward than `at_once`."""

    def __init__(
        self,
        pairs: list[Pair],
        builder: RowBuilder,
        backbone: Backbone,
        objective: ObjectiveConfig,
        reference: Reference,
        at_once: int,
    ) -> None:
        self._builder = builder
        self._backbone = backbone
        self._reference = reference
        self._count = len(pairs)
        self._batches = list(builder.batches_of_pairs(pairs, min(at_once, AT_ONCE)))
        # the healthy quantities are defined for a preference; SFT is measured as MaskDPO would see it
        self._objective = objective if objective.prefers else objective.model_copy(update={"preference": "mask_dpo"})

    @torch.no_grad()
    def measure(self, step: int, guidance: float) -> Validation:
        """One validation event for the model as it stands after `step` steps."""
        sums: dict[str, float] = defaultdict(float)
        counts = StepCounts(self._count, 0, 0, 0)
        for pairs in self._batches:
            batch, layout = self._builder.held_out(pairs)
            batch = with_residuals(self._backbone, batch, guidance)
            policy = error_map(policy_prediction(self._backbone, batch, guidance), batch.target)
            errors = [errors_of(maps, batch, layout, self._objective) for maps in (policy, self._reference.maps(batch))]
            terms = combine(errors[0], errors[1], batch, layout, counts, self._objective)
            for name in SHOWN:
                sums[name] += terms.figures[name]
        return Validation(step=step, values={**sums, "pairs": float(self._count)})
