"""The queue of record."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.kit.columns import check, enum_column
from backend.kit.database import Base, Identified, Timestamped


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE_JOB_STATES = (JobState.QUEUED, JobState.RUNNING)
ACTIVE_CONDITION = text("state IN ('queued', 'running')")


class Job(Base, Identified, Timestamped):
    """One piece of background work: its lease, its fencing token and its progress.

    `fence` grows by one with every claim; whoever writes for a job names the fence it was given, so a worker that lost
    its lease can change nothing any more.
    """

    __tablename__ = "jobs"
    kind: Mapped[str] = mapped_column(String(60))
    queue: Mapped[str] = mapped_column(String(20))
    payload: Mapped[dict[str, Any]]
    state: Mapped[JobState] = enum_column(JobState, default=JobState.QUEUED)
    priority: Mapped[int] = mapped_column(default=0)
    dedupe_key: Mapped[str | None] = mapped_column(String(200))
    project_id: Mapped[int | None] = mapped_column(index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int] = mapped_column(default=3)
    fence: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None] = mapped_column(String(200))
    lease_expires_at: Mapped[datetime | None]
    run_after: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    progress_done: Mapped[int] = mapped_column(default=0)
    progress_total: Mapped[int | None]
    progress_message: Mapped[str | None] = mapped_column(String(300))
    result: Mapped[dict[str, Any] | None]
    error_code: Mapped[str | None] = mapped_column(String(60))
    error_message: Mapped[str | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    __table_args__ = (
        Index(
            "uq_jobs_active_dedupe_key",
            "dedupe_key",
            unique=True,
            postgresql_where=ACTIVE_CONDITION,
            sqlite_where=ACTIVE_CONDITION,
        ),
        Index("ix_jobs_state_queue", "state", "queue", "priority", "id"),
        check("running_has_lease", "state <> 'running' OR lease_expires_at IS NOT NULL"),
        check("attempts_not_negative", "attempts >= 0 AND fence >= 0"),
    )


class Worker(Base):
    """A worker process as it last reported itself; a row nobody refreshes is a worker that is gone."""

    __tablename__ = "workers"
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    queue: Mapped[str] = mapped_column(String(20))
    version: Mapped[str] = mapped_column(String(40))
    slots: Mapped[int]
    busy: Mapped[int]
    has_trainer: Mapped[bool]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime] = mapped_column(index=True)
    __table_args__ = (check("busy_within_slots", "busy >= 0 AND busy <= slots"),)
