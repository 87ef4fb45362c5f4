"""Scenes: a condition (subject, place, prompt) and a background that keeps the rules or breaks a chosen one.

The condition is always drawn first and never depends on what will be broken, so nothing in it betrays the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from trainer.spatialworld.backgrounds import Background, draw_background
from trainer.spatialworld.drawing import place
from trainer.spatialworld.geometry import CAMERA_HEIGHT, LIGHTS, SIZE, SURFACES, Spec, Verdict, verdict_of
from trainer.spatialworld.portraits import draw_subject
from trainer.spatialworld.subjects import Split, Subject, subjects_of
from trainer.spatialworld.text import write_prompt

Plan = Literal["clean", "scale", "position", "viewpoint"]

GREY = 128
"""The canvas around a condition's subject: the value that Fill pipelines put where they will paint."""
TOP_SHARE = 0.24
"""Share of conditions whose subject is drawn from above."""
PLANS: dict[str, dict[Plan, float]] = {
    "level": {"clean": 0.34, "scale": 0.26, "position": 0.20, "viewpoint": 0.20},
    "top": {"clean": 0.34, "position": 0.32, "viewpoint": 0.34},
}
"""Shares of the training scenes by the subject's drawn viewpoint: 66 % break a rule."""


@dataclass(frozen=True)
class Condition:
    """A subject on the canvas. ``rgba`` is float32 [64, 64, 4], colour 0..255 not multiplied by alpha 0..1."""

    id: str
    subject: Subject
    spec: Spec
    prompt: str
    rgba: np.ndarray

    @property
    def foreground(self) -> np.ndarray:
        """bool [64, 64]: where the subject is."""
        return np.asarray(self.rgba[..., 3] >= 0.5)

    @property
    def mask(self) -> np.ndarray:
        """uint8 [64, 64]: 255 = background, to be generated."""
        return np.where(self.foreground, 0, 255).astype(np.uint8)

    @property
    def image(self) -> np.ndarray:
        """uint8 [64, 64, 3]: the subject on mid-grey."""
        colour = np.where(self.foreground[..., None], self.rgba[..., :3], float(GREY))
        return np.clip(np.rint(colour), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Scene:
    """A condition with a background. ``image`` is uint8 [64, 64, 3]; ``truth`` the verdict of the drawing geometry."""

    condition: Condition
    background: Background
    image: np.ndarray
    truth: Verdict
    plan: Plan


def _placement(subject: Subject, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Pixel height, left, top, base row of a level subject that fits the frame with a fitting horizon."""
    ratio = subject.kind.height / CAMERA_HEIGHT
    low = max(10.0, 11.0 / ratio)
    high = min(37.0, 39.0 / ratio, 54.0 / (ratio * subject.kind.aspect))
    distance = rng.uniform(low, high)
    height = distance * ratio
    base = rng.uniform(max(36.0, 13.0 + distance, height + 3.0), min(54.0, 36.0 + distance))
    width = height * subject.kind.aspect
    return height, rng.uniform(2, SIZE - 2 - width), base - height, base


def make_condition(subject: Subject, rng: np.random.Generator, identifier: str) -> Condition:
    """Place a subject and write its prompt."""
    kind = subject.kind
    flip = bool(rng.integers(2)) and subject.viewpoint == "level"
    if subject.viewpoint == "level":
        height, left, top, base = _placement(subject, rng)
        aspect, turn, real = kind.aspect, 0.0, kind.height
        foot = (left + height * aspect / 2, base)
    else:
        aspect, real = kind.top_aspect or 1.0, kind.length
        height = rng.uniform(20, 34) if aspect < 0.5 else rng.uniform(15, 25)
        turn = float(rng.choice([0.0, 0.0, 90.0, -90.0, 180.0]))
        wide, high = (height, height * aspect) if turn in (90.0, -90.0) else (height * aspect, height)
        cx, cy = rng.uniform(4 + wide / 2, SIZE - 4 - wide / 2), rng.uniform(4 + high / 2, SIZE - 4 - high / 2)
        left, top, foot = cx - height * aspect / 2, cy - height / 2, (cx, cy)
    pen = draw_subject(subject, height, flip)
    rgba = place(pen.image, left, top, SIZE, turn)
    if turn in (90.0, -90.0):
        box = (foot[0] - height / 2, foot[1] - height * aspect / 2, foot[0] + height / 2, foot[1] + height * aspect / 2)
    else:
        box = (left, top, left + height * aspect, top + height)
    surface = str(rng.choice(kind.habitat)) if rng.random() < 0.75 else None
    light = str(rng.choice(LIGHTS)) if rng.random() < 0.75 else None
    spec = Spec(
        kind.name,
        subject.viewpoint,
        real,
        kind.habitat,
        (round(foot[0], 3), round(foot[1], 3)),
        (round(box[0], 3), round(box[1], 3), round(box[2], 3), round(box[3], 3)),
        surface,
        light,
    )
    return Condition(identifier, subject, spec, write_prompt(subject.name, surface, light, rng), rgba)


def _broken_horizon(spec: Spec, rng: np.random.Generator) -> float | None:
    """A horizon that makes the subject a giant or a dwarf, clearly; None if neither fits the frame."""
    right = spec.horizon
    assert right is not None
    distance = spec.base[1] - right
    giants = (max(distance / 3.2, 4.0), distance / 2.0)
    dwarfs = (distance * 2.0, min(distance * 3.0, spec.base[1] - 7.0))
    ranges = [span for span in (giants, dwarfs) if span[1] - span[0] > 0.3]
    if not ranges:
        return None
    low, high = ranges[int(rng.integers(len(ranges)))]
    return spec.base[1] - rng.uniform(low, high)


def _unfit(spec: Spec, rng: np.random.Generator) -> str:
    return str(rng.choice([surface for surface in SURFACES if surface not in spec.habitat]))


def _shadow(spec: Spec, horizon: float | None) -> tuple[float, float, float, float] | None:
    left, top, right, bottom = spec.box
    if spec.viewpoint == "top":
        if horizon is not None and horizon > spec.base[1] + 1.5:
            return None
        return ((left + right) / 2 + 1.6, (top + bottom) / 2 + 1.8, (right - left) * 0.47, (bottom - top) * 0.47)
    if horizon is not None and horizon > spec.base[1] + 1.5:
        return None
    return (spec.base[0], spec.base[1] - 0.2, (right - left) * 0.46, max(1.3, (right - left) * 0.055))


def _layout(spec: Spec, plan: Plan, rng: np.random.Generator) -> tuple[float | None, str]:
    """Horizon row (None: seen from above) and surface of a background that follows the plan."""
    fitting = spec.surface or str(rng.choice(spec.habitat))
    right = spec.horizon
    if plan == "viewpoint":
        if spec.viewpoint == "level":
            return None, fitting
        return rng.uniform(9, min(spec.base[1] - 1.0, 34)) if spec.base[1] > 12 else 9.0, fitting
    if plan == "position":
        if spec.viewpoint == "level" and rng.random() < 0.4:
            return rng.uniform(spec.base[1] + 4.0, 59.0), fitting
        return right, _unfit(spec, rng)
    if plan == "scale":
        broken = _broken_horizon(spec, rng)
        if broken is not None:
            return broken, fitting
    return right, fitting


def make_scene(condition: Condition, plan: Plan, rng: np.random.Generator) -> Scene:
    """Draw a background for a condition by plan, and judge it from the geometry it was drawn with."""
    spec = condition.spec
    horizon, surface = _layout(spec, plan, rng)
    light = spec.light or str(rng.choice(LIGHTS))
    background = Background(
        surface,
        light,
        horizon,
        float(rng.uniform(22, 42)),
        float(rng.random()),
        int(rng.integers(2, 5)),
        _shadow(spec, horizon),
        int(rng.integers(2**31)),
    )
    alpha = condition.rgba[..., 3:]
    image = draw_background(background) * (1 - alpha) + condition.rgba[..., :3] * alpha
    truth = verdict_of(spec, "top" if horizon is None else "level", horizon, surface)
    return Scene(condition, background, np.clip(np.rint(image), 0, 255).astype(np.uint8), truth, plan)


def draw_plan(spec: Spec, rng: np.random.Generator) -> Plan:
    """Choose what a training scene breaks, by ``PLANS``."""
    shares = PLANS[spec.viewpoint]
    return list(shares)[int(rng.choice(len(shares), p=list(shares.values())))]


def _generator(seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, index]))


def condition_at(seed: int, index: int, split: Split | Literal["both"] = "both") -> Condition:
    """The condition number ``index`` of a seed: always the same, whatever else is drawn."""
    rng = _generator(seed, index)
    viewpoint: Literal["level", "top"] = "top" if rng.random() < TOP_SHARE else "level"
    pool = subjects_of(split, viewpoint)
    kinds = sorted({subject.kind.name for subject in pool})
    kind = kinds[int(rng.integers(len(kinds)))]
    choices = [subject for subject in pool if subject.kind.name == kind]
    subject = choices[int(rng.integers(len(choices)))]
    return make_condition(subject, rng, f"{split}-{seed}-{index:05d}")


def scene_at(seed: int, index: int, split: Split | Literal["both"] = "train", plan: Plan | None = None) -> Scene:
    """The scene number ``index`` of a seed, by ``plan`` or by the training shares."""
    condition = condition_at(seed, index, split)
    rng = _generator(seed + 1_000_003, index)
    return make_scene(condition, plan or draw_plan(condition.spec, rng), rng)
