"""How each kind looks, from the side at eye level and from straight above. Units as in ``drawing.Pen``."""

from __future__ import annotations

import math
from collections.abc import Callable

from trainer.spatialworld.drawing import Colour, Pen, Points, darker, lighter, mix
from trainer.spatialworld.subjects import Subject

GLASS: Colour = (58, 78, 104)
TYRE: Colour = (34, 34, 42)
RIM: Colour = (196, 200, 208)
SKIN: Colour = (236, 182, 146)
WOOD: Colour = (150, 98, 56)
LAMP: Colour = (255, 236, 170)


def _wheel(pen: Pen, x: float, radius: float) -> None:
    pen.disc(x, radius, radius, TYRE)
    pen.disc(x, radius, radius * 0.5, RIM)


def _car(pen: Pen, look: str, c: Colour) -> None:
    shade = darker(c, 0.32)
    if look == "saloon":
        roof: Points = [(-0.80, 0.52), (-0.52, 0.98), (0.22, 1.0), (0.62, 0.56)]
        windows: list[Points] = [
            [(-0.64, 0.56), (-0.46, 0.89), (-0.16, 0.89), (-0.16, 0.56)],
            [(-0.07, 0.56), (-0.07, 0.89), (0.19, 0.89), (0.46, 0.56)],
        ]
    else:
        roof = [(-1.10, 0.52), (-0.98, 0.98), (0.10, 1.0), (0.62, 0.56)]
        windows = [
            [(-0.98, 0.56), (-0.90, 0.89), (-0.42, 0.89), (-0.42, 0.56)],
            [(-0.32, 0.56), (-0.32, 0.89), (0.06, 0.89), (0.44, 0.56)],
        ]
    pen.polygon(roof, c)
    pen.box(-1.23, 0.18, 1.23, 0.60, c, 0.14)
    pen.box(-1.23, 0.18, 1.23, 0.32, shade, 0.06)
    for window in windows:
        pen.polygon(window, GLASS)
    pen.box(1.10, 0.40, 1.23, 0.52, LAMP, 0.04)
    pen.box(-1.23, 0.40, -1.14, 0.52, (232, 80, 60), 0.03)
    for x in (-0.72, 0.74):
        pen.disc(x, 0.23, 0.28, darker(c, 0.55))
        _wheel(pen, x, 0.23)


def _bus(pen: Pen, _look: str, c: Colour) -> None:
    pen.box(-1.14, 0.10, 1.14, 1.0, c, 0.08)
    pen.box(-1.14, 0.92, 1.14, 1.0, lighter(c, 0.45), 0.04)
    pen.box(-1.14, 0.10, 1.14, 0.24, darker(c, 0.35), 0.03)
    for i in range(5):
        x = -1.05 + i * 0.38
        pen.box(x, 0.54, x + 0.31, 0.84, GLASS, 0.03)
    pen.box(0.88, 0.16, 1.08, 0.86, lighter(GLASS, 0.2), 0.03)
    pen.box(1.06, 0.28, 1.14, 0.36, LAMP, 0.02)
    for x in (-0.66, 0.62):
        _wheel(pen, x, 0.145)


def _person(pen: Pen, look: str, c: Colour) -> None:
    trousers = mix((46, 52, 84), c, 0.12)
    for x in (-0.055, 0.055):
        pen.line([(x, 0.45), (x * 1.25, 0.035)], 0.075, trousers)
        pen.ellipse(x * 1.25 + 0.02, 0.025, 0.055, 0.025, TYRE)
    hem = 0.30 if look == "coat" else 0.42
    pen.polygon([(-0.125, 0.80), (0.125, 0.80), (0.15, hem), (-0.15, hem)], c)
    pen.ellipse(0.0, 0.79, 0.125, 0.055, c)
    for x in (-0.155, 0.155):
        pen.line([(x * 0.85, 0.77), (x * 1.10, 0.50)], 0.065, darker(c, 0.22))
        pen.disc(x * 1.12, 0.465, 0.034, SKIN)
    pen.box(-0.03, 0.80, 0.03, 0.87, darker(SKIN, 0.12))
    pen.ellipse(0.0, 0.92, 0.075, 0.08, (66, 42, 32) if look == "coat" else (196, 138, 60))
    pen.ellipse(0.02, 0.905, 0.06, 0.065, SKIN)


