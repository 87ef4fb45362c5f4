"""CAPO's crop windows (our reading of "differentiated cropping operations").

Both windows of a pair come from one distribution, else "was cropped" would tell the winner from the loser. A window
has the canvas's proportions; its content is scaled back to the canvas, so that full images and crops fit one batch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainer.contract.objective import CapoConfig
from trainer.noise import generator

TRIES = 64
"""Windows drawn before the constraints count as impossible for a mask and the nearest miss is taken."""


class Window(NamedTuple):
    """A crop in pixels: [top, top+height) x [left, left+width)."""

    top: int
    left: int
    height: int
    width: int

    def covers(self, shape: tuple[int, int]) -> bool:
        """Whether it is the whole of an image of this (height, width)."""
        return (self.height, self.width) == shape


Pixels = npt.NDArray[np.uint8]


class SubjectMask:
    """A mask [H,W] (255 = background, 0 = subject) that answers how much subject a window holds in constant time."""

    def __init__(self, mask: Pixels) -> None:
        self.shape = (int(mask.shape[0]), int(mask.shape[1]))
        self._sums = np.zeros((self.shape[0] + 1, self.shape[1] + 1), np.int64)
        self._sums[1:, 1:] = (mask < 128).cumsum(0).cumsum(1)
        self.subject = int(self._sums[-1, -1])

    def inside(self, window: Window) -> int:
        """Subject pixels inside a window."""
        top, left, sums = window.top, window.left, self._sums
        bottom, right = top + window.height, left + window.width
        return int(sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left])


def draw_windows(mask: SubjectMask, config: CapoConfig, seed: int, item: str, draw: int) -> tuple[Window, Window]:
    """The winner's and the loser's window for a mask; the same for equal (seed, item, draw).

    Reading A draws two clearly different windows, and a coin says whose is whose: the second is drawn to differ from
    the first, so it is the smaller one more often. Readings B and C leave the winner whole.
    """
    whole = Window(0, 0, *mask.shape)
    random = generator(seed, "crop", item, draw)
    if config.reading != "independent_crops":
        return whole, _fitting(mask, config, random, whole)
    first = _fitting(mask, config, random, None)
    second = _fitting(mask, config, random, first)
    return (first, second) if random.random() < 0.5 else (second, first)


def _fitting(mask: SubjectMask, config: CapoConfig, random: np.random.Generator, other: Window | None) -> Window:
    best, shortfall = Window(0, 0, *mask.shape), float("inf")
    for _ in range(TRIES):
        window = _draw(mask.shape, config, random)
        missing = _shortfall(mask, window, config, other)
        if missing <= 0:
            return window
        if missing < shortfall:
            best, shortfall = window, missing
    return best


def _draw(shape: tuple[int, int], config: CapoConfig, random: np.random.Generator) -> Window:
    scale = random.uniform(config.scale_min, config.scale_max)
    height, width = max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
    top = int(random.integers(0, shape[0] - height + 1))
    left = int(random.integers(0, shape[1] - width + 1))
    return Window(top, left, height, width)


def _shortfall(mask: SubjectMask, window: Window, config: CapoConfig, other: Window | None) -> float:
    """By how much a window misses the constraints; 0 when it meets them."""
    inside = mask.inside(window)
    kept = inside / max(1, mask.subject)
    background = 1 - inside / (window.height * window.width)
    missing = max(0.0, config.min_foreground - kept) + max(0.0, config.min_background - background)
    if other is not None:
        missing += max(0.0, config.min_difference - (1 - overlap(window, other)))
    return missing


def overlap(a: Window, b: Window) -> float:
    """Intersection over union of two windows."""
    height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    shared = max(0, height) * max(0, width)
    return shared / (a.height * a.width + b.height * b.width - shared)


def crop(pixels: npt.NDArray, window: Window) -> npt.NDArray:
    """The pixels [H,W,...] inside a window."""
    return pixels[window.top : window.top + window.height, window.left : window.left + window.width]


def crop_and_scale(pixels: Pixels, window: Window) -> Pixels:
    """The window's content scaled to the size of `pixels`: bicubic for RGB [H,W,3], nearest for a mask [H,W].

    The mask stays as hard as it was, so that masking and cropping commute.
    """
    if (window.height, window.width) == pixels.shape[:2]:
        return pixels
    inside = Image.fromarray(np.ascontiguousarray(crop(pixels, window)))
    method = Image.Resampling.NEAREST if pixels.ndim == 2 else Image.Resampling.BICUBIC
    return np.asarray(inside.resize((pixels.shape[1], pixels.shape[0]), method))
