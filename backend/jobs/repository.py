"""All SQL of the jobs: every change of a running job is one UPDATE guarded by its fencing token."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Select, and_, func, literal, or_, select, type_coerce, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from backend.jobs.models import ACTIVE_CONDITION, ACTIVE_JOB_STATES, Job, JobState, Worker
from backend.kit.database import UtcDateTime, utcnow


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def now(session: Session, plus: float = 0.0) -> ColumnElement[datetime]:
    """The time `plus` seconds from now, by the database's own clock where workers on many machines share it."""
    if _is_sqlite(session):
        return literal(utcnow() + timedelta(seconds=plus), UtcDateTime())
    moment = func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, plus)
    return type_coerce(moment, DateTime(timezone=True))


def insert(session: Session, values: dict[str, Any]) -> int | None:
    """The new job's id; None where an active job already has its dedupe key."""
    dialect = sqlite if _is_sqlite(session) else postgresql
    # In words rather than with parameters: a prepared statement finds the partial index only by its own condition.
    statement = (
        dialect.insert(Job)
        .values(**values)
        .on_conflict_do_nothing(index_elements=[Job.dedupe_key], index_where=ACTIVE_CONDITION)
    )
    return session.scalar(statement.returning(Job.id))


def get(session: Session, job_id: int) -> Job | None:
    return session.get(Job, job_id, populate_existing=True)


def active_with_key(session: Session, dedupe_key: str) -> Job | None:
    return session.scalar(select(Job).where(Job.dedupe_key == dedupe_key, Job.state.in_(ACTIVE_JOB_STATES)))


def _due(session: Session) -> ColumnElement[bool]:
    return or_(Job.run_after.is_(None), Job.run_after <= now(session))


def claim(
    session: Session,
    *,
    queues: tuple[str, ...],
    worker: str,
    lease_seconds: float,
    job_id: int | None = None,
    ignore_backoff: bool = False,
) -> Job | None:
    """Takes the most urgent waiting job (or exactly `job_id`) in one guarded UPDATE; None where there is none.

    On Postgres workers skip rows that others are just taking; SQLite lets one writer in at a time.
    """
    waiting = select(Job.id).where(Job.state == JobState.QUEUED, Job.queue.in_(queues))
    if not ignore_backoff:
        waiting = waiting.where(_due(session))
    if job_id is not None:
        waiting = waiting.where(Job.id == job_id)
    waiting = waiting.order_by(Job.priority.desc(), Job.id).limit(1).with_for_update(skip_locked=True)
    statement = (
        update(Job)
        .where(Job.id == waiting.scalar_subquery(), Job.state == JobState.QUEUED)
        .values(
            state=JobState.RUNNING,
            fence=Job.fence + 1,
            attempts=Job.attempts + 1,
            worker=worker,
            lease_expires_at=now(session, lease_seconds),
            started_at=func.coalesce(Job.started_at, now(session)),
            run_after=None,
            error_code=None,
            error_message=None,
        )
        .returning(Job)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    return session.scalar(statement)


def _held(job_id: int, fence: int) -> ColumnElement[bool]:
    return and_(Job.id == job_id, Job.fence == fence, Job.state == JobState.RUNNING)


def change_held(session: Session, job_id: int, fence: int, values: dict[str, Any], *conditions: Any) -> Job | None:
    """Writes `values` to a running job whose fence still holds; None where it does not."""
    statement = update(Job).where(_held(job_id, fence), *conditions).values(**values).returning(Job)
    return session.scalar(statement.execution_options(synchronize_session=False, populate_existing=True))


def renew(session: Session, job_id: int, fence: int, lease_seconds: float) -> bool | None:
    """Extends the lease; whether the job is to be cancelled, or None where the lease is lost."""
    statement = (
        update(Job)
        .where(_held(job_id, fence))
        .values(lease_expires_at=now(session, lease_seconds))
        .returning(Job.cancel_requested)
        .execution_options(synchronize_session=False)
    )
    return session.scalar(statement)


def watch(session: Session, job_id: int, fence: int) -> bool | None:
    """Whether the job is to be cancelled, or None where the lease is lost; writes nothing."""
    return session.scalar(select(Job.cancel_requested).where(_held(job_id, fence)))


def lock_held(session: Session, job_id: int, fence: int) -> bool:
    """Whether the fence holds; if so, nobody can take the job away before this transaction ends."""
    # NO KEY UPDATE lets rows that point to the job be inserted meanwhile.
    return session.scalar(select(Job.id).where(_held(job_id, fence)).with_for_update(key_share=True)) is not None


def change_queued(session: Session, job_id: int, values: dict[str, Any]) -> Job | None:
    """Writes `values` to a job that still waits; None where it does not."""
    statement = update(Job).where(Job.id == job_id, Job.state == JobState.QUEUED).values(**values).returning(Job)
    return session.scalar(statement.execution_options(synchronize_session=False, populate_existing=True))


def request_cancel(session: Session, job_id: int) -> Job | None:
    """Raises the flag of a running job; None where it does not run."""
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.state == JobState.RUNNING)
        .values(cancel_requested=True)
        .returning(Job)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    return session.scalar(statement)


