"""Images from outside: checked by content, re-encoded without metadata; and thumbnails of images from inside."""

import io
import struct

from PIL import Image, ImageOps, UnidentifiedImageError

from backend.kit.errors import Invalid

FORMATS = ("PNG", "JPEG", "WEBP")
# 64 megapixels: beyond any generated image, well below what would exhaust a worker when decoded.
MAX_PIXELS = 64_000_000


def decode(data: bytes, *, name: str = "The image") -> Image.Image:
    """The decoded image, upright; raises Invalid, naming `name`, where the bytes are not a whole PNG, JPEG or WebP."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise Invalid(
                f"{name} has {image.width}×{image.height} pixels; at most {MAX_PIXELS:,} are taken: shrink it."
            )
        image.load()
        return ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise Invalid(f"{name} is not a PNG, JPEG or WebP image: convert it to one of them.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Invalid(f"{name} cannot be decoded ({error}): the file is damaged or cut off; save it again.") from None


def encode_png(image: Image.Image) -> bytes:
    """PNG bytes of the pixels alone: no text, time, profile or EXIF chunk survives."""
    clean = Image.frombytes(image.mode, image.size, image.tobytes())
    if image.mode == "P":
        clean = image.convert("RGBA" if "transparency" in image.info else "RGB")
        clean.info.clear()
    buffer = io.BytesIO()
    clean.save(buffer, "PNG", optimize=False)
    return buffer.getvalue()


_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MODES = {0: "L", 2: "RGB", 6: "RGBA"}


def bare_png_mode(data: bytes) -> str | None:
    """The mode of a PNG of 8 bits that holds pixels and nothing else, told from its chunks; None for anything else."""
    if not data.startswith(_SIGNATURE) or data[12:16] != b"IHDR" or data[24] != 8:
        return None
    place, name = len(_SIGNATURE), b""
    while place + 8 <= len(data) and name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, place)
        if name not in (b"IHDR", b"IDAT", b"IEND"):
            return None
        place += length + 12
    return _MODES.get(data[25]) if name == b"IEND" and place == len(data) else None


def reencode(data: bytes, *, name: str = "The image", mode: str = "RGB") -> tuple[bytes, int, int]:
    """PNG bytes in `mode` without metadata, width and height in pixels; raises Invalid as `decode` does."""
    image = decode(data, name=name).convert(mode)
    return encode_png(image), image.width, image.height


def thumbnail(data: bytes, size: int) -> bytes:
    """PNG bytes of the image fitted into `size`×`size` pixels; a smaller image is left as it is."""
    image = decode(data)
    if max(image.size) <= size:
        return data
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    return encode_png(image)
