"""What is measured of a model on held-out conditions, before and after the subject is pasted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from trainer.evaluation.subject import boundary_coherence, foreground_error, subject_expansion
from trainer.spatialworld.geometry import REASONS, VIEWPOINTS
from trainer.spatialworld.judge import roughness
from trainer.spatialworld.scenes import Condition
from trainer.spatialworld.study.held_out import Rows, held_out_rows
from trainer.spatialworld.study.pairs import Chosen
from trainer.spatialworld.study.pool import CANT_TELL, Candidates, pasted

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.backbones.protocol import Backbone

Measures = dict[str, np.ndarray]

TITLES = {
    "rational": "rational",
    "rational_level": "rational, seen level",
    "rational_top": "rational, seen from above",
    "rational_large": "rational, large subjects",
    "scale": "scale broken",
    "position": "position broken",
    "viewpoint": "viewpoint broken",
    "cant_tell": "can't tell",
    "foreground_error": "foreground error",
    "expansion": "subject expansion",
    "coherence": "boundary coherence",
    "asked_surface": "asked surface shown",
    "asked_light": "asked light shown",
    "text": "asked words shown",
    "roughness": "roughness",
    "diversity": "diversity",
    "open_diversity": "diversity, light left open",
    "rational_diversity": "diversity among rational",
    "d_win": "D_w",
    "d_lose": "D_l",
    "accuracy": "implicit accuracy",
    "elo": "Elo",
}
"""Measures by their key in results.json, in the report's order."""
SHARES = (
    "rational", "rational_level", "rational_top", "rational_large", *REASONS, "cant_tell", "asked_surface",
    "asked_light", "text", "accuracy",
)  # fmt: skip
"""Measures that are shares, shown in per cent."""
DIVERSITIES = ("diversity", "open_diversity", "rational_diversity")
"""Measures of which an arm keeps a share of the base's."""
LARGE = 0.12
"""Least share of the image that a large subject covers: about a fifth of the test conditions have one."""


def measure_images(found: Candidates, conditions: Sequence[Condition]) -> Measures:
    """Float32 [C, K] by condition and draw (diversities [C]); NaN where a measure does not apply.

    ``rational_level`` and ``rational_top`` are of the subjects seen so, ``rational_large`` of those that cover LARGE.
    ``foreground_error`` reads the images before the true subject is pasted, all others after it. ``text`` is the share
    of the words asked for (surface, light) that the judge reads in the background. ``diversity`` is the mean absolute
    difference of two draws' backgrounds over all pairs of draws. What a model no longer gets wrong takes diversity away
    as well, so ``rational_diversity`` is the same over pairs of rational draws, and ``open_diversity`` is of the
    conditions whose prompt leaves the light open: there rational images can differ too.
    """
    shape = found.rational.shape
    masks = np.stack([condition.mask for condition in conditions])
    measures: Measures = {name: np.full(shape, np.nan, np.float32) for name in PER_IMAGE}
    measures["rational"] = (found.rational == 1).astype(np.float32)
    for viewpoint in VIEWPOINTS:
        subjects = np.array([condition.spec.viewpoint == viewpoint for condition in conditions])
        measures[f"rational_{viewpoint}"] = np.where(subjects[:, None], measures["rational"], np.nan)
    large = np.array([condition.foreground.mean() >= LARGE for condition in conditions])
    measures["rational_large"] = np.where(large[:, None], measures["rational"], np.nan)
    measures["cant_tell"] = (found.rational == CANT_TELL).astype(np.float32)
    for reason in REASONS:
        measures[reason] = np.char.find(found.reasons, reason).__ge__(0).astype(np.float32)
    for i, condition in enumerate(conditions):
        images = pasted(found.raw[i], condition)
        for k, image in enumerate(images):
            measures["foreground_error"][i, k] = foreground_error(found.raw[i, k], condition.image, condition.mask)
            measures["expansion"][i, k] = subject_expansion(image, condition.mask)
            measures["coherence"][i, k] = boundary_coherence(image, condition.mask)
        measures["roughness"][i] = roughness(images, np.repeat(masks[i : i + 1], len(images), axis=0))
        for word, read in (("surface", found.surface), ("light", found.light)):
            asked = getattr(condition.spec, word)
            if asked is not None:
                measures[f"asked_{word}"][i] = read[i] == asked
    words = np.stack([measures["asked_surface"], measures["asked_light"]])
    known = np.isfinite(words)
    counted = known.sum(axis=0)
    measures["text"] = np.where(counted > 0, np.where(known, words, 0).sum(axis=0) / np.maximum(counted, 1), np.nan)
    measures["diversity"] = _diversity(found, conditions, np.ones(shape, dtype=bool))
    leaves_open = np.array([condition.spec.light is None for condition in conditions])
    measures["open_diversity"] = np.where(leaves_open, measures["diversity"], np.nan)
    measures["rational_diversity"] = _diversity(found, conditions, found.rational == 1)
    return measures


PER_IMAGE = ("foreground_error", "expansion", "coherence", "roughness", "asked_surface", "asked_light")


def _diversity(found: Candidates, conditions: Sequence[Condition], counted: np.ndarray) -> np.ndarray:
    """Float32 [C] over pairs of the ``counted`` bool [C, K] draws; NaN for a condition with fewer than two."""
    apart = np.full(len(conditions), np.nan, np.float32)
    for i, condition in enumerate(conditions):
        seen = found.raw[i][counted[i]][:, condition.mask > 127].astype(np.float32) / 255
        pairs = [np.abs(one - other).mean() for one, other in combinations(seen, 2)]
        if pairs:
            apart[i] = np.mean(pairs)
    return apart


@dataclass(frozen=True)
class HeldOut:
    """Some held-out pairs as a forward takes them, and the reference's error [B] on their backgrounds."""

    sides: tuple[Rows, Rows]
    """Winners, losers."""
    before: tuple[Tensor, Tensor]


def held_out(
    reference: Backbone, base: Candidates, conditions: Sequence[Condition], pairs: Sequence[Chosen]
) -> list[HeldOut]:
    """What every arm is measured on: noise and timestep are one draw a pair, shared by winner and loser.

    Timesteps are uniform over all of them, whatever an arm was trained on.
    """
    found = []
    for start in range(0, len(pairs), AT_ONCE):
        win, lose = held_out_rows(reference, base, conditions, pairs[start : start + AT_ONCE], first=start)
        found.append(HeldOut((win, lose), (_background_error(reference, win), _background_error(reference, lose))))
    return found


def measure_pairs(policy: Backbone, some: Sequence[HeldOut]) -> Measures:
    """``d_win`` and ``d_lose`` float32 [P] on held-out pairs: the error's change on the background against the base.

    ``accuracy`` is the share of pairs on which the winner gained more.
    """
    d_win, d_lose = (
        np.concatenate([(_background_error(policy, each.sides[i]) - each.before[i]).cpu().numpy() for each in some])
        for i in range(2)
    )
    return {"d_win": d_win, "d_lose": d_lose, "accuracy": (d_win < d_lose).astype(np.float32)}


def _background_error(model: Backbone, rows: Rows) -> Tensor:
    import torch

    from trainer.objectives import region_error

    with torch.no_grad():
        return region_error(rows.predicted(model), rows.target, rows.background).float()


AT_ONCE = 16
"""Pairs a forward."""