def _dog(pen: Pen, look: str, c: Colour) -> None:
    shade = darker(c, 0.28)
    for x, tone in ((-0.36, shade), (0.16, shade), (-0.28, c), (0.26, c)):
        pen.line([(x, 0.38), (x, 0.045)], 0.085, tone)
    pen.line([(-0.44, 0.56), (-0.58, 0.88)], 0.075, c)
    pen.ellipse(-0.06, 0.50, 0.40, 0.175, c)
    pen.line([(0.26, 0.54), (0.36, 0.78)], 0.20, c)
    pen.disc(0.38, 0.82, 0.155, c)
    pen.box(0.40, 0.70, 0.61, 0.84, lighter(c, 0.2), 0.06)
    pen.disc(0.595, 0.80, 0.032, (24, 22, 26))
    pen.disc(0.43, 0.87, 0.026, (24, 22, 26))
    if look == "hound":
        pen.ellipse(0.28, 0.78, 0.07, 0.16, shade)
    else:
        pen.polygon([(0.24, 0.90), (0.28, 1.0), (0.38, 0.94)], shade)
    pen.line([(0.22, 0.64), (0.36, 0.62)], 0.05, (210, 60, 52))


def _sheep(pen: Pen, _look: str, c: Colour) -> None:
    leg = (70, 60, 58)
    for x in (-0.30, -0.16, 0.16, 0.30):
        pen.line([(x, 0.34), (x, 0.035)], 0.07, leg)
    for x, y, r in (
        (-0.36, 0.60, 0.22),
        (-0.14, 0.74, 0.25),
        (0.12, 0.74, 0.25),
        (0.30, 0.60, 0.22),
        (-0.18, 0.46, 0.22),
        (0.12, 0.46, 0.22),
    ):
        pen.disc(x, y, r, c)
    pen.ellipse(-0.02, 0.40, 0.38, 0.14, darker(c, 0.14))
    face = (70, 60, 58) if c[0] > 120 else (206, 192, 176)
    pen.ellipse(0.50, 0.66, 0.135, 0.17, face)
    pen.ellipse(0.38, 0.78, 0.09, 0.05, face)
    pen.disc(0.47, 0.83, 0.09, c)
    pen.disc(0.53, 0.70, 0.026, (250, 250, 250))


def _cow(pen: Pen, look: str, c: Colour) -> None:
    spot = (70, 50, 42) if c[0] > 150 else (240, 234, 224)
    for x, tone in ((-0.42, darker(c)), (0.22, darker(c)), (-0.52, c), (0.32, c)):
        pen.line([(x, 0.45), (x, 0.06)], 0.095, tone)
        pen.box(x - 0.055, 0.0, x + 0.055, 0.06, TYRE)
    pen.box(-0.60, 0.38, 0.42, 0.84, c, 0.17)
    if look == "spotted":
        pen.ellipse(-0.30, 0.68, 0.15, 0.12, spot)
        pen.ellipse(0.12, 0.56, 0.13, 0.10, spot)
        pen.ellipse(0.16, 0.78, 0.10, 0.05, spot)
    pen.line([(-0.60, 0.74), (-0.68, 0.42)], 0.04, darker(c, 0.35))
    pen.ellipse(-0.16, 0.37, 0.10, 0.055, (236, 160, 150))
    pen.line([(0.38, 0.72), (0.52, 0.84)], 0.24, c)
    pen.ellipse(0.56, 0.80, 0.13, 0.15, c)
    pen.ellipse(0.65, 0.72, 0.095, 0.085, (236, 178, 160))
    pen.ellipse(0.42, 0.88, 0.09, 0.04, darker(c))
    pen.line([(0.50, 0.93), (0.47, 0.985)], 0.035, (236, 228, 206))
    pen.line([(0.60, 0.93), (0.62, 0.985)], 0.035, (236, 228, 206))
    pen.disc(0.57, 0.84, 0.026, (20, 20, 24))


def _chair(pen: Pen, look: str, c: Colour) -> None:
    shade = darker(c, 0.3)
    if look == "arm":
        pen.box(-0.32, 0.10, 0.32, 0.58, c, 0.09)
        pen.box(-0.32, 0.30, -0.10, 1.0, c, 0.09)
        pen.box(-0.14, 0.34, 0.32, 0.50, lighter(c, 0.25), 0.06)
        pen.box(-0.14, 0.48, 0.26, 0.62, shade, 0.06)
        for x in (-0.25, 0.25):
            pen.box(x - 0.04, 0.0, x + 0.04, 0.12, darker(WOOD, 0.4))
        return
    for x, tone in ((-0.20, shade), (0.20, shade), (-0.27, c), (0.28, c)):
        pen.box(x - 0.035, 0.0, x + 0.035, 0.48, tone)
    pen.box(-0.31, 0.44, 0.32, 0.54, lighter(c, 0.15), 0.03)
    pen.box(-0.31, 0.50, -0.23, 1.0, c, 0.03)
    pen.box(-0.30, 0.66, -0.14, 0.94, shade, 0.03)