def lapsed(session: Session, limit: int = 100) -> list[Job]:
    """Running jobs whose lease has run out, locked; those somebody is just writing for are left alone."""
    statement = (
        select(Job)
        .where(Job.state == JobState.RUNNING, Job.lease_expires_at < now(session))
        .order_by(Job.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return list(session.scalars(statement))


def unheard(session: Session, queues: tuple[str, ...], older_than: float, limit: int = 20) -> list[Job]:
    """Due jobs that have waited for longer than `older_than` seconds: their message may be lost."""
    statement = (
        select(Job)
        .where(Job.state == JobState.QUEUED, Job.queue.in_(queues), _due(session))
        .where(Job.created_at < now(session, -older_than))
        .order_by(Job.priority.desc(), Job.id)
        .limit(limit)
    )
    return list(session.scalars(statement))


def listing(
    seen: Collection[int] | None,
    *,
    state: JobState | None = None,
    kind: str | None = None,
    queue: str | None = None,
    project_id: int | None = None,
) -> Select[tuple[Job]]:
    """The jobs of the projects `seen` (None: all jobs) that fit the filters."""
    statement = select(Job)
    if seen is not None:
        statement = statement.where(Job.project_id.in_(seen))
    if state is not None:
        statement = statement.where(Job.state == state)
    if kind is not None:
        statement = statement.where(Job.kind == kind)
    if queue is not None:
        statement = statement.where(Job.queue == queue)
    if project_id is not None:
        statement = statement.where(Job.project_id == project_id)
    return statement


def counts(session: Session) -> dict[tuple[str, JobState], int]:
    """How many jobs each queue has in each state."""
    rows = session.execute(select(Job.queue, Job.state, func.count()).group_by(Job.queue, Job.state))
    return {(queue, state): count for queue, state, count in rows}


def kinds_seen(session: Session, seen: Collection[int] | None) -> list[str]:
    jobs = listing(seen).with_only_columns(Job.kind)
    return list(session.scalars(jobs.distinct().order_by(Job.kind)))


def beat(session: Session, values: dict[str, Any]) -> None:
    """Notes that a worker is alive."""
    dialect = sqlite if _is_sqlite(session) else postgresql
    row = {**values, "seen_at": now(session)}
    statement = dialect.insert(Worker).values(**row, started_at=now(session))
    session.execute(statement.on_conflict_do_update(index_elements=[Worker.name], set_=row))


def forget_worker(session: Session, name: str) -> None:
    session.execute(Worker.__table__.delete().where(Worker.name == name))


def forget_workers(session: Session, unseen_for: float) -> None:
    session.execute(Worker.__table__.delete().where(Worker.seen_at < now(session, -unseen_for)))


def workers(session: Session) -> list[Worker]:
    return list(session.scalars(select(Worker).order_by(Worker.queue, Worker.name)))
