"""The check before the first step: would training work at all?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from trainer.contract.errors import SelfCheckError
from trainer.reference import policy_prediction, reference_prediction
from trainer.sharding import whole

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone
    from trainer.data.rows import Batch, Layout
    from trainer.data.source import TrainingData
    from trainer.terms import Terms

START_SLACK = {"cpu": 1e-3}
OTHER_SLACK = 0.02
"""How far from ln 2 a run may start. Policy and reference go through batches of different sizes: CPUs compute a row
alike in both; GPUs choose other kernels, whose bfloat16 rounding shows under a beta in the thousands."""
FEWEST_CELLS = 4.0
"""Latent cells below which a region is too thin for its error to mean much."""
LEAST_CELLS = 0.5
"""Latent cells below which there is no region to speak of."""


def check_model(backbone: Backbone, batch: Batch, layout: Layout, terms: Terms, *, frozen: bool) -> dict[str, float]:
    """Run the checks before the first step, with the gradients of `terms.loss` filled in; returns what was found.

    `frozen` tells whether the reference is a model that can be run. Raises SelfCheckError when the preference loss is
    not ln 2, when no gradient reaches what is trained, when moving that does not move the policy, or when it moves the
    reference.
    """
    found: dict[str, float] = {}
    if layout.pairs:
        found["preference_loss"] = terms.figures["loss_preference"]
        if abs(found["preference_loss"] - math.log(2)) > START_SLACK.get(backbone.device.type, OTHER_SLACK):
            raise SelfCheckError(
                "not_ln_2",
                f"Before the first step the preference loss is {found['preference_loss']:.4f}, it must be ln 2 = "
                "0.6931: policy and reference do not start equal.",
            )
    norms = [whole(p.grad.norm()) for p in backbone.trainable().values() if p.grad is not None]
    found["grad_norm"] = float(torch.stack(norms).norm()) if norms else 0.0
    if not math.isfinite(found["grad_norm"]):
        raise SelfCheckError(
            "gradient_not_finite",
            f"The first gradient is {found['grad_norm']}: the model gives no numbers in its compute type; try "
            "model.dtype=float32, and check the base's weights.",
        )
    if not found["grad_norm"] > 0:
        raise SelfCheckError("no_gradient", "No gradient reaches the weights in training: there is nothing to train.")
    found |= _moves(backbone, batch.first(min(2, len(batch.t))), 1.0, frozen=frozen)
    return found


def _moves(backbone: Backbone, batch: Batch, guidance: float, *, frozen: bool) -> dict[str, float]:
    """Move an adapter, or the last layer of a full model, a little; look at both models, and put the weights back."""
    trained = list(backbone.trainable().values())
    moving = trained if backbone.reference_copy() is None and frozen else trained[-1:]
    with torch.no_grad():
        unmoved = policy_prediction(backbone, batch, guidance)
        before = reference_prediction(backbone, batch, guidance) if frozen else unmoved
        saved = [parameter.detach().clone() for parameter in moving]
        try:
            for parameter in moving:
                parameter.add_(0.01)
            moved = policy_prediction(backbone, batch, guidance)
            after = reference_prediction(backbone, batch, guidance) if frozen else before
        finally:
            for parameter, value in zip(moving, saved, strict=True):
                parameter.copy_(value)
    if not torch.equal(before, after):
        raise SelfCheckError("reference_moved", "Moving the policy moved the reference: they share weights.")
    change = float((moved - unmoved).abs().mean())
    if not change > 0:
        raise SelfCheckError("policy_fixed", "Moving the weights in training does not move the policy.")
    return {"policy_change": change, "reference_change": 0.0}


def check_data(data: TrainingData, backbone: Backbone) -> tuple[dict[str, float], dict[str, str]]:
    """Figures of masks and prompts, and warnings by their code: a region that is nearly empty, prompts that are cut.

    Raises SelfCheckError for a region that is as good as empty.
    """
    found, thin = check_masks(data)
    prompts = {row.prompt for row in data.conditions}
    cut = backbone.cut(sorted(prompts))
    warnings = {"mask_thin": thin} if thin else {}
    if cut:
        warnings["prompts_cut"] = (
            f"{cut} of {len(prompts)} prompts are longer than what this model reads: what stands at their end has no "
            "effect. Shorten them, or put first what matters."
        )
    return found | {"prompts_cut": float(cut)}, warnings


def check_masks(data: TrainingData) -> tuple[dict[str, float], str | None]:
    """Coverage of the masks, and a warning where a region is nearly empty.

    Raises SelfCheckError, naming the condition, where one is as good as empty: there its error would be a number made
    of nothing.
    """
    cover = data.coverage()
    found = {
        "background_mean": cover.mean,
        "background_least": cover.least,
        "background_most": cover.most,
        "fewest_cells": cover.fewest_cells,
    }
    if cover.fewest_cells >= FEWEST_CELLS:
        return found, None
    words = (
        f"The mask of condition {cover.thinnest} leaves only {cover.fewest_cells:.2g} latent cells to its subject or "
        "background"
    )
    if cover.fewest_cells < LEAST_CELLS:
        raise SelfCheckError("mask_vanishes", f"{words}: take a larger subject or larger images.")
    return found, f"{words}: its error is noisy."