def _sailboat(pen: Pen, _look: str, c: Colour) -> None:
    pen.box(-0.035, 0.12, 0.0, 1.0, darker(WOOD, 0.2))
    pen.polygon([(0.02, 0.96), (0.02, 0.20), (0.34, 0.20)], (250, 248, 240))
    pen.polygon([(-0.055, 0.90), (-0.055, 0.20), (-0.36, 0.20)], lighter(c, 0.1))
    pen.polygon([(0.02, 0.42), (0.02, 0.32), (0.29, 0.32), (0.25, 0.42)], c)
    pen.polygon([(-0.40, 0.15), (0.40, 0.15), (0.27, 0.0), (-0.30, 0.0)], c)
    pen.polygon([(-0.40, 0.15), (0.40, 0.15), (0.375, 0.11), (-0.38, 0.11)], lighter(c, 0.6))


def _motorboat(pen: Pen, _look: str, c: Colour) -> None:
    pen.polygon([(-1.02, 0.44), (1.10, 0.52), (0.72, 0.0), (-0.92, 0.0)], c)
    pen.polygon([(-1.02, 0.44), (1.10, 0.52), (1.03, 0.40), (-1.0, 0.33)], lighter(c, 0.7))
    pen.polygon([(-0.60, 0.45), (-0.50, 0.94), (0.20, 0.94), (0.50, 0.49)], (246, 244, 238))
    pen.polygon([(-0.46, 0.56), (-0.40, 0.84), (-0.10, 0.84), (-0.10, 0.56)], GLASS)
    pen.polygon([(0.0, 0.56), (0.0, 0.84), (0.16, 0.84), (0.34, 0.56)], GLASS)
    pen.box(-0.56, 0.92, 0.26, 1.0, c, 0.03)


def _swan(pen: Pen, _look: str, c: Colour) -> None:
    pen.polygon([(-0.62, 0.52), (-0.30, 0.10), (-0.20, 0.44)], c)
    pen.ellipse(-0.04, 0.22, 0.46, 0.22, c)
    pen.ellipse(-0.14, 0.32, 0.34, 0.18, darker(c, 0.14) if c[0] > 100 else lighter(c, 0.22))
    pen.line([(0.30, 0.26), (0.42, 0.48), (0.34, 0.70), (0.36, 0.86)], 0.125, c)
    pen.ellipse(0.40, 0.89, 0.13, 0.10, c)
    pen.polygon([(0.48, 0.94), (0.63, 0.84), (0.48, 0.83)], (238, 120, 40))
    pen.disc(0.43, 0.91, 0.026, (20, 20, 24) if c[0] > 100 else (250, 250, 250))


def _car_top(pen: Pen, look: str, c: Colour) -> None:
    for y in (0.20, 0.78):
        pen.box(-0.22, y - 0.07, 0.22, y + 0.07, TYRE, 0.02)
    pen.box(-0.20, 0.0, 0.20, 1.0, c, 0.10)
    back = 0.16 if look == "saloon" else 0.07
    pen.polygon([(-0.165, back), (0.165, back), (0.14, back + 0.11), (-0.14, back + 0.11)], GLASS)
    pen.polygon([(-0.14, 0.60), (0.14, 0.60), (0.175, 0.73), (-0.175, 0.73)], GLASS)
    pen.box(-0.145, back + 0.12, 0.145, 0.59, lighter(c, 0.3), 0.03)
    for x in (-0.13, 0.13):
        pen.ellipse(x, 0.965, 0.045, 0.025, LAMP)
        pen.ellipse(x, 0.03, 0.045, 0.02, (232, 80, 60))


def _bus_top(pen: Pen, _look: str, c: Colour) -> None:
    pen.box(-0.17, 0.0, 0.17, 1.0, c, 0.05)
    pen.box(-0.13, 0.05, 0.13, 0.88, lighter(c, 0.35), 0.04)
    pen.box(-0.15, 0.92, 0.15, 0.97, GLASS, 0.02)
    for y in (0.22, 0.62):
        pen.box(-0.075, y - 0.07, 0.075, y + 0.07, darker(c, 0.15), 0.03)


