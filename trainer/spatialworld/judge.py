"""The exact judge: reads horizon, surface and light from the background's pixels, and applies the three rules.

Every colour of the world is known, so a pixel has a likelihood under "ground of this surface in this light" and under
"something above the ground in this light". The reading is the (surface, light, horizon row) under which all background
pixels are most likely; a plane seen from above is the reading without rows above the ground. The subject's pixels are
never looked at. Numpy only; a thousand images take about two seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from trainer.spatialworld.backgrounds import GROUND, HAZE, SKY, TINT
from trainer.spatialworld.geometry import LIGHTS, SIZE, SURFACES, Spec, Verdict, verdict_of

SPREAD = 7.0
"""Standard deviation of a colour channel around its palette value that the judge allows for."""
FLOOR = -8.0
"""Log-likelihood of a colour that the hypothesis can't explain."""
TOP_ROWS = 3
"""With at most this many rows above the ground the view counts as from above."""
FIT = -3.0
"""Least mean log-likelihood of a background that can be read."""
CLARITY = 0.5
"""Least advantage, in log-likelihood per pixel column, over a reading with another horizon or surface."""


@dataclass(frozen=True)
class Reading:
    """What the pixels say. ``horizon`` is a row or None for a plane seen from above; ``fit`` and ``clarity`` say how
    well the reading explains the background and how far it is ahead of the next different one."""

    surface: str
    light: str
    horizon: float | None
    fit: float
    clarity: float

    @property
    def clear(self) -> bool:
        """Whether the reading can be trusted."""
        return self.fit >= FIT and self.clarity >= CLARITY


