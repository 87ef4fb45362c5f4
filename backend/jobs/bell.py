"""The doorbell: tells workers that a job waits. A lost, late or doubled ring changes nothing but the delay."""

from collections.abc import Callable
from weakref import WeakKeyDictionary

import structlog
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from backend.kit.database import Database, after_commit

log = structlog.get_logger()

Ring = Callable[[int, str], None]
_bells: "WeakKeyDictionary[Engine, Ring]" = WeakKeyDictionary()


def attach_bell(database: Database, ring: Ring) -> None:
    """Lets jobs that are enqueued in `database` call `ring(job_id, queue)` after their commit.

    Without a bell, workers find the job when they next look into the table, a few seconds later.
    """
    _bells[database.engine] = ring


def ring_after_commit(session: Session, job_id: int, queue: str) -> None:
    bind = session.get_bind()
    ring = _bells.get(bind if isinstance(bind, Engine) else bind.engine)
    if ring is not None:
        after_commit(session, lambda: _ring_quietly(ring, job_id, queue))


def _ring_quietly(ring: Ring, job_id: int, queue: str) -> None:
    # The row is committed: whatever is wrong with the broker must not fail the request that made it.
    try:
        ring(job_id, queue)
    except Exception as error:
        log.warning(
            "The broker did not take a message; workers find the job by looking, a few seconds later.",
            job_id=job_id,
            queue=queue,
            error=f"{type(error).__name__}: {error}",
        )
