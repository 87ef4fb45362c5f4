"""What is known of the world without training: how right the judge is, how drawn scenes differ and how they cohere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.evaluation.subject import boundary_coherence
from trainer.spatialworld.judge import judge_many
from trainer.spatialworld.measure import diversity
from trainer.spatialworld.scenes import draw_plan, make_scene, scene_at
from trainer.spatialworld.study.conditions import conditions_for

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone

SEED = 90_001
"""Scenes of this seed are drawn for nothing else."""
DRAWN = 6
"""Scenes drawn of a condition where their diversity is measured: two may happen to show one light."""


def check_judge(count: int, seed: int = SEED) -> dict[str, Any]:
    """Agreement of verdict and all reasons on fresh scenes of all subjects, in all and by what was meant to break.

    A verdict of "can't tell" counts as a disagreement.
    """
    scenes = [scene_at(seed, index, "both") for index in range(count)]
    verdicts = judge_many(
        np.stack([scene.image for scene in scenes]),
        np.stack([scene.condition.mask for scene in scenes]),
        [scene.condition.spec for scene in scenes],
    )
    right = np.array(
        [
            verdict.rational == scene.truth.rational and verdict.reasons == scene.truth.reasons
            for verdict, scene in zip(verdicts, scenes, strict=True)
        ]
    )
    plans = np.array([scene.plan for scene in scenes])
    return {
        "scenes": count,
        "agreement": float(right.mean()),
        "cant_tell": sum(verdict.rational is None for verdict in verdicts),
        "by_plan": {
            str(plan): {"scenes": int((plans == plan).sum()), "agreement": float(right[plans == plan].mean())}
            for plan in np.unique(plans)
        },
    }


def drawn_diversity(conditions: int) -> dict[str, float]:
    """Diversity of drawn scenes of each test condition, over all pairs of a few: ``rational`` ones, or the ``mixture``.

    The mixture is what a base that knows its training scenes samples from; a model that only makes rational scenes
    can't differ more than those do. ``open_rational`` and ``open_mixture`` are of prompts that leave the light open.
    """
    chosen = conditions_for("test", conditions)
    masks = np.stack([condition.mask for condition in chosen])
    leaves_open = np.array([condition.spec.light is None for condition in chosen])
    found = {}
    for name, rational in (("rational", True), ("mixture", False)):
        pairs = list(combinations([_drawn(conditions, rational, draw) for draw in range(DRAWN)], 2))
        for part, counted in (("", np.ones(conditions, bool)), ("open_", leaves_open)):
            if counted.any():
                apart = [diversity(one[counted], other[counted], masks[counted]) for one, other in pairs]
                found[f"{part}{name}"] = round(float(np.mean(apart)), 5)
    return found


def drawn_coherence(conditions: int, backbone: Backbone) -> dict[str, float]:
    """Boundary coherence of one rational scene of each test condition, as ``drawn`` and once through the autoencoder.

    ``autoencoded`` is what a model comes to that paints every scene as it should be, its subject's edge included: a
    model with softer edges lies above it.
    """
    from trainer.data.source import to_tensor
    from trainer.sampling import to_pixels

    chosen, images = conditions_for("test", conditions), _drawn(conditions, True, 0)
    decoded = to_pixels(backbone.decode(backbone.encode_images(to_tensor(list(images)))))

    def mean(found: Sequence[np.ndarray] | np.ndarray) -> float:
        values = [boundary_coherence(image, each.mask) for image, each in zip(found, chosen, strict=True)]
        return round(float(np.mean(values)), 5)

    return {"drawn": mean(images), "autoencoded": mean(decoded)}


def _drawn(conditions: int, rational: bool, draw: int) -> np.ndarray:
    """A scene of each test condition, rational or from the mixture: uint8 [N, 64, 64, 3]."""
    made = []
    for i, condition in enumerate(conditions_for("test", conditions)):
        rng = np.random.default_rng([SEED, draw, i])
        made.append(make_scene(condition, "clean" if rational else draw_plan(condition.spec, rng), rng).image)
    return np.stack(made)
