"""Uploads are checked by content and lose their metadata."""

import io

import pytest
from PIL import Image, PngImagePlugin

from backend.kit.errors import Invalid
from backend.kit.images import bare_png_mode, encode_png, reencode, thumbnail


def png(size: tuple[int, int] = (8, 6), **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_metadata_does_not_survive() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("generator", "secret-model-7")
    exif = Image.Exif()
    exif[0x010E] = "secret-model-7"
    data = png(pnginfo=info, exif=exif)
    assert b"secret-model-7" in data
    clean, width, height = reencode(data)
    assert (width, height) == (8, 6)
    assert b"secret-model-7" not in clean
    assert Image.open(io.BytesIO(clean)).info == {}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<svg onload='x'/>", "not a PNG, JPEG or WebP"),
        (b"", "not a PNG, JPEG or WebP"),
        (png((64, 64))[:80], "damaged or cut off"),
    ],
)
def test_bad_bytes_are_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words) as error:
        reencode(data, name="row 3: image 'a.png'")
    assert "row 3: image 'a.png'" in error.value.detail


def test_thumbnails_fit_and_never_grow() -> None:
    assert Image.open(io.BytesIO(thumbnail(png((400, 100)), 64))).size == (64, 16)
    small = png((8, 6))
    assert thumbnail(small, 64) is small


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_what_we_encode_is_known_to_be_bare(mode: str) -> None:
    # Large enough for several chunks of pixels.
    noise = Image.effect_noise((300, 300), 90).convert(mode)
    assert bare_png_mode(encode_png(noise)) == mode


def test_anything_that_might_tell_its_maker_is_not_bare() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("generator", "secret-model-7")
    buffer = io.BytesIO()
    Image.new("P", (8, 8)).save(buffer, "PNG")
    jpeg = io.BytesIO()
    Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
    whole = png()
    cut, longer = whole[:-4], whole + b"x"
    for data in (png(pnginfo=info), png(dpi=(72, 72)), buffer.getvalue(), jpeg.getvalue(), cut, longer, b""):
        assert bare_png_mode(data) is None
    assert bare_png_mode(whole) == "RGB"
