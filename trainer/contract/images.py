"""Images of a snapshot: content-addressed storage, pasting of the true foreground, checks."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from trainer.contract.errors import SnapshotError
from trainer.contract.files import sha256_bytes

if TYPE_CHECKING:
    from trainer.contract.snapshot import Snapshot

Source = bytes | Path
Pixels = npt.NDArray[np.uint8]
EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"})
"""Modes of at most 8 bits a channel; from any other, Pillow's `convert` cuts values off at 0 and 255."""


def encode_png(image: Image.Image) -> bytes:
    """PNG bytes of an image, without any metadata, the same bytes for the same pixels."""
    plain = Image.fromarray(np.asarray(image))  # a copy without the info that PNG would carry along
    buffer = io.BytesIO()
    plain.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def load_pixels(source: Source, mode: str, place: str) -> Pixels:
    """Decode an image to [H,W,3] (mode RGB) or [H,W] (mode L), uint8.

    Raises SnapshotError naming `place`, also for grey of 16 or 32 bits and for floats, whose white nobody knows.
    """
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            if image.mode not in EIGHT_BITS:
                raise SnapshotError(
                    "image_depth",
                    f"{place}: the image has more than 8 bits a channel (mode {image.mode}); save it with 8, 0 to 255.",
                )
            return np.asarray(image.convert(mode))
    except FileNotFoundError:
        raise SnapshotError("image_missing", f"{place}: the image file is missing.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise SnapshotError("image_damaged", f"{place}: the image cannot be decoded ({error}).") from error


def paste_foreground(candidate: Pixels, image: Pixels, mask: Pixels) -> Pixels:
    """The candidate [H,W,3] with the condition's pixels wherever the mask [H,W] is 0 (pure subject); a new array."""
    return np.where((mask == 0)[..., None], image, candidate)


def check_mask(mask: Pixels, place: str) -> None:
    """Raise SnapshotError for a mask without background (a half of 255 or more) or without a pixel that is wholly the
    subject's (0)."""
    low, high = int(mask.min()), int(mask.max())
    found = f"{low} everywhere" if low == high else f"{low} to {high}"
    if high < 128:
        raise SnapshotError("mask_empty", f"{place}: the mask is {found}, so there is no background (255) to generate.")
    if low > 0:
        raise SnapshotError("mask_full", f"{place}: the mask is {found}, so there is no subject (0) to keep.")


class ImageStore:
    """Adds images under `images/<sha256>.png` of a folder; each content is stored once.

    Candidates are checked against their condition, of which the last few stay decoded in memory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._conditions: dict[str, tuple[str, str]] = {}
        self._decode = lru_cache(maxsize=64)(self._decode_condition)

    def _decode_condition(self, condition_id: str) -> tuple[Pixels, Pixels]:
        image, mask = self._conditions[condition_id]
        return load_pixels(self._folder / image, "RGB", image), load_pixels(self._folder / mask, "L", mask)

    def add_condition(self, condition_id: str, image: Source, mask: Source) -> tuple[str, str, int, int]:
        """Store a condition; returns (image path, mask path, width, height)."""
        place = f"condition {condition_id}"
        pixels = load_pixels(image, "RGB", f"{place}, image")
        cover = load_pixels(mask, "L", f"{place}, mask")
        height, width = cover.shape
        if pixels.shape[:2] != cover.shape:
            raise SnapshotError(
                "mask_size",
                f"{place}: the mask is {width}x{height}, the image {pixels.shape[1]}x{pixels.shape[0]} pixels.",
            )
        check_mask(cover, place)
        self._conditions[condition_id] = (self._put(pixels), self._put(cover))
        return *self._conditions[condition_id], width, height

    def add_candidate(self, condition_id: str, image: Source, place: str) -> str:
        """Store a candidate with the true foreground pasted; returns its path."""
        if condition_id not in self._conditions:
            raise SnapshotError("condition_unknown", f"{place}: condition {condition_id} is not in the snapshot.")
        true_pixels, mask = self._decode(condition_id)
        pixels = load_pixels(image, "RGB", place)
        if pixels.shape != true_pixels.shape:
            raise SnapshotError(
                "image_size",
                f"{place}: the image is {pixels.shape[1]}x{pixels.shape[0]}, its condition "
                f"{true_pixels.shape[1]}x{true_pixels.shape[0]} pixels.",
            )
        return self._put(paste_foreground(pixels, true_pixels, mask))

    def _put(self, pixels: Pixels) -> str:
        data = encode_png(Image.fromarray(pixels))
        relative = f"images/{sha256_bytes(data)}.png"
        path = self._folder / relative
        if not path.exists():
            path.write_bytes(data)
        return relative


def check_images(snapshot: Snapshot) -> None:
    """Decode every image of a snapshot and check modes, sizes, masks and the pasted foreground."""

    @lru_cache(maxsize=64)
    def truth(condition_id: str) -> tuple[Pixels, Pixels]:
        row = snapshot.by_id[condition_id]
        return load_pixels(snapshot.path(row.image), "RGB", row.image), load_pixels(
            snapshot.path(row.mask), "L", row.mask
        )

    for index, row in enumerate(snapshot.conditions):
        place = f"conditions.parquet row {index} ({row.condition_id})"
        image = _decode(snapshot, row.image, "RGB", f"{place}, image")
        mask = _decode(snapshot, row.mask, "L", f"{place}, mask")
        for name, array in (("image", image), ("mask", mask)):
            if array.shape[:2] != (row.height, row.width):
                raise SnapshotError(
                    "image_size",
                    f"{place}: the {name} is {array.shape[1]}x{array.shape[0]}, not {row.width}x{row.height} pixels.",
                )
        check_mask(mask, place)
    for index, pair in enumerate(snapshot.pairs):
        for column, path in (("win", pair.win), ("lose", pair.lose)):
            place = f"pairs.parquet row {index} ({pair.pair_id}), {column}"
            _check_candidate(snapshot, path, truth(pair.condition_id), place)
    for index, winner in enumerate(snapshot.winners):
        place = f"winners.parquet row {index} ({winner.candidate})"
        _check_candidate(snapshot, winner.image, truth(winner.condition_id), place)


def _check_candidate(snapshot: Snapshot, path: str, condition: tuple[Pixels, Pixels], place: str) -> None:
    image, mask = condition
    pixels = _decode(snapshot, path, "RGB", place)
    if pixels.shape != image.shape:
        raise SnapshotError(
            "image_size",
            f"{place}: {path} is {pixels.shape[1]}x{pixels.shape[0]}, its condition "
            f"{image.shape[1]}x{image.shape[0]} pixels.",
        )
    if not np.array_equal(pixels[mask == 0], image[mask == 0]):
        raise SnapshotError(
            "foreground_differs",
            f"{place}: {path} does not carry the condition's true foreground; in masks 0 is the subject and 255 the "
            "background, is this one the other way round?",
        )


def _decode(snapshot: Snapshot, path: str, mode: str, place: str) -> Pixels:
    file = snapshot.path(path)
    try:
        with Image.open(file) as image:
            if image.format != "PNG" or image.mode != mode:
                raise SnapshotError(
                    "image_mode", f"{place}: {path} is {image.format} {image.mode}, it must be PNG {mode}."
                )
    except FileNotFoundError:
        raise SnapshotError("image_missing", f"{place}: {path} is missing.") from None
    except (UnidentifiedImageError, OSError) as error:
        raise SnapshotError("image_damaged", f"{place}: {path} cannot be decoded ({error}).") from error
    return load_pixels(file, mode, f"{place}: {path}")
