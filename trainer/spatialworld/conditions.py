"""Write conditions as an ordinary import manifest, and read them back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from trainer.spatialworld.scenes import Condition, condition_at
from trainer.spatialworld.subjects import Split


def conditions_of(count: int, seed: int, split: Split | Literal["both"]) -> list[Condition]:
    """``count`` conditions; ``both`` takes one of five from the validation subjects."""
    if split != "both":
        return [condition_at(seed, i, split) for i in range(count)]
    return [condition_at(seed, i, "validation" if i % 5 == 4 else "train") for i in range(count)]


def manifest_row(condition: Condition) -> dict[str, Any]:
    """The manifest's row of a condition; paths are relative to the manifest."""
    return {
        "subject": condition.subject.id,
        "subject_name": condition.subject.display_name,
        "condition": condition.id,
        "split": condition.subject.split,
        "image": f"images/{condition.id}.png",
        "mask": f"masks/{condition.id}.png",
        "cutout": f"cutouts/{condition.subject.id}--{condition.id}.png",
        "prompt": condition.prompt,
        "spatialworld": condition.spec.to_json(),
    }


def write_conditions(conditions: list[Condition], out: Path) -> Path:
    """Write ``manifest.jsonl`` and its PNGs under ``out``; returns the manifest's path.

    Image: the subject on mid-grey, RGB. Mask: L, 255 = background, to be generated. Cut-out: RGBA.
    """
    for folder in ("images", "masks", "cutouts"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    rows = []
    for condition in conditions:
        row = manifest_row(condition)
        Image.fromarray(condition.image).save(out / row["image"])
        Image.fromarray(condition.mask).save(out / row["mask"])
        rgba = condition.rgba.copy()
        rgba[..., 3] *= 255.0
        Image.fromarray(np.clip(np.rint(rgba), 0, 255).astype(np.uint8)).save(out / row["cutout"])
        rows.append(json.dumps(row))
    manifest = out / "manifest.jsonl"
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return manifest
