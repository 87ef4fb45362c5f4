"""How often a generator is rational on held-out conditions, by the exact judge, and how clean its images are."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trainer.contract.errors import ConfigError
from trainer.contract.sampling import SamplerSettings
from trainer.contract.snapshot import Snapshot
from trainer.sampling import judge, prompted, sample_images

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone

AT_ONCE = 32


def roughness(image: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8]) -> float:
    """Mean absolute horizontal difference inside the background, in [0,1]: noise and blur show in it."""
    steps = np.abs(np.diff(image.astype(np.float32) / 255, axis=1)).mean(-1)
    inside = (mask[:, 1:] >= 128) & (mask[:, :-1] >= 128)
    return float(steps[inside].mean()) if inside.any() else 0.0


def measure_rationality(
    snapshot: Snapshot, backbone: Backbone, *, images: int, sampler: SamplerSettings, seed: int = 0
) -> dict[str, float]:
    """Sample `images` images over the held-out conditions and judge them.

    Returns `rational` (a share), its `standard_error`, the share of each reason, `roughness`, `diversity` (mean
    distance in [0,1] between two seeds of a condition, 0 where none was drawn twice) and `images`.
    """
    rows = [row for row in snapshot.conditions if row.split == "validation" and row.spec is not None]
    if not rows:
        raise ConfigError("nothing_to_judge", "No held-out condition of this snapshot carries a spec of SpatialWorld.")
    jobs = [(rows[index % len(rows)], seed + index // len(rows)) for index in range(images)]
    verdicts: list[bool] = []
    reasons: Counter[str] = Counter()
    rough: list[float] = []
    seen: dict[str, list[npt.NDArray[np.uint8]]] = {}
    for start in range(0, len(jobs), AT_ONCE):
        batch = jobs[start : start + AT_ONCE]
        items = prompted(snapshot, backbone, batch)
        pixels = sample_images(backbone, items, steps=sampler.steps, guidance=sampler.guidance)
        found = judge(pixels, [item.mask for item in items], [row.spec for row, _ in batch])
        for (row, _), item, image, verdict in zip(batch, items, pixels, found, strict=True):
            verdicts.append(bool(verdict and verdict.rational))
            reasons.update(verdict.reasons if verdict else [])
            rough.append(roughness(image, item.mask))
            seen.setdefault(row.condition_id, []).append(image)
    share = float(np.mean(verdicts))
    return {
        "rational": share,
        "standard_error": math.sqrt(share * (1 - share) / len(verdicts)),
        **{f"reason_{name}": count / len(verdicts) for name, count in sorted(reasons.items())},
        "roughness": float(np.mean(rough)),
        "diversity": _diversity(seen),
        "images": float(len(verdicts)),
    }


def _diversity(seen: dict[str, list[npt.NDArray[np.uint8]]]) -> float:
    distances = [
        np.abs(first.astype(np.float32) - second.astype(np.float32)).mean() / 255
        for images in seen.values()
        for first, second in pairwise(images)
    ]
    return float(np.mean(distances)) if distances else 0.0
