"""What is known of the world without any model: how right the judge is, and how much rational scenes differ."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.spatialworld.judge import judge_many
from trainer.spatialworld.measure import diversity
from trainer.spatialworld.scenes import draw_plan, make_scene, scene_at
from trainer.spatialworld.study.conditions import conditions_for

SEED = 90_001
"""Scenes of this seed are drawn for nothing else."""


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
    """Diversity of two drawn scenes of each test condition: both ``rational``, or both from the ``mixture``.

    The mixture is what a base that knows its training scenes samples from; a model that only makes rational scenes
    can't differ more than those do.
    """
    chosen = conditions_for("test", conditions)
    masks = np.stack([condition.mask for condition in chosen])

    def drawn(rational: bool, draw: int) -> np.ndarray:
        made = []
        for i, condition in enumerate(chosen):
            rng = np.random.default_rng([SEED, draw, i])
            made.append(make_scene(condition, "clean" if rational else draw_plan(condition.spec, rng), rng).image)
        return np.stack(made)

    return {
        name: round(diversity(drawn(rational, 0), drawn(rational, 1), masks), 5)
        for name, rational in (("rational", True), ("mixture", False))
    }
