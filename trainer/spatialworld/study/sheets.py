"""Sheets of images: arms under each other at equal conditions and seeds; the base's images with their verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from trainer.spatialworld.gallery import page
from trainer.spatialworld.geometry import REASONS, SIZE, Verdict
from trainer.spatialworld.scenes import Condition
from trainer.spatialworld.study.pool import CANT_TELL, Candidates, pasted

ZOOM, GAP, NAMES, EDGE = 2, 6, 190, 3
GROUND, INK = (26, 27, 30), (226, 228, 232)
VERDICT_COLOURS = {1: (72, 187, 120), 0: (229, 83, 75), CANT_TELL: (212, 175, 80)}


def arms_sheet(rows: Sequence[tuple[str, np.ndarray, np.ndarray]], conditions: Sequence[Condition]) -> Image.Image:
    """One row an arm: (title, raw uint8 [N, 64, 64, 3], rational [N]), a column a condition, framed by the verdict."""
    side = SIZE * ZOOM + 2 * EDGE
    columns = len(conditions)
    sheet = Image.new("RGB", (NAMES + columns * (side + GAP) + GAP, len(rows) * (side + GAP) + GAP), GROUND)
    draw = ImageDraw.Draw(sheet)
    for row, (title, raw, rational) in enumerate(rows):
        y = GAP + row * (side + GAP)
        draw.multiline_text((GAP + 4, y + side // 2 - 14), _wrapped(title), fill=INK)
        for column, condition in enumerate(conditions):
            x = NAMES + column * (side + GAP)
            draw.rectangle((x, y, x + side - 1, y + side - 1), fill=VERDICT_COLOURS[int(rational[column])])
            image = Image.fromarray(pasted(raw[column], condition).astype(np.uint8))
            sheet.paste(image.resize((SIZE * ZOOM,) * 2, Image.Resampling.BICUBIC), (x + EDGE, y + EDGE))
    return sheet


def _wrapped(title: str, width: int = 28) -> str:
    lines = [""]
    for word in title.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def base_gallery(found: Candidates, conditions: Sequence[Condition], count: int = 48) -> Image.Image:
    """The first image of each condition with the judge's verdict and margin."""
    images = np.stack([pasted(found.raw[i, 0], c) for i, c in enumerate(conditions[:count])]).astype(np.uint8)
    verdicts = [
        Verdict(
            None if rational == CANT_TELL else bool(rational),
            tuple(reason for reason in REASONS if reason in str(reasons)),
            float(margin),
        )
        for rational, reasons, margin in zip(
            found.rational[:count, 0], found.reasons[:count, 0], found.margin[:count, 0], strict=True
        )
    ]
    return page(images, conditions[:count], verdicts)


def load_images(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Raw images and verdicts that a cell kept; None where it kept none."""
    if not path.exists():
        return None
    with np.load(path) as kept:
        return kept["raw"], kept["rational"]
