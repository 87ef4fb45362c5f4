"""The images of an import: decoded once, checked, re-encoded without metadata and kept in a folder until it is decided
whether anything is written at all.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from backend.catalogue.sources import Refused, Source
from backend.kit.errors import Invalid
from backend.kit.images import decode, encode_png
from trainer.contract.files import sha256_bytes

Pixels = npt.NDArray[np.uint8]
# What Fill pipelines put where they will paint; a transparent canvas means just that.
GREY = (128, 128, 128)
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L")


class BadPicture(Exception):
    """What is wrong with a file of a row, as a whole sentence that names it, and the way out."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A checked image, staged as PNG under its digest; sizes in pixels and bytes."""

    digest: str
    width: int
    height: int
    bytes: int
    path: Path


class PictureDesk:
    """Reads pictures of one source, each file once for each use, and stages them in `folder`."""

    def __init__(self, source: Source, folder: Path, *, max_bytes: int) -> None:
        self.source, self.folder, self.max_bytes = source, folder, max_bytes
        self._known: dict[tuple[str, str], Picture | BadPicture] = {}

    def canvas(self, role: str, path: str) -> Picture:
        """An RGB image; transparency becomes mid-grey. `role` ("image", "candidate") names it in messages."""
        return self._remember("canvas", role, path)

    def mask(self, path: str) -> Picture:
        """An 8-bit grey mask that has a subject (0) and a background (255)."""
        return self._remember("mask", "mask", path)

    def cutout(self, path: str) -> Picture:
        """An RGBA image of the subject alone."""
        return self._remember("cutout", "cutout", path)

    def pixels(self, picture: Picture) -> Pixels:
        with Image.open(picture.path) as image:
            return np.asarray(image)

    def stage(self, image: Image.Image) -> Picture:
        """Keeps the pixels as PNG; the same pixels are kept once."""
        data = encode_png(image)
        digest = sha256_bytes(data)
        path = self.folder / digest
        if not path.exists():
            path.write_bytes(data)
        return Picture(digest, image.width, image.height, len(data), path)

    def _remember(self, use: str, role: str, path: str) -> Picture:
        key = (use, path)
        if key not in self._known:
            try:
                self._known[key] = self._load(use, f"{role} “{path}”", path)
            except BadPicture as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, BadPicture):
            raise found
        return found

    def _load(self, use: str, name: str, path: str) -> Picture:
        try:
            data = self.source.read(path, self.max_bytes)
            image = decode(data, name=name)
        except Refused as error:
            raise BadPicture(f"{name} {error}.") from None
        except Invalid as error:
            raise BadPicture(error.detail) from None
        if image.mode in DEEP_MODES:
            raise BadPicture(f"{name} has more than 8 bits a channel. Save it with 8.")
        if use == "mask":
            return self.stage(_as_mask(image, name))
        if use == "cutout":
            return self.stage(image.convert("RGBA"))
        return self.stage(_flatten(image))


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (*GREY, 255))
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")


def _as_mask(image: Image.Image, name: str) -> Image.Image:
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        raise BadPicture(f"{name} has transparency, which could mean either region. Save it as plain 8-bit grey.")
    if image.mode not in {"L", "1"}:
        colours = np.asarray(image.convert("RGB"))
        if not (np.array_equal(colours[..., 0], colours[..., 1]) and np.array_equal(colours[..., 0], colours[..., 2])):
            raise BadPicture(f"{name} is coloured. Save it as 8-bit grey: 255 background, 0 subject.")
    mask = image.convert("L")
    low, high = mask.getextrema()
    if high == 0:
        raise BadPicture(f"{name} is 0 everywhere, so there is no background to generate. Paint the background 255.")
    if low == 255:
        raise BadPicture(f"{name} is 255 everywhere, so there is no subject to keep. Paint the subject 0.")
    if low > 0 or high < 255:
        raise BadPicture(
            f"{name} goes from {low} to {high}. The sure subject must be 0 and the sure background 255; "
            "values between are for soft edges only."
        )
    return mask


def polarity_hint(mask: Pixels) -> str | None:
    """A sentence when the mask [H,W] looks as if it were the wrong way round, else None."""
    background = float((mask >= 128).mean())
    corners = [int(mask[y, x]) for y in (0, -1) for x in (0, -1)]
    centre = int(mask[mask.shape[0] // 2, mask.shape[1] // 2])
    if max(corners) < 128 and centre >= 128:
        return "all four corners are subject and the middle is background"
    if background < 0.5:
        return f"only {background:.0%} of it is background"
    return None
