"""Does the exact judge say what the scenes were drawn with?"""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.spatialworld.judge import judge_many
from trainer.spatialworld.scenes import scene_at

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
