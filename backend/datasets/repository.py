"""All SQL of the datasets."""

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import column, func, select, table, text
from sqlalchemy.orm import Session

from backend.catalogue.models import Candidate, Condition, Generator, Project
from backend.datasets.models import Snapshot
from backend.jobs.models import Job
from backend.kit.models import Blob
from backend.kit.paging import PageRequest, fetch_page

# SQLite binds at most 32,766 values a statement; ids come in lists of any length.
CHUNK = 5_000

# Training stands above this room, so its table is known here by name alone: lineage shows who used a snapshot.
_RUNS = table("runs", column("id"), column("name"), column("state"), column("snapshot_id"), column("generator_id"))


def _chunks(values: Iterable[int]) -> Iterator[Sequence[int]]:
    ordered = sorted(set(values))
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]


def snapshot_by_id(session: Session, snapshot_id: int) -> Snapshot | None:
    return session.get(Snapshot, snapshot_id)


def snapshot_for_update(session: Session, snapshot_id: int) -> Snapshot | None:
    return session.scalar(select(Snapshot).where(Snapshot.id == snapshot_id).with_for_update())


def snapshot_named(session: Session, project_id: int, name: str) -> Snapshot | None:
    return session.scalar(select(Snapshot).where(Snapshot.project_id == project_id, Snapshot.name == name))


def snapshots_page(session: Session, project_id: int, page: PageRequest) -> tuple[list[Snapshot], str | None]:
    return fetch_page(session, select(Snapshot).where(Snapshot.project_id == project_id), Snapshot.id, page)


def count_snapshots(session: Session, project_id: int) -> int:
    return session.scalar(select(func.count()).select_from(Snapshot).where(Snapshot.project_id == project_id)) or 0


def project(session: Session, project_id: int) -> Project:
    return session.get_one(Project, project_id)


def job(session: Session, job_id: int | None) -> Job | None:
    return session.get(Job, job_id) if job_id is not None else None


def blob_size(session: Session, digest: str | None) -> int | None:
    blob = session.get(Blob, digest) if digest else None
    return blob.size if blob else None


def conditions(session: Session, ids: Iterable[int]) -> dict[int, Condition]:
    """Conditions (with their subjects) by id."""
    found: dict[int, Condition] = {}
    for chunk in _chunks(ids):
        found.update({row.id: row for row in session.scalars(select(Condition).where(Condition.id.in_(chunk)))})
    return found


def candidate_images(session: Session, ids: Iterable[int]) -> dict[int, str]:
    """Candidate id to the digest of its image."""
    found: dict[int, str] = {}
    for chunk in _chunks(ids):
        query = select(Candidate.id, Candidate.image_digest).where(Candidate.id.in_(chunk))
        found.update(session.execute(query).all())
    return found


def sampled_seeds(session: Session, ids: Iterable[int]) -> dict[int, int]:
    """Candidate id to its seed, for those that the trainer sampled: only there the seed tells the noise."""
    found: dict[int, int] = {}
    for chunk in _chunks(ids):
        query = select(Candidate.id, Candidate.seed).join(Generator, Generator.id == Candidate.generator_id)
        found.update(session.execute(query.where(Candidate.id.in_(chunk), Generator.base.is_not(None))).all())
    return found


def runs_using(session: Session, snapshot_ids: Iterable[int]) -> dict[int, list[tuple[int, str, str, int | None]]]:
    """Snapshot id to (run, name, state, tuned generator) of the runs trained on it."""
    columns = (_RUNS.c.snapshot_id, _RUNS.c.id, _RUNS.c.name, _RUNS.c.state, _RUNS.c.generator_id)
    query = select(*columns).where(_RUNS.c.snapshot_id.in_(list(snapshot_ids))).order_by(_RUNS.c.id)
    found: dict[int, list[tuple[int, str, str, int | None]]] = {}
    for snapshot_id, run_id, name, state, generator_id in session.execute(query):
        found.setdefault(snapshot_id, []).append((run_id, name, state, generator_id))
    return found


def freeze_reading(session: Session) -> None:
    """Makes all reads of this session's transaction see one moment, as they do on SQLite anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        # It locks nothing, and what is read is worked on for long in between.
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
