"""Measure a model in SpatialWorld: rationality by the exact judge, and what must not be paid for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.spatialworld.conditions import conditions_of
from trainer.spatialworld.geometry import REASONS, VIEWPOINTS, Verdict
from trainer.spatialworld.judge import judge_many, roughness
from trainer.spatialworld.scenes import Condition
from trainer.spatialworld.subjects import Split

if TYPE_CHECKING:
    from diffusers import FluxFillPipeline


def wilson(successes: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % Wilson interval of a share."""
    if count == 0:
        return 0.0, 1.0
    share = successes / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def _share(successes: int, count: int) -> dict[str, float]:
    low, high = wilson(successes, count)
    return {"share": round(successes / max(count, 1), 4), "low": round(low, 4), "high": round(high, 4), "n": count}


def summarise(verdicts: Sequence[Verdict], conditions: Sequence[Condition]) -> dict[str, Any]:
    """Shares over all images ("can't tell" counts as not rational), by reason and by drawn viewpoint; alignment."""
    count = len(verdicts)
    report: dict[str, Any] = {"rational": _share(sum(v.rational is True for v in verdicts), count)}
    report["cant_tell"] = _share(sum(v.rational is None for v in verdicts), count)
    for reason in REASONS:
        report[reason] = _share(sum(reason in v.reasons for v in verdicts), count)
    for viewpoint in VIEWPOINTS:
        part = [v for v, c in zip(verdicts, conditions, strict=True) if c.spec.viewpoint == viewpoint]
        report[f"rational_{viewpoint}"] = _share(sum(v.rational is True for v in part), len(part))
    for word in ("surface", "light"):
        asked = [
            (getattr(c.spec, word), v.measured[word])
            for v, c in zip(verdicts, conditions, strict=True)
            if getattr(c.spec, word) is not None
        ]
        report[f"asked_{word}"] = _share(sum(a == b for a, b in asked), len(asked))
    return report


def diversity(first: np.ndarray, second: np.ndarray, masks: np.ndarray) -> float:
    """Mean absolute difference of two seeds' backgrounds, in [0, 1]."""
    background = (masks > 127)[..., None]
    difference = np.abs(first.astype(np.float32) - second.astype(np.float32)) / 255.0
    return float((difference * background).sum() / (background.sum() * 3))


def measure(
    pipeline: FluxFillPipeline, count: int, split: Split, seed: int = 4242, steps: int | None = None
) -> dict[str, Any]:
    """Sample one image a condition (and a second seed for a quarter of them) and report."""
    from trainer.spatialworld.sampling import STEPS, sample

    steps = steps or STEPS
    conditions = conditions_of(count, seed, split)
    images = sample(pipeline, conditions, [seed + i for i in range(count)], steps)
    masks = np.stack([condition.mask for condition in conditions])
    report = summarise(judge_many(images, masks, [condition.spec for condition in conditions]), conditions)
    report["roughness"] = round(float(roughness(images, masks).mean()), 5)
    again = max(count // 4, 1)
    others = sample(pipeline, conditions[:again], [seed + count + i for i in range(again)], steps)
    report["diversity"] = round(diversity(images[:again], others, masks[:again]), 4)
    return report | {"conditions": count, "split": split, "seed": seed, "steps": steps}


def load(model: Path, adapter: Path | None) -> FluxFillPipeline:
    """Load a saved pipeline, with a LoRA adapter if given."""
    from diffusers import FluxFillPipeline

    pipeline = FluxFillPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    if adapter is not None:
        pipeline.load_lora_weights(str(adapter))
    return pipeline
