"""A page of images with the judge's verdicts: drawn scenes, samples of a model, or both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from trainer.spatialworld.conditions import conditions_of
from trainer.spatialworld.geometry import Verdict
from trainer.spatialworld.judge import judge_many
from trainer.spatialworld.scenes import Condition, scene_at

ZOOM = 3
COLUMNS = 8
LABEL = 34


def _label(verdict: Verdict) -> tuple[str, tuple[int, int, int]]:
    if verdict.rational is None:
        return "? can't tell", (200, 180, 90)
    if verdict.rational:
        return f"rational {verdict.margin:+.2f}", (110, 210, 140)
    return f"{', '.join(verdict.reasons)} {verdict.margin:+.2f}", (240, 120, 110)


def page(images: np.ndarray, conditions: Sequence[Condition], verdicts: Sequence[Verdict]) -> Image.Image:
    """Lay out images [N, 64, 64, 3] in rows of eight with verdict and prompt below each."""
    side, gap = images.shape[1] * ZOOM, 10
    rows = -(-len(images) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (side + gap) + gap, rows * (side + LABEL + gap) + gap), (26, 27, 30))
    draw = ImageDraw.Draw(sheet)
    for i, (image, condition, verdict) in enumerate(zip(images, conditions, verdicts, strict=True)):
        x, y = gap + (i % COLUMNS) * (side + gap), gap + (i // COLUMNS) * (side + LABEL + gap)
        sheet.paste(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC), (x, y))
        text, colour = _label(verdict)
        draw.text((x, y + side + 3), text, fill=colour)
        draw.text((x, y + side + 17), condition.prompt[:36], fill=(170, 172, 178))
    return sheet


def drawn(count: int, seed: int) -> Image.Image:
    """Drawn training scenes, clean and broken."""
    scenes = [scene_at(seed, i, "both") for i in range(count)]
    images = np.stack([scene.image for scene in scenes])
    conditions = [scene.condition for scene in scenes]
    return page(images, conditions, _judge(images, conditions))


def sampled(count: int, seed: int, model: Path, adapter: Path | None) -> Image.Image:
    """Samples of a model for validation conditions."""
    from trainer.spatialworld.measure import load
    from trainer.spatialworld.sampling import sample

    conditions = conditions_of(count, seed, "validation")
    images = sample(load(model, adapter), conditions, [seed + i for i in range(count)])
    return page(images, conditions, _judge(images, conditions))


def _judge(images: np.ndarray, conditions: Sequence[Condition]) -> list[Verdict]:
    masks = np.stack([condition.mask for condition in conditions])
    return judge_many(images, masks, [condition.spec for condition in conditions])