def _line(a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    return a + (b - a) * np.linspace(0, 1, count)[:, None]


def _ground_colours(surface: str, light: str) -> tuple[np.ndarray, np.ndarray]:
    main, mark = (np.asarray(c, dtype=np.float32) * np.asarray(TINT[light]) for c in GROUND[surface])
    shades = [0.90, 0.94, 0.98, 1.02, 1.06]
    colours = np.concatenate([_line(main, mark, 7) * shade for shade in shades])
    blend = np.tile(np.linspace(0, 1, 7), len(shades))
    weight = np.zeros_like(blend) if surface in ("grass", "floor") else -1.5 * (blend > 0.1)
    shadow = _line(main, np.asarray((7, 8, 21), dtype=np.float32), 5)[1:]
    return np.concatenate([colours, shadow]), np.concatenate([weight, np.full(len(shadow), -2.5)])


def _sky_colours(light: str) -> tuple[np.ndarray, np.ndarray]:
    top, middle, low = (np.asarray(c, dtype=np.float32) for c in SKY[light])
    haze = np.asarray(HAZE[light], dtype=np.float32)
    sky = np.concatenate([_line(top, middle, 10), _line(middle, low, 10), _line(low, haze, 4)[1:]])
    bright = {"day": (250, 252, 255), "dusk": (255, 240, 190), "night": (246, 240, 208), "overcast": (208, 212, 214)}
    clouds = _line(middle, np.asarray(bright[light], dtype=np.float32), 6)[1:]
    return np.concatenate([sky, clouds]), np.concatenate([np.zeros(len(sky)), np.full(len(clouds), -1.5)])


@cache
def _palettes() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Colours [P, 3] and log-weights [P] of 16 grounds (surface by light) and 4 skies."""
    kinds = [_ground_colours(surface, light) for surface in SURFACES for light in LIGHTS]
    kinds += [_sky_colours(light) for light in LIGHTS]
    return tuple((colours.astype(np.float32), weights.astype(np.float32)) for colours, weights in kinds)


def _likelihood(colours: np.ndarray) -> np.ndarray:
    """Log-likelihood of colours float32 [N, 3] under 16 grounds and 4 skies: float32 [N, 20]."""
    square = (colours**2).sum(axis=1)[:, None]
    columns = []
    for palette, weight in _palettes():
        distance = square - 2 * colours @ palette.T + (palette**2).sum(axis=1)
        columns.append((weight - distance / (2 * SPREAD**2)).max(axis=1))
    return np.maximum(np.stack(columns, axis=1), FLOOR).astype(np.float32)


@cache
def _memory() -> tuple[np.ndarray, np.ndarray]:
    """Likelihoods of the colours met so far, at 6 bits a channel: bool [262144] and float32 [262144, 20]."""
    return np.zeros(1 << 18, dtype=bool), np.zeros((1 << 18, 20), dtype=np.float32)


def _row_sums(images: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Sum of log-likelihoods over the background of each row: float32 [N, H, 20]."""
    known, table = _memory()
    bins = images.astype(np.int32) >> 2
    index = (bins[..., 0] << 12) | (bins[..., 1] << 6) | bins[..., 2]
    new = np.unique(index[~known[index]])
    if len(new):
        colours = np.stack([new >> 12, (new >> 6) & 63, new & 63], axis=1).astype(np.float32) * 4 + 1.5
        table[new] = _likelihood(colours)
        known[new] = True
    return np.asarray(np.einsum("nhwc,nhw->nhc", table[index], background.astype(np.float32), optimize=True))


def read(images: np.ndarray, masks: np.ndarray) -> list[Reading]:
    """Read backgrounds: ``images`` uint8 [N, H, W, 3], ``masks`` [N, H, W] with 255 (or True) = background."""
    background = masks > (127 if masks.dtype == np.uint8 else 0)
    readings: list[Reading] = []
    for start in range(0, len(images), 64):
        part = slice(start, start + 64)
        rows = _row_sums(images[part], background[part])
        readings += _decide(rows, background[part])
    return readings


def _decide(rows: np.ndarray, background: np.ndarray) -> list[Reading]:
    n, height, _ = rows.shape
    ground = rows[..., :16].reshape(n, height, 4, 4)
    above = rows[..., 16:][:, :, None, :]
    zero = np.zeros((n, 1, 4, 4))
    below_sum = np.concatenate([np.cumsum(ground[:, ::-1], axis=1)[:, ::-1], zero], axis=1)
    above_sum = np.concatenate([zero[:, :, :1], np.cumsum(above, axis=1)], axis=1)
    total = below_sum + above_sum
    total[:, 1 : TOP_ROWS + 1] = -np.inf
    flat = total.reshape(n, -1)
    best = flat.argmax(axis=1)
    row, surface, light = np.unravel_index(best, total.shape[1:])
    pixels = np.maximum(background.sum(axis=(1, 2)), 1)
    width = background.shape[2]
    readings = []
    for i in range(n):
        value = flat[i, best[i]]
        others = total[i].copy()
        near = slice(max(row[i] - 3, 0), row[i] + 4)
        others[near, surface[i], :] = -np.inf
        readings.append(
            Reading(
                surface=SURFACES[surface[i]],
                light=LIGHTS[light[i]],
                horizon=None if row[i] == 0 else float(row[i]),
                fit=float(value / pixels[i]),
                clarity=float((value - others.max()) / width),
            )
        )
    return readings


def verdict_for(reading: Reading, spec: Spec) -> Verdict:
    """Apply the rules to a reading; ``rational`` is None where it isn't clear."""
    verdict = verdict_of(spec, "top" if reading.horizon is None else "level", reading.horizon, reading.surface)
    measured = verdict.measured | {"light": reading.light, "fit": reading.fit, "clarity": reading.clarity}
    if not reading.clear:
        return Verdict(rational=None, reasons=(), margin=0.0, measured=measured)
    return Verdict(verdict.rational, verdict.reasons, verdict.margin, measured)


def judge(image: np.ndarray, mask: np.ndarray, spec: Spec) -> Verdict:
    """Judge one image: uint8 [H, W, 3], mask [H, W] with 255 = background.

    Raises ValueError for another shape than the world's.
    """
    return judge_many(image[None], mask[None], [spec])[0]


def judge_many(images: np.ndarray, masks: np.ndarray, specs: Sequence[Spec]) -> list[Verdict]:
    """Judge a stack: ``images`` uint8 [N, 64, 64, 3], ``masks`` [N, 64, 64], one spec each."""
    if images.shape[1:] != (SIZE, SIZE, 3) or masks.shape != images.shape[:3] or len(specs) != len(images):
        raise ValueError(
            f"The judge reads images of {SIZE}x{SIZE} pixels with one mask and one spec each; got images "
            f"{images.shape}, masks {masks.shape} and {len(specs)} specs. Resize the images first."
        )
    return [verdict_for(reading, spec) for reading, spec in zip(read(images, masks), specs, strict=True)]


def roughness(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Mean horizontal difference in the background, in [0, 1]: float [N]. Noise shows in it."""
    pixels = images.astype(np.float32) / 255.0
    background = (masks > 127).astype(np.float32)
    pairs = background[:, :, 1:] * background[:, :, :-1]
    steps = np.abs(np.diff(pixels, axis=2)).mean(axis=-1)
    return np.asarray((steps * pairs).sum(axis=(1, 2)) / np.maximum(pairs.sum(axis=(1, 2)), 1))
