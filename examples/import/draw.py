"""Draws this example's images and writes its manifest: `python examples/import/draw.py`.

Two subjects on two canvases, and three candidates: one that stands, one that floats, one that drives on water.
"""

import json
from pathlib import Path

from PIL import Image, ImageDraw

HERE = Path(__file__).parent
SIZE = (128, 96)
GREY, SKY, ROAD, SEA = (128, 128, 128), (156, 196, 228), (92, 92, 96), (52, 110, 150)


def draw_car(draw: ImageDraw.ImageDraw, colour: object, wheel: object) -> None:
    draw.rounded_rectangle((40, 58, 88, 72), 5, fill=colour)
    draw.polygon([(50, 58), (56, 48), (74, 48), (80, 58)], fill=colour)
    for left in (46, 72):
        draw.ellipse((left, 66, left + 11, 77), fill=wheel)


def draw_boat(draw: ImageDraw.ImageDraw, colour: object, sail: object) -> None:
    draw.polygon([(38, 64), (90, 64), (80, 76), (48, 76)], fill=colour)
    draw.polygon([(64, 20), (64, 60), (88, 60)], fill=sail)
    draw.polygon([(61, 26), (61, 60), (42, 60)], fill=sail)


SUBJECTS = {"car": (draw_car, (196, 52, 48), (34, 34, 40)), "boat": (draw_boat, (40, 84, 150), (244, 240, 230))}


def canvas(name: str) -> Image.Image:
    draw_subject, first, second = SUBJECTS[name]
    image = Image.new("RGB", SIZE, GREY)
    draw_subject(ImageDraw.Draw(image), first, second)
    return image


def mask(name: str) -> Image.Image:
    """255 is background to be generated, 0 the subject."""
    draw_subject, _, _ = SUBJECTS[name]
    image = Image.new("L", SIZE, 255)
    draw_subject(ImageDraw.Draw(image), 0, 0)
    return image


def candidate(name: str, horizon: int, ground: tuple[int, int, int]) -> Image.Image:
    background = Image.new("RGB", SIZE, SKY)
    ImageDraw.Draw(background).rectangle((0, horizon, *SIZE), fill=ground)
    return Image.composite(background, canvas(name), mask(name))


def main() -> None:
    rows = []
    for name, prompt in (("car", "a red car on a road"), ("boat", "a sailing boat on the sea")):
        canvas(name).save(HERE / f"{name}.png")
        mask(name).save(HERE / f"{name}-mask.png")
        rows.append(
            {
                "subject": f"example-{name}",
                "subject_name": f"{name} of the example",
                "split": "train" if name == "car" else "validation",
                "condition": f"example-{name}-1",
                "image": f"{name}.png",
                "mask": f"{name}-mask.png",
                "prompt": prompt,
            }
        )
    drawn = [(0, "stands", 44, ROAD), (0, "floats", 90, ROAD), (0, "swims", 44, SEA), (1, "sails", 44, SEA)]
    manifest = []
    for number, (condition, what, horizon, ground) in enumerate(drawn):
        name = "car" if condition == 0 else "boat"
        path = f"{name}-{what}.png"
        candidate(name, horizon, ground).save(HERE / path)
        manifest.append(rows[condition] | {"generator": "drawn by hand", "seed": number, "candidate": path})
    lines = "\n".join(json.dumps(row) for row in manifest)
    (HERE / "manifest.jsonl").write_text(lines + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
