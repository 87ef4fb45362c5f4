"""A pen for flat shapes in a subject's own units, and colour helpers. Pillow and numpy only."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Points = list[tuple[float, float]]

SUPERSAMPLE = 6
"""Subjects are drawn at six times the final resolution: edges come out clean."""


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """The colour ``share`` of the way from a to b."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


def darker(colour: Colour, share: float = 0.3) -> Colour:
    """The colour in shade."""
    return mix(colour, (18, 20, 34), share)


def lighter(colour: Colour, share: float = 0.3) -> Colour:
    """The colour in light."""
    return mix(colour, (255, 252, 244), share)


class Pen:
    """Draws in units of the subject's height: x to the right from its middle, y up from its base (0) to its top (1).

    For a subject drawn from above y runs from the back (0) to the front (1). ``flip`` mirrors left and right.
    """

    def __init__(self, pixel_height: float, aspect: float, flip: bool = False) -> None:
        self.scale = pixel_height * SUPERSAMPLE
        self.pad = SUPERSAMPLE
        self.width = self.scale * aspect
        size = (round(self.width) + 2 * self.pad, round(self.scale) + 2 * self.pad)
        self.image = Image.new("RGBA", size, (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.image)
        self.flip = flip

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Unit coordinates to pixels of the supersampled sheet."""
        x = -x if self.flip else x
        return (self.pad + self.width / 2 + x * self.scale, self.pad + (1.0 - y) * self.scale)

    def polygon(self, points: Points, colour: Colour) -> None:
        """A filled polygon."""
        self.draw.polygon([self.at(*point) for point in points], fill=(*colour, 255))

    def _corners(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        (ax, ay), (bx, by) = self.at(x0, y0), self.at(x1, y1)
        return (min(ax, bx), min(ay, by), max(ax, bx), max(ay, by))

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, radius: float = 0.0) -> None:
        """A filled rectangle with rounded corners."""
        self.draw.rounded_rectangle(self._corners(x0, y0, x1, y1), radius * self.scale, fill=(*colour, 255))

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """A filled ellipse around (x, y)."""
        self.draw.ellipse(self._corners(x - rx, y - ry, x + rx, y + ry), fill=(*colour, 255))

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """A filled circle."""
        self.ellipse(x, y, radius, radius, colour)

    def line(self, points: Points, width: float, colour: Colour) -> None:
        """A thick line with round ends."""
        placed = [self.at(*point) for point in points]
        wide = max(1, round(width * self.scale))
        self.draw.line(placed, fill=(*colour, 255), width=wide, joint="curve")
        for x, y in placed:
            self.draw.ellipse((x - wide / 2, y - wide / 2, x + wide / 2, y + wide / 2), fill=(*colour, 255))


def place(sheet: Image.Image, left: float, top: float, size: int, turn: float = 0.0) -> np.ndarray:
    """Put a pen's sheet on a canvas of ``size`` pixels with its inner top left corner at (left, top).

    ``turn`` rotates it around its middle, in degrees. Returns float32 [size, size, 4], colour not multiplied by alpha,
    alpha in [0, 1]; colours under alpha 0 are 0.
    """
    big = Image.new("RGBA", (size * SUPERSAMPLE, size * SUPERSAMPLE), (0, 0, 0, 0))
    x, y = left * SUPERSAMPLE - SUPERSAMPLE, top * SUPERSAMPLE - SUPERSAMPLE
    if turn:
        middle = (x + sheet.width / 2, y + sheet.height / 2)
        sheet = sheet.rotate(turn, resample=Image.Resampling.BICUBIC, expand=True)
        x, y = middle[0] - sheet.width / 2, middle[1] - sheet.height / 2
    big.paste(sheet, (round(x), round(y)))
    pixels = np.asarray(big, dtype=np.float32).reshape(size, SUPERSAMPLE, size, SUPERSAMPLE, 4)
    alpha = pixels[..., 3:] / 255.0
    cover = alpha.mean(axis=(1, 3))
    colour = (pixels[..., :3] * alpha).mean(axis=(1, 3)) / np.maximum(cover, 1e-3)
    return np.concatenate([np.where(cover > 0, colour, 0.0), cover], axis=-1).astype(np.float32)
