"""Shared by the tests of the queue."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import update

from backend.jobs.models import Job
from backend.kit.database import Database, utcnow
from tests.backend.jobs import kinds

Lapse = Callable[[int], None]


@pytest.fixture(autouse=True)
def settled() -> Iterator[list[tuple[int, str]]]:
    """What `on_settled` heard, as (job id, state)."""
    kinds.settled.clear()
    yield kinds.settled


@pytest.fixture
def lapse(database: Database) -> Lapse:
    """Lets the lease of a running job run out now."""

    def let_run_out(job_id: int) -> None:
        with database.transaction() as session:
            past = utcnow() - timedelta(seconds=1)
            session.execute(update(Job).where(Job.id == job_id, Job.state == "running").values(lease_expires_at=past))

    return let_run_out
