"""Stored bytes and the rows that know them, always written together."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from backend.catalogue.repository import insert_missing
from backend.kit.blobs import BlobStore
from backend.kit.models import Blob

PNG = "image/png"


@dataclass(frozen=True, slots=True)
class BlobFact:
    """What a row of `blobs` says of bytes that are in the store already; width and height in pixels."""

    digest: str
    media_type: str
    size: int
    width: int | None = None
    height: int | None = None


def remember_blobs(session: Session, facts: Iterable[BlobFact]) -> None:
    """Writes the rows of stored bytes; those that are there already stay as they are."""
    rows = {
        fact.digest: {
            "digest": fact.digest,
            "media_type": fact.media_type,
            "size": fact.size,
            "width": fact.width,
            "height": fact.height,
        }
        for fact in facts
    }
    # One order for all writers, so that two of them never wait for each other in a circle.
    insert_missing(session, Blob, [rows[digest] for digest in sorted(rows)])


def store_blob(
    session: Session,
    blobs: BlobStore,
    data: bytes,
    media_type: str,
    width: int | None = None,
    height: int | None = None,
) -> str:
    """Puts `data` into the store, writes its row and returns its digest (SHA-256, hex). Doing it twice is a no-op."""
    digest = blobs.put(data)
    remember_blobs(session, [BlobFact(digest, media_type, len(data), width, height)])
    return digest
