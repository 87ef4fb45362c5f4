"""Manifests for tests: small images drawn here, laid out as a folder, a zip or a bucket."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def png(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", **options)
    return buffer.getvalue()


def canvas(size: int = 16, colour: tuple[int, int, int] = (200, 40, 40), *, width: int | None = None) -> bytes:
    """A subject of one colour in the middle of a grey canvas."""
    pixels = np.full((size, width or size, 3), 128, np.uint8)
    pixels[size // 4 : size // 2, size // 4 : size // 2] = colour
    return png(pixels)


def mask(size: int = 16, *, width: int | None = None, inverted: bool = False) -> bytes:
    pixels = np.full((size, width or size), 255, np.uint8)
    pixels[size // 4 : size // 2, size // 4 : size // 2] = 0
    return png(255 - pixels if inverted else pixels)


def candidate(seed: int, size: int = 16, colour: tuple[int, int, int] = (200, 40, 40)) -> bytes:
    """A candidate that carries the subject of `canvas` on a background of its own."""
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)
    pixels[size // 4 : size // 2, size // 4 : size // 2] = colour
    return png(pixels)


def row(**changes: Any) -> dict[str, Any]:
    base = {"subject": "car-1", "image": "images/car.png", "mask": "masks/car.png", "prompt": "a red car on a road"}
    return {key: value for key, value in (base | changes).items() if value is not None}


def files(**more: bytes) -> dict[str, bytes]:
    return {"images/car.png": canvas(), "masks/car.png": mask()} | {k.replace("__", "/"): v for k, v in more.items()}


def good_import() -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Two subjects, three conditions, four candidates by two generators."""
    content = files() | {
        "images/boat.png": canvas(colour=(20, 40, 200)),
        "c/1.png": candidate(1),
        "c/2.png": candidate(2),
        "c/3.png": candidate(3),
        "c/4.png": candidate(4, colour=(20, 40, 200)),
    }
    boat = {"subject": "boat-1", "image": "images/boat.png", "prompt": "a blue boat"}
    rows = [
        row(condition="car-street", split="train", candidate="c/1.png", generator="flux", seed=1),
        row(condition="car-street", candidate="c/2.png", generator="flux", seed=2),
        row(condition="car-street", candidate="c/3.png", generator="sdxl", seed=1),
        row(condition="car-field", prompt="a red car in a field"),
        row(**boat, condition="boat", split="validation", candidate="c/4.png", generator="flux"),
    ]
    return rows, content


def jsonl(rows: list[Any]) -> bytes:
    return "\n".join(item if isinstance(item, str) else json.dumps(item) for item in rows).encode()


def zipped(rows: list[Any] | bytes, content: dict[str, bytes], *, name: str = "manifest.jsonl", top: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(top + name, rows if isinstance(rows, bytes) else jsonl(rows))
        for path, data in content.items():
            archive.writestr(top + path, data)
    return buffer.getvalue()


def folder(root: Path, rows: list[Any], content: dict[str, bytes]) -> Path:
    for path, data in content.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    (root / "manifest.jsonl").write_bytes(jsonl(rows))
    return root / "manifest.jsonl"
