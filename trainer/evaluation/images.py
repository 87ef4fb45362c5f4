"""What a generator draws on held-out conditions: how clean, how varied, what it does to the subject, how rational."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from trainer.contract.errors import ConfigError
from trainer.contract.images import Pixels, paste_foreground
from trainer.contract.sampling import SamplerSettings, Verdict
from trainer.contract.snapshot import Condition, Snapshot
from trainer.evaluation.subject import boundary_coherence, foreground_error, subject_expansion
from trainer.sampling import Prompted, judge, prompted, sample_images

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone

AT_ONCE = 32
PIXELS_AT_ONCE = 2**21
"""Of all images of a batch: two of a megapixel."""


def roughness(image: Pixels, mask: Pixels) -> float:
    """Mean absolute horizontal difference inside the background, in [0,1]: noise and blur show in it."""
    steps = np.abs(np.diff(image.astype(np.float32) / 255, axis=1)).mean(-1)
    inside = (mask[:, 1:] >= 128) & (mask[:, :-1] >= 128)
    return float(steps[inside].mean()) if inside.any() else 0.0


def measured_conditions(snapshot: Snapshot) -> list[Condition]:
    """The held-out conditions that the exact judge can judge; all that are held out, where it can judge none.

    Raises ConfigError where none is held out.
    """
    rows = [row for row in snapshot.conditions if row.split == "validation"]
    if not rows:
        raise ConfigError(
            "nothing_held_out",
            f"The snapshot {snapshot.folder} holds out no condition, so nothing can be measured on it.",
        )
    return [row for row in rows if row.spec is not None] or rows


@dataclass(frozen=True)
class Drawn:
    """An image [H,W,3] of a condition, as the generator drew it and with the true subject pasted."""

    condition: Condition
    item: Prompted
    raw: Pixels
    image: Pixels
    verdict: Verdict | None


def measure_images(
    snapshot: Snapshot,
    backbone: Backbone,
    rows: Sequence[Condition],
    *,
    images: int,
    sampler: SamplerSettings,
    seed: int,
) -> dict[str, float]:
    """Draw `images` images of conditions that take turns, each further round with the next seed, and measure them.

    Where the conditions carry a spec of SpatialWorld: `rational` (a share), its `standard_error`, the share of each
    reason. Anywhere: means of `roughness`, `foreground_error` (before the subject is pasted), `subject_expansion` and
    `boundary_coherence`; where a condition was drawn twice `diversity` (mean distance in [0,1] between one seed and the
    next); the number of `images`.
    """
    jobs = [(rows[index % len(rows)], seed + index // len(rows)) for index in range(images)]
    verdicts: list[Verdict] = []
    found: dict[str, list[float]] = defaultdict(list)
    last: Drawn | None = None
    for drawn in _draw(snapshot, backbone, jobs, sampler):
        mask = drawn.item.mask
        if drawn.verdict:
            verdicts.append(drawn.verdict)
        found["roughness"].append(roughness(drawn.image, mask))
        found["foreground_error"].append(foreground_error(drawn.raw, drawn.item.image, mask))
        found["subject_expansion"].append(subject_expansion(drawn.image, mask))
        found["boundary_coherence"].append(boundary_coherence(drawn.image, mask))
        if last and last.condition == drawn.condition:
            found["diversity"].append(float(np.abs(drawn.image.astype(np.float32) - last.image).mean() / 255))
        last = drawn
    means = {name: float(np.mean(values)) for name, values in found.items()}
    return _rationality(verdicts) | means | {"images": float(images)}


def _draw(
    snapshot: Snapshot, backbone: Backbone, jobs: Sequence[tuple[Condition, int]], sampler: SamplerSettings
) -> Iterator[Drawn]:
    """The images of conditions with seeds; size by size, the seeds of a condition one after the other."""
    ranked = sorted(jobs, key=lambda job: (job[0].height, job[0].width, job[0].condition_id, job[1]))
    for (height, width), group in groupby(ranked, key=lambda job: (job[0].height, job[0].width)):
        of_a_size = list(group)
        at_once = max(1, min(AT_ONCE, PIXELS_AT_ONCE // (height * width)))
        for start in range(0, len(of_a_size), at_once):
            batch = of_a_size[start : start + at_once]
            items = prompted(snapshot, backbone, batch)
            raw = sample_images(backbone, items, steps=sampler.steps, guidance=sampler.guidance, paste=False)
            images = [paste_foreground(image, item.image, item.mask) for image, item in zip(raw, items, strict=True)]
            verdicts = judge(images, [item.mask for item in items], [row.spec for row, _ in batch])
            yield from map(Drawn, [row for row, _ in batch], items, raw, images, verdicts)


def _rationality(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Empty where nothing was judged."""
    if not verdicts:
        return {}
    share = float(np.mean([bool(verdict.rational) for verdict in verdicts]))
    reasons = Counter(reason for verdict in verdicts for reason in verdict.reasons)
    return {
        "rational": share,
        "standard_error": math.sqrt(share * (1 - share) / len(verdicts)),
        **{f"reason_{name}": count / len(verdicts) for name, count in sorted(reasons.items())},
    }
