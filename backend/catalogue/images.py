"""Serving stored images, as they are or as thumbnails that are made once."""

import os
import tempfile
from pathlib import Path

from fastapi import Request, Response
from sqlalchemy.orm import Session

from backend.catalogue.blobs import PNG
from backend.kit.blobs import BlobMissing
from backend.kit.errors import Invalid, NotFound
from backend.kit.images import thumbnail
from backend.kit.models import Blob

SIZES = (96, 192, 384, 768)
# The name is the content's hash: it never changes, and only those who may see it learn it.
CACHE = "private, max-age=31536000, immutable"


def image_response(request: Request, session: Session, digest: str, size: int | None = None) -> Response:
    """The PNG of a digest, fitted into `size` pixels where given; 304 where the browser has it already.

    Raises NotFound, also for blobs that are no image, and Invalid for a size that is not served.
    """
    if size is not None and size not in SIZES:
        raise Invalid(f"Thumbnails come in {', '.join(map(str, SIZES))} pixels.")
    blob = session.get(Blob, digest)
    if blob is None or blob.media_type != PNG:
        raise NotFound("There is no such image.")
    if size is not None and blob.width and blob.height and max(blob.width, blob.height) <= size:
        size = None
    tag = f'"{digest[:32]}-{size or "full"}"'
    headers = {"etag": tag, "cache-control": CACHE}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    try:
        data = _read(request, digest, size)
    except BlobMissing:
        raise NotFound("The image's file is missing from the blob store: restore it from a backup.") from None
    return Response(data, media_type=PNG, headers=headers)


def _read(request: Request, digest: str, size: int | None) -> bytes:
    blobs = request.app.state.blobs
    if size is None:
        return blobs.read(digest)
    cached = request.app.state.settings.home.absolute() / "thumbnails" / str(size) / digest[:2] / f"{digest}.png"
    try:
        return cached.read_bytes()
    except FileNotFoundError:
        data = thumbnail(blobs.read(digest), size)
        _publish(cached, data)
        return data


def _publish(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, staged = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    Path(staged).replace(path)
