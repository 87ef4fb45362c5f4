"""Tables that belong to no domain: stored blobs and remembered answers of idempotent requests."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.columns import check
from backend.kit.database import Base, Timestamped, utcnow


class Blob(Base, Timestamped):
    """One content-addressed object of the blob store and what is known of it."""

    __tablename__ = "blobs"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    media_type: Mapped[str] = mapped_column(String(100))
    size: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int | None]
    height: Mapped[int | None]
    __table_args__ = (check("digest_is_sha256", "length(digest) = 64"), check("size_not_negative", "size >= 0"))


class IdempotencyRecord(Base):
    """The stored answer to a POST that carried an Idempotency-Key."""

    __tablename__ = "idempotency_records"
    scope: Mapped[str] = mapped_column(String(200), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    status: Mapped[int]
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=utcnow, index=True)
