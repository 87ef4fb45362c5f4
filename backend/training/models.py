"""Trainings, their attempts and what they reported."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.datasets.models import Snapshot
from backend.kit.columns import check, enum_column, reference
from backend.kit.database import Base, Identified, Timestamped


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE_RUN_STATES = (RunState.QUEUED, RunState.RUNNING)
_ACTIVE = text("state IN ('queued', 'running')")


class Run(Base, Identified, Timestamped):
    """One training on one snapshot by one config."""

    __tablename__ = "runs"
    project_id: Mapped[int] = reference("projects.id", index=False)
    snapshot_id: Mapped[int] = reference("snapshots.id", index=False)
    snapshot: Mapped[Snapshot] = relationship(lazy="joined", innerjoin=True)
    parent_generator_id: Mapped[int] = reference("generators.id")
    name: Mapped[str] = mapped_column(String(120))
    recipe: Mapped[str] = mapped_column(String(60))
    config: Mapped[dict[str, Any]]
    config_hash: Mapped[str] = mapped_column(String(64))
    state: Mapped[RunState] = enum_column(RunState, default=RunState.QUEUED)
    job_id: Mapped[int | None] = reference("jobs.id", nullable=True)
    step: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int]
    adapter_digest: Mapped[str | None] = reference("blobs.digest", nullable=True, index=False)
    generator_id: Mapped[int | None] = reference("generators.id", nullable=True)
    result: Mapped[dict[str, Any] | None]
    failure: Mapped[str | None]
    created_by_id: Mapped[int | None] = reference("people.id", nullable=True, index=False)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        Index(
            "uq_runs_active", "snapshot_id", "config_hash", unique=True, postgresql_where=_ACTIVE, sqlite_where=_ACTIVE
        ),
        check("finished_has_adapter", "state <> 'finished' OR adapter_digest IS NOT NULL"),
    )


class Attempt(Base, Identified):
    """One start of a run's trainer under one fencing token of one job; `log_tail` is the end of what it wrote."""

    __tablename__ = "attempts"
    run_id: Mapped[int] = reference("runs.id", ondelete="CASCADE", index=False)
    number: Mapped[int]
    job_id: Mapped[int] = reference("jobs.id", index=False)
    fence: Mapped[int]
    worker: Mapped[str] = mapped_column(String(200))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(40))
    exit_code: Mapped[int | None]
    first_step: Mapped[int | None]
    last_step: Mapped[int | None]
    log_tail: Mapped[str] = mapped_column(Text, default="")
    __table_args__ = (UniqueConstraint("run_id", "number"), UniqueConstraint("job_id", "fence"))


class RunEvent(Base):
    """One line of the trainer's event stream, by its own sequence number."""

    __tablename__ = "run_events"
    run_id: Mapped[int] = reference("runs.id", ondelete="CASCADE", index=False, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    step: Mapped[int]
    time: Mapped[datetime]
    body: Mapped[dict[str, Any]]
    __table_args__ = (Index("ix_run_events_run_id_kind_seq", "run_id", "kind", "seq"),)


class RunSample(Base):
    """One image drawn during training at a fixed seed."""

    __tablename__ = "run_samples"
    run_id: Mapped[int] = reference("runs.id", ondelete="CASCADE", index=False, primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(String(300), default="")
    image_digest: Mapped[str] = reference("blobs.digest", index=False)
    verdict: Mapped[dict[str, Any] | None]


class Checkpoint(Base, Timestamped):
    """A published checkpoint of a run in the run's folder."""

    __tablename__ = "checkpoints"
    run_id: Mapped[int] = reference("runs.id", ondelete="CASCADE", index=False, primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    is_kept: Mapped[bool] = mapped_column(default=True)
