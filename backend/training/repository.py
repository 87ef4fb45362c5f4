"""All SQL of training."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased

from backend.catalogue.models import Generator, Project
from backend.datasets.models import Snapshot, SnapshotState
from backend.jobs.models import Job
from backend.kit.database import utcnow
from backend.kit.paging import PageRequest, fetch_page
from backend.training.models import ACTIVE_RUN_STATES, Attempt, Checkpoint, Run, RunEvent, RunSample

# An attempt begins with one of these; what earlier attempts said of later steps is then said again.
RESTARTS = ("started", "resumed")


def _upsert(session: Session, model: type[Any], rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> None:
    """Inserts rows, replacing those with the same keys."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    for row in rows:
        statement = dialect.insert(model).values(row)
        changed = {name: statement.excluded[name] for name in row if name not in keys}
        session.execute(statement.on_conflict_do_update(index_elements=list(keys), set_=changed))


# Runs


def run_by_id(session: Session, run_id: int) -> Run | None:
    return session.get(Run, run_id)


def run_for_update(session: Session, run_id: int) -> Run | None:
    return session.scalar(select(Run).where(Run.id == run_id).with_for_update(of=Run))


def runs_page(
    session: Session, project_id: int, page: PageRequest, *, state: str | None = None, snapshot_id: int | None = None
) -> tuple[list[Run], str | None]:
    query = select(Run).where(Run.project_id == project_id)
    if state is not None:
        query = query.where(Run.state == state)
    if snapshot_id is not None:
        query = query.where(Run.snapshot_id == snapshot_id)
    return fetch_page(session, query, Run.id, page)


def active_run(session: Session, snapshot_id: int, config_hash: str) -> Run | None:
    return session.scalar(
        select(Run).where(
            Run.snapshot_id == snapshot_id, Run.config_hash == config_hash, Run.state.in_(ACTIVE_RUN_STATES)
        )
    )


def count_runs(session: Session, project_id: int) -> int:
    return session.scalar(select(func.count()).select_from(Run).where(Run.project_id == project_id)) or 0


def run_named(session: Session, project_id: int, name: str) -> Run | None:
    return session.scalar(select(Run).where(Run.project_id == project_id, Run.name == name))


# What a run stands on


def project(session: Session, project_id: int) -> Project:
    return session.get_one(Project, project_id)


def snapshot_by_id(session: Session, snapshot_id: int) -> Snapshot | None:
    return session.get(Snapshot, snapshot_id)


def ready_snapshots(session: Session, project_id: int, limit: int = 100) -> list[Snapshot]:
    query = select(Snapshot).where(Snapshot.project_id == project_id, Snapshot.state == SnapshotState.READY)
    return list(session.scalars(query.order_by(Snapshot.id.desc()).limit(limit)))


def generator_by_id(session: Session, generator_id: int) -> Generator | None:
    return session.get(Generator, generator_id)


def tunable_generators(session: Session, project_id: int) -> list[Generator]:
    """Generators with a base pipeline, the oldest untuned one first."""
    query = select(Generator).where(Generator.project_id == project_id, Generator.base.is_not(None))
    return list(session.scalars(query.order_by(Generator.parent_id.is_not(None), Generator.id)))


def generator_named(session: Session, project_id: int, name: str) -> Generator | None:
    return session.scalar(select(Generator).where(Generator.project_id == project_id, Generator.name == name))


def generators_by_id(session: Session, ids: Iterable[int]) -> dict[int, Generator]:
    return {row.id: row for row in session.scalars(select(Generator).where(Generator.id.in_(list(ids))))}


def job_by_id(session: Session, job_id: int | None) -> Job | None:
    return session.get(Job, job_id) if job_id is not None else None


# Attempts


def attempts(session: Session, run_id: int) -> list[Attempt]:
    return list(session.scalars(select(Attempt).where(Attempt.run_id == run_id).order_by(Attempt.number)))


def next_attempt_number(session: Session, run_id: int) -> int:
    return (session.scalar(select(func.max(Attempt.number)).where(Attempt.run_id == run_id)) or 0) + 1


def close_open_attempts(session: Session, run_id: int, outcome: str) -> None:
    """Gives an end to attempts whose worker never reported one."""
    query = update(Attempt).where(Attempt.run_id == run_id, Attempt.ended_at.is_(None))
    session.execute(query.values(outcome=outcome, ended_at=utcnow()))


