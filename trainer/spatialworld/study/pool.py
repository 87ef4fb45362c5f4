"""Candidates: images of the base with the exact judge's verdicts, in files of a few conditions each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainer.spatialworld.judge import judge_many
from trainer.spatialworld.scenes import Condition
from trainer.spatialworld.study.conditions import Role, conditions_for, noise_seed

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone

CANT_TELL = -1


@dataclass(frozen=True)
class Candidates:
    """Images of conditions, before the subject is pasted: ``raw`` uint8 [C, K, 64, 64, 3].

    ``rational`` int8 [C, K] is 1, 0 or CANT_TELL, ``margin`` float32 [C, K]; ``reasons``, ``surface`` and ``light``
    [C, K] hold words (reasons joined by a comma).
    """

    raw: np.ndarray
    rational: np.ndarray
    margin: np.ndarray
    reasons: np.ndarray
    surface: np.ndarray
    light: np.ndarray

    def __len__(self) -> int:
        return len(self.raw)

    def save(self, path: Path) -> None:
        """Publish by rename."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.part.npz")
        np.savez_compressed(partial, **{name: getattr(self, name) for name in FIELDS})
        partial.replace(path)


FIELDS = ("raw", "rational", "margin", "reasons", "surface", "light")


def load(paths: Sequence[Path]) -> Candidates:
    """Files one after the other."""
    parts = [np.load(path) for path in paths]
    return Candidates(**{name: np.concatenate([part[name] for part in parts]) for name in FIELDS})


def pasted(raw: np.ndarray, condition: Condition) -> np.ndarray:
    """Images [..., 64, 64, 3] with the condition's true subject."""
    return np.where(condition.foreground[..., None], condition.image, raw)


def draw(backbone: Backbone, role: Role, chosen: slice, draws: int, steps: int, total: int) -> Candidates:
    """``draws`` images of each of ``total`` conditions' slice, judged with the true subject pasted."""
    from trainer.sampling import sample_images, with_text

    conditions = conditions_for(role, total)[chosen]
    first = chosen.start or 0
    items = [
        (condition.image, condition.mask, condition.prompt, noise_seed(role, first + i, d))
        for i, condition in enumerate(conditions)
        for d in range(draws)
    ]
    raw: list[np.ndarray] = []
    for start in range(0, len(items), AT_ONCE):
        prompted = with_text(backbone, items[start : start + AT_ONCE])
        raw += sample_images(backbone, prompted, steps=steps, guidance=1.0, paste=False)
    return judged(np.stack(raw).reshape(len(conditions), draws, *raw[0].shape), conditions)


AT_ONCE = 32
"""Images sampled at once."""


def judged(raw: np.ndarray, conditions: Sequence[Condition]) -> Candidates:
    """Judge images [C, K, 64, 64, 3] of conditions, with the true subject pasted."""
    count, draws = raw.shape[:2]
    images = np.concatenate([pasted(raw[i], condition) for i, condition in enumerate(conditions)])
    masks = np.repeat(np.stack([condition.mask for condition in conditions]), draws, axis=0)
    verdicts = judge_many(images, masks, [condition.spec for condition in conditions for _ in range(draws)])
    shape = (count, draws)
    return Candidates(
        raw,
        np.array([CANT_TELL if v.rational is None else int(v.rational) for v in verdicts], np.int8).reshape(shape),
        np.array([v.margin for v in verdicts], np.float32).reshape(shape),
        np.array([",".join(v.reasons) for v in verdicts]).reshape(shape),
        np.array([v.measured["surface"] for v in verdicts]).reshape(shape),
        np.array([v.measured["light"] for v in verdicts]).reshape(shape),
    )
