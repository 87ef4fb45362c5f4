"""Backgrounds: sky, light, a ground plane with perspective texture (or seen from above), and scale cues.

Drawn in numpy at three times the final resolution and averaged down. Nothing here knows the subject but its shadow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from trainer.spatialworld.drawing import Colour, mix
from trainer.spatialworld.geometry import CAMERA_HEIGHT, FOCAL, SIZE

SUPER = 3
SIDE = SIZE * SUPER

Array = np.ndarray

SKY: dict[str, tuple[Colour, Colour, Colour]] = {
    "day": ((84, 158, 232), (140, 196, 244), (208, 232, 248)),
    "dusk": ((86, 70, 146), (226, 112, 112), (255, 200, 124)),
    "night": ((12, 16, 46), (34, 40, 92), (84, 88, 150)),
    "overcast": ((146, 154, 164), (176, 184, 190), (208, 212, 214)),
}
"""Colours at the top, in the middle and at the horizon."""
TINT: dict[str, tuple[float, float, float]] = {
    "day": (1.0, 1.0, 1.0),
    "dusk": (0.88, 0.60, 0.62),
    "night": (0.27, 0.32, 0.50),
    "overcast": (0.72, 0.74, 0.77),
}
GROUND: dict[str, tuple[Colour, Colour]] = {
    "road": ((98, 100, 108), (238, 236, 226)),
    "grass": ((112, 184, 76), (88, 160, 62)),
    "water": ((30, 116, 158), (112, 186, 208)),
    "floor": ((228, 178, 132), (186, 112, 78)),
}
"""Main colour and mark (lane lines, mown stripes, ripples, second tile) by day."""
HAZE: dict[str, Colour] = {
    "day": (150, 176, 206),
    "dusk": (156, 92, 116),
    "night": (40, 46, 88),
    "overcast": (150, 158, 168),
}
"""Colour of far hills."""


@dataclass(frozen=True)
class Background:
    """What to draw. ``horizon`` is a row, or None for a plane seen from above; ``shadow`` is (x, y, rx, ry)."""

    surface: str
    light: str
    horizon: float | None
    vanishing: float
    phase: float
    cues: int
    shadow: tuple[float, float, float, float] | None
    seed: int


def _tinted(colour: Colour, light: str) -> Array:
    return np.asarray(colour, dtype=np.float32) * np.asarray(TINT[light], dtype=np.float32)


def _coordinates() -> tuple[Array, Array]:
    axis = (np.arange(SIDE, dtype=np.float32) + 0.5) / SUPER
    return axis[None, :], axis[:, None]


_X, _Y = _coordinates()


def _sky(horizon: float, light: str) -> Array:
    top, middle, low = (np.asarray(colour, dtype=np.float32) for colour in SKY[light])
    share = np.clip(_Y / max(horizon, 1.0), 0.0, 1.0)[..., None]
    upper = top + (middle - top) * np.clip(share / 0.6, 0, 1)
    rows = np.where(share < 0.6, upper, middle + (low - middle) * np.clip((share - 0.6) / 0.4, 0, 1))
    return np.broadcast_to(rows, (SIDE, SIDE, 3)).copy()


def _marks_level(surface: str, x: Array, z: Array, phase: float) -> Array:
    """Coverage of the mark colour in [0, 1] over ground coordinates in metres, x to the right, z away."""
    if surface == "road":
        lane = np.abs(np.mod(x + 1.7, 3.4) - 1.7)
        return (lane < 0.11) * (np.mod(z + phase * 5.0, 5.0) < 2.6) * (np.abs(x) < 5.5)
    if surface == "grass":
        return np.broadcast_to(np.mod(x + phase * 4.4, 4.4) < 2.2, np.broadcast_shapes(x.shape, z.shape))
    if surface == "floor":
        far = np.clip((z - 9.0) / 9.0, 0.0, 1.0)
        checks = np.mod(np.floor(x / 1.1 + 0.5) + np.floor(z / 1.1 + phase), 2)
        return checks * (1 - far) + 0.5 * far
    return np.zeros(np.broadcast_shapes(x.shape, z.shape), dtype=np.float32)


def _marks_top(surface: str, phase: float) -> Array:
    if surface == "road":
        lane = np.abs(np.mod(_X - 32 + 11, 22) - 11)
        return (lane < 0.8) * (np.mod(_Y + phase * 16, 16) < 8.5)
    if surface == "grass":
        return np.broadcast_to(np.mod(_X + phase * 22, 22) < 11, (SIDE, SIDE))
    if surface == "floor":
        return np.mod(np.floor((_X + phase * 18) / 9) + np.floor((_Y + phase * 18) / 9), 2)
    return np.zeros((SIDE, SIDE), dtype=np.float32)


def _ground(scene: Background, horizon: float | None) -> Array:
    main, mark = (_tinted(colour, scene.light) for colour in GROUND[scene.surface])
    if horizon is None:
        cover = _marks_top(scene.surface, scene.phase)
        return main + (mark - main) * cover[..., None].astype(np.float32)
    depth = np.maximum(_Y - horizon, 1.0 / SUPER)
    x = (_X - scene.vanishing) * CAMERA_HEIGHT / depth
    z = FOCAL * CAMERA_HEIGHT / depth
    cover = np.asarray(_marks_level(scene.surface, x, z, scene.phase), dtype=np.float32)
    image = main + (mark - main) * cover[..., None]
    near = np.clip((_Y - horizon) / 40.0, 0.0, 1.0)[..., None]
    return image * (0.90 + 0.18 * near)


def _ripples(image: Array, scene: Background, horizon: float | None, rng: np.random.Generator) -> None:
    """Light strokes on water: smaller and flatter towards the horizon, or all alike from above."""
    canvas = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    colour = tuple(int(v) for v in _tinted(GROUND["water"][1], scene.light))
    top_down = horizon is None
    for i in range(20 if top_down else 26):
        if horizon is None:
            y, length, thick = (i + 0.5) * SIZE / 20 + rng.uniform(-1, 1), rng.uniform(5, 8), 0.8
        else:
            share = ((i + 0.5) / 26) ** 1.5
            y = horizon + 1.5 + share * (SIZE - horizon)
            length, thick = 1.5 + 0.30 * (y - horizon), 0.35 + 0.022 * (y - horizon)
        x = rng.uniform(-2, SIZE)
        box = [x * SUPER, y * SUPER, (x + length) * SUPER, (y + (3.2 if top_down else 2 * thick)) * SUPER]
        if top_down:
            draw.arc(box, 190, 350, fill=colour, width=round(thick * SUPER))
        else:
            draw.ellipse(box, fill=colour)
    image[:] = np.asarray(canvas, dtype=np.float32)


def _heavens(draw: ImageDraw.ImageDraw, light: str, horizon: float, rng: np.random.Generator) -> None:
    if light == "night":
        for _ in range(7):
            x, y = rng.uniform(2, 62), rng.uniform(2, max(horizon * 0.7, 3))
            draw.ellipse(
                [(x - 0.5) * SUPER, (y - 0.5) * SUPER, (x + 0.5) * SUPER, (y + 0.5) * SUPER], fill=(226, 228, 246)
            )
        x, y, r = rng.uniform(8, 56), rng.uniform(5, max(horizon * 0.45, 6)), 3.2
        draw.ellipse([(x - r) * SUPER, (y - r) * SUPER, (x + r) * SUPER, (y + r) * SUPER], fill=(246, 240, 208))
    elif light == "dusk":
        x, r = rng.uniform(10, 54), 5.5
        draw.ellipse(
            [(x - r) * SUPER, (horizon - 2 - r) * SUPER, (x + r) * SUPER, (horizon - 2 + r) * SUPER],
            fill=(255, 240, 190),
        )
    elif light == "day":
        for _ in range(2):
            x, y, w = rng.uniform(4, 60), rng.uniform(4, max(horizon * 0.55, 5)), rng.uniform(5, 8)
            for dx, dy, r in ((-0.5, 0.0, 0.22), (0.0, -0.14, 0.32), (0.5, 0.0, 0.22), (0.0, 0.06, 0.22)):
                cx, cy, wide, high = x + dx * w, y + dy * w, r * w * 1.5, r * w
                draw.ellipse(
                    [(cx - wide) * SUPER, (cy - high) * SUPER, (cx + wide) * SUPER, (cy + high) * SUPER],
                    fill=(250, 252, 255),
                )


def _hills(draw: ImageDraw.ImageDraw, light: str, horizon: float, rng: np.random.Generator) -> None:
    for x in (rng.uniform(-4, 24), rng.uniform(40, 68)):
        w, h = rng.uniform(18, 28), rng.uniform(2.5, 4.5)
        draw.ellipse([(x - w) * SUPER, (horizon - h) * SUPER, (x + w) * SUPER, (horizon + h) * SUPER], fill=HAZE[light])


Cue = Callable[[ImageDraw.ImageDraw, str, float, float, float], None]


def _shape(light: str, colour: Colour) -> Colour:
    tint = TINT[light]
    return (round(colour[0] * tint[0]), round(colour[1] * tint[1]), round(colour[2] * tint[2]))


def _rect(draw: ImageDraw.ImageDraw, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
    draw.rectangle([x0 * SUPER, y0 * SUPER, x1 * SUPER, y1 * SUPER], fill=colour)


def _tree(draw: ImageDraw.ImageDraw, light: str, x: float, base: float, metre: float) -> None:
    _rect(draw, x - 0.25 * metre, base - 2.6 * metre, x + 0.25 * metre, base, _shape(light, (104, 74, 52)))
    for dx, y, r, tone in ((0.0, 4.4, 2.2, (44, 108, 66)), (-0.4, 4.9, 1.5, (62, 132, 76))):
        cx, cy = x + dx * metre, base - y * metre
        draw.ellipse(
            [(cx - r * metre) * SUPER, (cy - r * metre) * SUPER, (cx + r * metre) * SUPER, (cy + r * metre) * SUPER],
            fill=_shape(light, tone),
        )


def _house(draw: ImageDraw.ImageDraw, light: str, x: float, base: float, metre: float) -> None:
    wall, roof = _shape(light, (238, 222, 196)), _shape(light, (168, 78, 66))
    _rect(draw, x - 3.2 * metre, base - 4.0 * metre, x + 3.2 * metre, base, wall)
    draw.polygon(
        [
            ((x - 3.8 * metre) * SUPER, (base - 3.9 * metre) * SUPER),
            (x * SUPER, (base - 6.6 * metre) * SUPER),
            ((x + 3.8 * metre) * SUPER, (base - 3.9 * metre) * SUPER),
        ],
        fill=roof,
    )
    lit = (255, 222, 130) if light in ("night", "dusk") else _shape(light, (92, 116, 140))
    for dx in (-1.7, 1.7):
        _rect(draw, x + (dx - 0.65) * metre, base - 2.9 * metre, x + (dx + 0.65) * metre, base - 1.6 * metre, lit)


def _lamp(draw: ImageDraw.ImageDraw, light: str, x: float, base: float, metre: float) -> None:
    post = _shape(light, (66, 72, 84))
    half = max(0.13 * metre, 0.24)
    _rect(draw, x - half, base - 5.0 * metre, x + half, base, post)
    r = max(0.5 * metre, 0.55)
    glow = (255, 232, 150) if light in ("night", "dusk") else (244, 240, 222)
    draw.ellipse(
        [(x - r) * SUPER, (base - 5.3 * metre - r) * SUPER, (x + r) * SUPER, (base - 5.3 * metre + r) * SUPER],
        fill=glow,
    )


def _beacon(draw: ImageDraw.ImageDraw, light: str, x: float, base: float, metre: float) -> None:
    for i, colour in enumerate(((240, 238, 230), (206, 62, 56), (240, 238, 230), (206, 62, 56))):
        half = (1.0 - 0.1 * i) * metre
        _rect(draw, x - half, base - (i + 1) * 1.8 * metre, x + half, base - i * 1.8 * metre, _shape(light, colour))
    _rect(draw, x - 0.6 * metre, base - 8.4 * metre, x + 0.6 * metre, base - 7.2 * metre, (255, 232, 150))


CUES: dict[str, tuple[Cue, ...]] = {
    "road": (_lamp, _house),
    "grass": (_tree,),
    "water": (_beacon,),
    "floor": (_lamp, _tree),
}


def _cue_row(draw: ImageDraw.ImageDraw, scene: Background, horizon: float, rng: np.random.Generator) -> None:
    """Things of known size at about 60 m, so that their feet are within two pixels of the horizon."""
    kinds = CUES[scene.surface]
    drop = 1.7
    metre = drop / CAMERA_HEIGHT
    count = scene.cues if scene.surface != "water" else min(scene.cues, 1)
    slots = rng.permutation(5)[:count]
    for slot in sorted(slots):
        x = 6.4 + slot * 12.8 + rng.uniform(-2.5, 2.5)
        cue = kinds[int(rng.integers(len(kinds)))]
        cue(draw, scene.light, x, horizon + (drop if scene.surface != "water" else 0.5), metre)


def draw_background(scene: Background) -> Array:
    """Draw it: float32 [64, 64, 3] in 0..255, without the subject but with its soft shadow."""
    rng = np.random.default_rng(scene.seed)
    horizon = scene.horizon
    if horizon is None:
        image = np.broadcast_to(_ground(scene, None), (SIDE, SIDE, 3)).copy()
        if scene.surface == "water":
            _ripples(image, scene, None, rng)
    else:
        above = Image.fromarray(np.clip(_sky(horizon, scene.light), 0, 255).astype(np.uint8))
        draw = ImageDraw.Draw(above)
        _heavens(draw, scene.light, horizon, rng)
        _hills(draw, scene.light, horizon, rng)
        ground = _ground(scene, horizon)
        if scene.surface == "water":
            _ripples(ground, scene, horizon, rng)
        image = np.where((horizon <= _Y)[..., None], ground, np.asarray(above, dtype=np.float32))
        canvas = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
        _cue_row(ImageDraw.Draw(canvas), scene, horizon, rng)
        image = np.asarray(canvas, dtype=np.float32)
    image = image.reshape(SIZE, SUPER, SIZE, SUPER, 3).mean(axis=(1, 3))
    return _shade(image, scene)


def _shade(image: Array, scene: Background) -> Array:
    """Lay the subject's soft shadow over the ground."""
    if scene.shadow is None:
        return image.astype(np.float32)
    x, y, rx, ry = scene.shadow
    axis = np.arange(SIZE, dtype=np.float32) + 0.5
    distance = ((axis[None, :] - x) / rx) ** 2 + ((axis[:, None] - y) / ry) ** 2
    strength = 0.5 * np.clip(1.5 - distance, 0.0, 1.0)
    if scene.horizon is not None:
        strength = strength * (axis[:, None] > scene.horizon)
    dark = np.asarray(mix((10, 12, 30), (0, 0, 0), 0.3), dtype=np.float32)
    return (image + (dark - image) * strength[..., None]).astype(np.float32)
