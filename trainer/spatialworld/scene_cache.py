"""Rendered training scenes on disk, in chunks that are written once: rendering can stop and go on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.spatialworld.scenes import scene_at

CHUNK = 1000


@dataclass(frozen=True)
class SceneArrays:
    """Stacked scenes: ``image`` and ``canvas`` uint8 [N, 64, 64, 3], ``mask`` uint8 [N, 64, 64], ``prompt`` [N].

    ``rational`` bool [N]: the verdict of the drawing geometry.
    """

    image: np.ndarray
    canvas: np.ndarray
    mask: np.ndarray
    prompt: list[str]
    rational: np.ndarray

    def __len__(self) -> int:
        return len(self.prompt)


def render_chunk(folder: Path, seed: int, chunk: int) -> Path:
    """Render scenes ``chunk * CHUNK`` and on, unless they are there; returns the file. Published by rename."""
    path = folder / f"scenes-{seed}-{chunk:03d}.npz"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    scenes = [scene_at(seed, chunk * CHUNK + i) for i in range(CHUNK)]
    partial = path.with_suffix(f".{os.getpid()}.part.npz")
    np.savez(
        partial,
        image=np.stack([scene.image for scene in scenes]),
        canvas=np.stack([scene.condition.image for scene in scenes]),
        mask=np.stack([scene.condition.mask for scene in scenes]),
        prompt=np.array([scene.condition.prompt for scene in scenes]),
        rational=np.array([scene.truth.rational for scene in scenes]),
    )
    partial.rename(path)
    return path


def load_scenes(folder: Path, seed: int, count: int) -> SceneArrays:
    """The first ``count`` scenes of a seed, rendering the chunks that are missing."""
    parts = [np.load(render_chunk(folder, seed, chunk)) for chunk in range(-(-count // CHUNK))]
    return SceneArrays(
        image=np.concatenate([part["image"] for part in parts])[:count],
        canvas=np.concatenate([part["canvas"] for part in parts])[:count],
        mask=np.concatenate([part["mask"] for part in parts])[:count],
        prompt=[str(word) for part in parts for word in part["prompt"]][:count],
        rational=np.concatenate([part["rational"] for part in parts])[:count],
    )
