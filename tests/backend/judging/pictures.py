"""Little scenes drawn for tests: a road or a lake to the horizon, a car or a boat of right or wrong size."""

import io
import random

from PIL import Image, ImageDraw


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _box(number: int, size: int) -> tuple[int, int, int, int]:
    """Where the subject stands, in pixels: left, top, right, bottom."""
    chance = random.Random(number)
    width = int(size * chance.uniform(0.22, 0.34))
    height = int(width * 0.55)
    left, bottom = int(size * chance.uniform(0.2, 0.5)), int(size * chance.uniform(0.7, 0.85))
    return left, bottom - height, left + width, bottom


def _draw_subject(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: object, wheels: object) -> None:
    left, top, right, bottom = box
    w, h = right - left, bottom - top
    draw.rounded_rectangle((left, top + h * 0.4, right, bottom - h * 0.12), h * 0.12, fill=colour)
    draw.polygon(
        [
            (left + w * 0.2, top + h * 0.42),
            (left + w * 0.32, top),
            (left + w * 0.7, top),
            (left + w * 0.84, top + h * 0.42),
        ],
        fill=colour,
    )
    for x in (0.24, 0.76):
        r = h * 0.2
        draw.ellipse((left + w * x - r, bottom - 2 * r, left + w * x + r, bottom), fill=wheels)


def scene(number: int, variant: int, size: int) -> bytes:
    """The subject of `number` in the background of `variant`; every variant has its own horizon and things about."""
    scale = 4
    big = size * scale
    chance = random.Random(number * 100 + variant)
    horizon = int(big * chance.uniform(0.3, 0.6))
    image = Image.new("RGB", (big, big))
    draw = ImageDraw.Draw(image)
    sky = (chance.randint(120, 180), chance.randint(150, 205), chance.randint(190, 240))
    for y in range(horizon):
        t = y / horizon
        draw.line((0, y, big, y), fill=tuple(int(c + (235 - c) * t * 0.7) for c in sky))
    ground = chance.choice([(104, 106, 110), (96, 130, 78), (70, 110, 150), (150, 128, 100)])
    for y in range(horizon, big):
        t = (y - horizon) / (big - horizon)
        draw.line((0, y, big, y), fill=tuple(int(c * (0.75 + 0.3 * t)) for c in ground))
    for _ in range(5):
        x, w = chance.randint(0, big), chance.randint(big // 20, big // 7)
        h = chance.randint(big // 15, big // 4)
        draw.rectangle((x, horizon - h, x + w, horizon), fill=(90 + h % 60, 84, 80 + w % 50))
    for step in range(-4, 9):
        draw.line((big // 2, horizon, big * step // 4, big), fill=tuple(int(c * 0.86) for c in ground), width=scale)
    box = tuple(scale * v for v in _box(number, size))
    _draw_subject(draw, box, (178, 42, 40), (24, 24, 26))
    return _png(image.resize((size, size), Image.Resampling.LANCZOS))


def mask(number: int, size: int) -> bytes:
    """255 is background, 0 the subject."""
    image = Image.new("L", (size * 4, size * 4), 255)
    _draw_subject(ImageDraw.Draw(image), tuple(4 * v for v in _box(number, size)), 0, 0)
    return _png(image.resize((size, size), Image.Resampling.BOX).point(lambda v: 255 if v > 127 else 0))


def cutout(number: int, size: int) -> bytes:
    image = Image.new("RGBA", (size * 4, size * 4))
    _draw_subject(
        ImageDraw.Draw(image), tuple(4 * v for v in _box(number, size)), (178, 42, 40, 255), (24, 24, 26, 255)
    )
    return _png(image.resize((size, size), Image.Resampling.LANCZOS))