# The event stream


def last_seq(session: Session, run_id: int) -> int:
    """The highest sequence number stored, -1 where there is none."""
    found = session.scalar(select(func.max(RunEvent.seq)).where(RunEvent.run_id == run_id))
    return -1 if found is None else found


def add_events(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts events; a (run, seq) that is there already is left as it is."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    for start in range(0, len(rows), 500):
        session.execute(dialect.insert(RunEvent).values(list(rows[start : start + 500])).on_conflict_do_nothing())


def events_after(session: Session, run_id: int, after: int, limit: int, kinds: Sequence[str] = ()) -> list[RunEvent]:
    query = select(RunEvent).where(RunEvent.run_id == run_id, RunEvent.seq > after)
    if kinds:
        query = query.where(RunEvent.kind.in_(kinds))
    return list(session.scalars(query.order_by(RunEvent.seq).limit(limit)))


def all_events(session: Session, run_id: int) -> list[RunEvent]:
    return list(session.scalars(select(RunEvent).where(RunEvent.run_id == run_id).order_by(RunEvent.seq)))


def _standing(run_id: int) -> Select[tuple[RunEvent]]:
    """Events of a run less those whose step a later attempt went back before, and so reports anew."""
    restart = aliased(RunEvent)
    undone = (
        select(restart.seq)
        .where(
            restart.run_id == run_id,
            restart.kind.in_(RESTARTS),
            restart.seq > RunEvent.seq,
            restart.step < RunEvent.step,
        )
        .exists()
    )
    return select(RunEvent).where(RunEvent.run_id == run_id, ~undone)


def standing_events(session: Session, run_id: int, kinds: Sequence[str]) -> list[RunEvent]:
    """Events of these kinds that still stand, by step; of several with one kind and step the last one."""
    query = _standing(run_id).where(RunEvent.kind.in_(kinds)).order_by(RunEvent.seq)
    last = {(event.kind, event.step): event for event in session.scalars(query)}
    return sorted(last.values(), key=lambda event: (event.step, event.seq))


def last_event(session: Session, run_id: int, kinds: Sequence[str]) -> RunEvent | None:
    query = select(RunEvent).where(RunEvent.run_id == run_id, RunEvent.kind.in_(kinds))
    return session.scalar(query.order_by(RunEvent.seq.desc()).limit(1))


def last_reports(session: Session, run_id: int, after: int, limit: int) -> list[RunEvent]:
    """The newest metrics events after `after`, newest first."""
    query = select(RunEvent).where(RunEvent.run_id == run_id, RunEvent.kind == "metrics", RunEvent.seq > after)
    return list(session.scalars(query.order_by(RunEvent.seq.desc()).limit(limit)))


# Samples and checkpoints


def save_samples(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    _upsert(session, RunSample, rows, ("run_id", "step", "position"))


def save_checkpoints(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    _upsert(session, Checkpoint, rows, ("run_id", "step"))


def keep_only(session: Session, run_id: int, steps: Iterable[int]) -> None:
    """Marks the checkpoints of a run that are still in its folder."""
    kept = list(steps)
    mine = update(Checkpoint).where(Checkpoint.run_id == run_id)
    session.execute(mine.where(Checkpoint.step.not_in(kept), Checkpoint.is_kept).values(is_kept=False))
    session.execute(mine.where(Checkpoint.step.in_(kept), ~Checkpoint.is_kept).values(is_kept=True))


def forget_after(session: Session, run_id: int, step: int) -> None:
    """Drops samples and checkpoints of steps that are done again."""
    for model in (RunSample, Checkpoint):
        session.execute(delete(model).where(model.run_id == run_id, model.step > step))


def samples(session: Session, run_id: int) -> list[RunSample]:
    query = select(RunSample).where(RunSample.run_id == run_id)
    return list(session.scalars(query.order_by(RunSample.step, RunSample.position)))


def checkpoints(session: Session, run_id: int) -> list[Checkpoint]:
    query = select(Checkpoint).where(Checkpoint.run_id == run_id)
    return list(session.scalars(query.order_by(Checkpoint.step.desc())))
