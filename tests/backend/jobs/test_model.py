"""Any history of the queue against a plain model of what it should be."""

from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete, select, update

from backend.jobs import service
from backend.jobs.errors import LostLease
from backend.jobs.models import Job
from backend.jobs.repository import renew
from backend.kit.database import Database, utcnow
from backend.kit.errors import Conflict, NotFound

ACTIVE = ("queued", "running")


@dataclass
class Expected:
    """One job as the model sees it."""

    key: str | None
    priority: int
    max_attempts: int
    state: str = "queued"
    fence: int = 0
    attempts: int = 0
    cancel: bool = False
    lapsed: bool = False

    def row(self) -> tuple[str, int, int, bool]:
        return (self.state, self.fence, self.attempts, self.cancel)


class Queue(RuleBasedStateMachine):
    """Enqueues, claims, ends, cancels, lets leases lapse and reaps in any order; stale claims are tried too."""

    database: Database
    jobs = Bundle("jobs")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.expected: dict[int, Expected] = {}
        with self.database.transaction() as session:
            session.execute(delete(Job))

    @rule(
        target=jobs,
        key=st.sampled_from([None, "a", "b"]),
        priority=st.integers(0, 2),
        max_attempts=st.integers(1, 3),
    )
    def enqueue(self, key: str | None, priority: int, max_attempts: int) -> int:
        with self.database.transaction() as session:
            options = {"dedupe_key": key, "priority": priority, "max_attempts": max_attempts}
            job_id = service.enqueue(session, "test.echo", {}, **options).id
        same = [at for at, job in self.expected.items() if key and job.key == key and job.state in ACTIVE]
        assert job_id in same if same else job_id not in self.expected
        self.expected.setdefault(job_id, Expected(key, priority, max_attempts))
        return job_id

    @rule(target=claims)
    def claim(self) -> tuple[int, int]:
        with self.database.transaction() as session:
            got = service.claim(session, queues=("cpu",), worker="w", lease_seconds=600, ignore_backoff=True)
        waiting = [(-job.priority, at) for at, job in self.expected.items() if job.state == "queued"]
        if not waiting:
            assert got is None
            return (0, 0)
        assert got is not None and got.job_id == min(waiting)[1]
        job = self.expected[got.job_id]
        job.state, job.lapsed = "running", False
        job.fence += 1
        job.attempts += 1
        assert (got.fence, got.attempt) == (job.fence, job.attempts)
        return (got.job_id, got.fence)

    def _holder(self, claim: tuple[int, int]) -> Expected | None:
        job = self.expected.get(claim[0])
        return job if job and job.state == "running" and job.fence == claim[1] else None

    def _end(self, claim: tuple[int, int], act) -> Expected | None:
        """Does `act(session)`, which must be refused unless the claim holds; the model's job where it does."""
        job = self._holder(claim)
        if job is None:
            with pytest.raises((LostLease, NotFound)), self.database.transaction() as session:
                act(session)
            return None
        with self.database.transaction() as session:
            act(session)
        return job

    @rule(claim=claims)
    def renew(self, claim: tuple[int, int]) -> None:
        with self.database.transaction() as session:
            answer = renew(session, *claim, lease_seconds=600)
        job = self._holder(claim)
        assert answer == (job.cancel if job else None)
        if job:
            job.lapsed = False

    @rule(claim=claims)
    def succeed(self, claim: tuple[int, int]) -> None:
        if job := self._end(claim, lambda session: service.succeed(session, *claim, {})):
            job.state = "succeeded"

    @rule(claim=consumes(claims), retry=st.booleans())
    def fail(self, claim: tuple[int, int], retry: bool) -> None:
        if job := self._end(claim, lambda session: service.fail(session, *claim, "c", "m", retry=retry)):
            again = retry and job.attempts < job.max_attempts
            job.state = "cancelled" if job.cancel else "queued" if again else "failed"

    @rule(claim=claims)
    def hand_back(self, claim: tuple[int, int]) -> None:
        if job := self._end(claim, lambda session: service.hand_back(session, *claim)):
            job.state = "cancelled" if job.cancel else "queued"
            job.attempts -= 0 if job.cancel else 1

    @rule(claim=claims)
    def end_cancelled(self, claim: tuple[int, int]) -> None:
        if job := self._end(claim, lambda session: service.end_cancelled(session, *claim)):
            job.state = "cancelled"

    @rule(job_id=jobs)
    def cancel(self, job_id: int) -> None:
        job = self.expected[job_id]
        if job.state in ("succeeded", "failed"):
            with pytest.raises(Conflict), self.database.transaction() as session:
                service.cancel(session, job_id)
            return
        with self.database.transaction() as session:
            service.cancel(session, job_id)
        if job.state == "queued":
            job.state = "cancelled"
            job.cancel = True
        elif job.state == "running":
            job.cancel = True

    @rule(job_id=jobs)
    def lapse(self, job_id: int) -> None:
        with self.database.transaction() as session:
            past = utcnow() - timedelta(seconds=1)
            session.execute(update(Job).where(Job.id == job_id, Job.state == "running").values(lease_expires_at=past))
        self.expected[job_id].lapsed = self.expected[job_id].state == "running"

    @rule()
    def reap(self) -> None:
        with self.database.transaction() as session:
            reaped = {job.id for job in service.reap(session)}
        due = {at for at, job in self.expected.items() if job.state == "running" and job.lapsed}
        assert reaped == due
        for job in (self.expected[at] for at in due):
            job.lapsed = False
            over = job.attempts >= job.max_attempts
            job.state = "cancelled" if job.cancel else "failed" if over else "queued"

    @invariant()
    def rows_are_as_expected(self) -> None:
        with self.database.reading() as session:
            columns = select(Job.id, Job.state, Job.fence, Job.attempts, Job.cancel_requested)
            rows = {job_id: tuple(rest) for job_id, *rest in session.execute(columns)}
        assert rows == {at: job.row() for at, job in self.expected.items()}


def test_the_queue_does_what_the_model_says(database: Database) -> None:
    machine = type("QueueOnDatabase", (Queue,), {"database": database})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
