"""Frozen datasets."""

from enum import StrEnum
from typing import Any

from sqlalchemy import String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.columns import check, enum_column, reference
from backend.kit.database import Base, Identified, Timestamped


class SnapshotState(StrEnum):
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


class Snapshot(Base, Identified, Timestamped):
    """A frozen, content-hashed set of preference pairs and winner groups, split by subject.

    `archive_digest` is the blob of the whole folder as a tar; `content_hash` that of the contract's manifest.
    """

    __tablename__ = "snapshots"
    project_id: Mapped[int] = reference("projects.id", index=False)
    name: Mapped[str] = mapped_column(String(120))
    state: Mapped[SnapshotState] = enum_column(SnapshotState, default=SnapshotState.BUILDING)
    rules: Mapped[dict[str, Any]]
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    content_hash: Mapped[str | None] = mapped_column(String(64))
    archive_digest: Mapped[str | None] = reference("blobs.digest", nullable=True, index=False)
    job_id: Mapped[int | None] = reference("jobs.id", nullable=True)
    failure: Mapped[str | None]
    created_by_id: Mapped[int | None] = reference("people.id", nullable=True, index=False)
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        check("ready_is_complete", "state <> 'ready' OR (content_hash IS NOT NULL AND archive_digest IS NOT NULL)"),
    )
