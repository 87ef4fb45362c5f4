"""The subject's measures on drawn scenes of SpatialWorld, whole and with planted faults."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from trainer.evaluation.subject import BAND, boundary_coherence, foreground_error, subject_expansion
from trainer.spatialworld.scenes import Scene, scene_at


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [scene_at(11, index, "both", "clean") for index in range(24)]


def ring(scene: Scene, width: float) -> np.ndarray:
    distance = ndimage.distance_transform_edt(~scene.condition.foreground)
    return np.asarray((distance > 0) & (distance <= width))


def with_halo(scene: Scene, strength: float = 1.0) -> np.ndarray:
    """The scene with a pale halo around its subject."""
    image = scene.image.astype(np.float32)
    image[ring(scene, BAND)] += strength * (np.float32((255, 240, 255)) - image[ring(scene, BAND)])
    return np.clip(image, 0, 255).astype(np.uint8)


def grown(scene: Scene, pixels: int) -> np.ndarray:
    """The scene with its subject's edge smeared outwards."""
    image, filled = scene.image.copy(), scene.condition.foreground
    nearest = ndimage.distance_transform_edt(~filled, return_distances=False, return_indices=True)
    out = ring(scene, pixels)
    image[out] = scene.image[nearest[0][out], nearest[1][out]]
    return image


def test_a_planted_halo_lowers_the_boundarys_coherence(scenes: list[Scene]) -> None:
    whole = np.array([boundary_coherence(scene.image, scene.condition.mask) for scene in scenes])
    faint, strong = (
        np.array([boundary_coherence(with_halo(scene, strength), scene.condition.mask) for scene in scenes])
        for strength in (0.4, 1.0)
    )
    assert whole.mean() > 0.75
    assert (faint < whole).mean() > 0.9
    assert (strong < faint).mean() > 0.9
    assert strong.mean() < 0.5 * whole.mean()


def test_coherence_does_not_look_at_the_subject(scenes: list[Scene]) -> None:
    scene = scenes[0]
    other = scene.image.copy()
    other[scene.condition.foreground] = (255, 0, 255)
    assert boundary_coherence(other, scene.condition.mask) == boundary_coherence(scene.image, scene.condition.mask)


def test_a_plain_background_is_wholly_coherent() -> None:
    mask = np.full((64, 64), 255, np.uint8)
    mask[20:40, 20:40] = 0
    assert boundary_coherence(np.full((64, 64, 3), 90, np.uint8), mask) == 1.0


def test_a_grown_subject_is_found(scenes: list[Scene]) -> None:
    whole = np.array([subject_expansion(scene.image, scene.condition.mask) for scene in scenes])
    larger = np.array([subject_expansion(grown(scene, 3), scene.condition.mask) for scene in scenes])
    assert whole.mean() < 0.03
    assert (larger > whole).mean() > 0.9
    assert larger.mean() > 10 * whole.mean()


def test_the_foreground_error_counts_the_subject_alone(scenes: list[Scene]) -> None:
    scene = scenes[0]
    truth, mask = scene.condition.image, scene.condition.mask
    image = truth.copy()
    assert foreground_error(image, truth, mask) == 0.0
    image[mask == 255] = 0
    assert foreground_error(image, truth, mask) == 0.0
    image[mask == 0] = 255 - truth[mask == 0]
    expected = np.abs(255.0 - 2 * truth[mask == 0].astype(float)).mean() / 255
    assert foreground_error(image, truth, mask) == pytest.approx(expected, abs=1e-6)