def _sheep_top(pen: Pen, _look: str, c: Colour) -> None:
    face = (70, 60, 58) if c[0] > 120 else (206, 192, 176)
    for i in range(10):
        angle = 2 * math.pi * i / 10
        pen.disc(0.17 * math.cos(angle), 0.40 + 0.28 * math.sin(angle), 0.12, c)
    pen.ellipse(0.0, 0.40, 0.20, 0.31, darker(c, 0.07))
    pen.ellipse(-0.12, 0.83, 0.07, 0.04, face)
    pen.ellipse(0.12, 0.83, 0.07, 0.04, face)
    pen.ellipse(0.0, 0.87, 0.09, 0.13, face)


def _chair_top(pen: Pen, look: str, c: Colour) -> None:
    if look == "arm":
        pen.box(-0.45, 0.0, 0.45, 1.0, darker(c, 0.25), 0.10)
        pen.box(-0.29, 0.20, 0.29, 0.98, lighter(c, 0.22), 0.08)
        pen.box(-0.45, 0.0, 0.45, 0.22, c, 0.10)
        return
    for x in (-0.36, 0.36):
        for y in (0.12, 0.92):
            pen.disc(x, y, 0.07, darker(c, 0.45))
    pen.box(-0.42, 0.10, 0.42, 0.98, lighter(c, 0.15), 0.08)
    pen.box(-0.44, 0.0, 0.44, 0.16, darker(c, 0.3), 0.05)


def _motorboat_top(pen: Pen, _look: str, c: Colour) -> None:
    hull: Points = [(-0.18, 0.0), (0.18, 0.0), (0.205, 0.5), (0.15, 0.78), (0.0, 1.0), (-0.15, 0.78), (-0.205, 0.5)]
    pen.polygon(hull, c)
    pen.polygon([(x * 0.76, 0.05 + y * 0.88) for x, y in hull], lighter(c, 0.65))
    pen.box(-0.125, 0.22, 0.125, 0.60, (250, 248, 242), 0.04)
    pen.polygon([(-0.125, 0.54), (0.125, 0.54), (0.09, 0.66), (-0.09, 0.66)], GLASS)
    pen.box(-0.12, 0.05, 0.12, 0.15, WOOD, 0.02)


def _swan_top(pen: Pen, _look: str, c: Colour) -> None:
    wing = darker(c, 0.16) if c[0] > 100 else lighter(c, 0.24)
    pen.polygon([(-0.10, 0.10), (0.0, 0.0), (0.10, 0.10)], c)
    pen.ellipse(0.0, 0.36, 0.27, 0.30, c)
    pen.ellipse(-0.13, 0.34, 0.12, 0.24, wing)
    pen.ellipse(0.13, 0.34, 0.12, 0.24, wing)
    pen.line([(0.0, 0.60), (0.0, 0.84)], 0.10, c)
    pen.ellipse(0.0, 0.86, 0.08, 0.09, c)
    pen.polygon([(-0.04, 0.92), (0.04, 0.92), (0.0, 1.0)], (238, 120, 40))


Portrait = Callable[[Pen, str, Colour], None]

LEVEL: dict[str, Portrait] = {
    "car": _car,
    "bus": _bus,
    "person": _person,
    "dog": _dog,
    "sheep": _sheep,
    "cow": _cow,
    "chair": _chair,
    "sailboat": _sailboat,
    "motorboat": _motorboat,
    "swan": _swan,
}
TOP: dict[str, Portrait] = {
    "car": _car_top,
    "bus": _bus_top,
    "sheep": _sheep_top,
    "chair": _chair_top,
    "motorboat": _motorboat_top,
    "swan": _swan_top,
}


def draw_subject(subject: Subject, pixel_height: float, flip: bool = False) -> Pen:
    """Draw a subject ``pixel_height`` pixels high (long, if from above) on a pen's sheet of its own aspect."""
    top = subject.viewpoint == "top"
    aspect = subject.kind.top_aspect if top and subject.kind.top_aspect is not None else subject.kind.aspect
    pen = Pen(pixel_height, aspect, flip)
    (TOP if top else LEVEL)[subject.kind.name](pen, subject.look, subject.rgb)
    return pen
