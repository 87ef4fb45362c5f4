"""The world itself: geometry, scenes, and the judge against the geometry that the scenes were drawn with."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from trainer.spatialworld.geometry import CAMERA_HEIGHT, SIZE, Spec, scale_error, verdict_of
from trainer.spatialworld.judge import judge, judge_many, roughness
from trainer.spatialworld.scenes import PLANS, Condition, condition_at, make_scene, scene_at
from trainer.spatialworld.subjects import KINDS, all_subjects, subjects_of

CAR = Spec("car", "level", 1.5, ("road",), (32.0, 48.0), (17.0, 33.0, 47.0, 48.0))


def test_the_horizon_cuts_everything_at_the_height_of_the_camera() -> None:
    horizon = CAR.horizon
    assert horizon is not None
    assert CAR.pixel_height / (CAR.base[1] - horizon) == pytest.approx(CAR.real_height / CAMERA_HEIGHT)
    assert scale_error(CAR, horizon) == pytest.approx(0.0, abs=1e-9)
    assert scale_error(CAR, CAR.base[1] - (CAR.base[1] - horizon) / 2) == pytest.approx(math.log(2))


def test_each_rule_names_its_reason() -> None:
    horizon = CAR.horizon
    assert horizon is not None
    assert verdict_of(CAR, "level", horizon, "road").rational is True
    assert verdict_of(CAR, "level", horizon + 9, "road").reasons == ("scale",)
    assert verdict_of(CAR, "level", horizon, "water").reasons == ("position",)
    assert verdict_of(CAR, "level", CAR.base[1] + 6, "road").reasons == ("position",)
    assert verdict_of(CAR, "top", None, "road").reasons == ("viewpoint",)
    assert verdict_of(CAR, "top", None, "grass").reasons == ("position", "viewpoint")


def test_margin_is_one_in_the_middle_and_negative_outside() -> None:
    horizon = CAR.horizon
    assert horizon is not None
    assert verdict_of(CAR, "level", horizon, "road").margin == pytest.approx(1.0)
    assert 0 < verdict_of(CAR, "level", horizon + 2, "road").margin < 1
    assert verdict_of(CAR, "level", horizon + 9, "road").margin < 0


def test_a_spec_survives_json() -> None:
    assert Spec.from_json(CAR.to_json()) == CAR


def test_scenes_depend_on_seed_and_index_alone() -> None:
    again = [scene_at(3, i).image for i in (5, 4)]
    assert np.array_equal(scene_at(3, 5).image, again[0])
    assert np.array_equal(scene_at(3, 4).image, again[1])
    assert not np.array_equal(scene_at(4, 5).image, again[0])


def test_a_condition_does_not_tell_what_will_be_broken() -> None:
    condition = condition_at(1, 2)
    rng = np.random.default_rng
    scenes = [make_scene(condition, plan, rng(0)) for plan in PLANS[condition.spec.viewpoint]]
    inside = condition.rgba[..., 3] == 1.0
    for scene in scenes:
        assert np.array_equal(scene.image[inside], scenes[0].image[inside])


def test_splits_share_no_identity_and_every_kind_is_in_both() -> None:
    train, validation = subjects_of("train"), subjects_of("validation")
    assert not {s.identity for s in train} & {s.identity for s in validation}
    assert {s.kind.name for s in train} == {s.kind.name for s in validation} == {kind.name for kind in KINDS}
    assert len(train) + len(validation) == len(all_subjects())
    assert len({subject.id for subject in all_subjects()}) == len(all_subjects())


def test_every_subject_fits_the_canvas() -> None:
    for index in range(60):
        condition = condition_at(11, index)
        assert 30 < condition.foreground.sum() < 0.5 * SIZE * SIZE
        edge = condition.foreground
        assert not (edge[0].any() or edge[-1].any() or edge[:, 0].any() or edge[:, -1].any())


def _judged(count: int) -> tuple[list[bool], list[str]]:
    scenes = [scene_at(123, i, "both") for i in range(count)]
    verdicts = judge_many(
        np.stack([scene.image for scene in scenes]),
        np.stack([scene.condition.mask for scene in scenes]),
        [scene.condition.spec for scene in scenes],
    )
    pairs = list(zip(verdicts, scenes, strict=True))
    agree = [v.rational == s.truth.rational and v.reasons == s.truth.reasons for v, s in pairs]
    return agree, [s.plan for s in scenes]


def test_the_judge_agrees_with_the_drawing_geometry() -> None:
    agree, plans = _judged(150)
    assert np.mean(agree) >= 0.99
    assert set(plans) == {"clean", "scale", "position", "viewpoint"}


def _blank(condition: Condition, value: np.ndarray) -> np.ndarray:
    image = condition.image.copy()
    image[~condition.foreground] = value[~condition.foreground]
    return image


def test_the_judge_cannot_tell_noise_or_colours_of_no_world() -> None:
    condition = condition_at(1, 0)
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    for value in (noise, np.full((SIZE, SIZE, 3), (200, 40, 200), dtype=np.uint8)):
        assert judge(_blank(condition, value), condition.mask, condition.spec).rational is None


def test_the_judge_reads_surface_and_light_and_never_the_subject() -> None:
    scene = scene_at(9, 3, "both", plan="clean")
    verdict = judge(scene.image, scene.condition.mask, scene.condition.spec)
    assert verdict.measured["surface"] == scene.background.surface
    assert verdict.measured["light"] == scene.background.light
    painted = scene.image.copy()
    painted[scene.condition.foreground] = (255, 0, 255)
    assert judge(painted, scene.condition.mask, scene.condition.spec) == verdict


def test_the_judge_refuses_other_sizes_in_words() -> None:
    with pytest.raises(ValueError, match="64x64"):
        judge(np.zeros((32, 32, 3), np.uint8), np.full((32, 32), 255, np.uint8), CAR)


def test_roughness_shows_noise() -> None:
    scene = scene_at(9, 3, "both", plan="clean")
    rng = np.random.default_rng(0)
    noisy = np.clip(scene.image + rng.normal(0, 20, scene.image.shape), 0, 255).astype(np.uint8)
    mask = scene.condition.mask[None]
    assert roughness(noisy[None], mask)[0] > 2 * roughness(scene.image[None], mask)[0]


def test_a_larger_subject_needs_a_lower_distance_to_the_horizon() -> None:
    taller = replace(CAR, real_height=3.0)
    assert taller.horizon is not None and CAR.horizon is not None
    assert taller.horizon > CAR.horizon
