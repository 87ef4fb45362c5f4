"""Jobs done in this process, one after another."""

import pytest

from backend.jobs.context import JobContext
from backend.jobs.errors import LostLease
from backend.jobs.models import Job, JobState
from backend.jobs.runner import run_one, run_pending
from backend.jobs.service import claim, enqueue, get_job, reap
from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database
from backend.settings import Settings
from tests.backend.jobs import kinds
from tests.backend.jobs.conftest import Lapse


def put(database: Database, kind: str, payload: dict | None = None, **options) -> int:
    with database.transaction() as session:
        return enqueue(session, kind, payload or {}, **options).id


def look(database: Database, job_id: int) -> Job:
    with database.reading() as session:
        return get_job(session, job_id)


def test_a_job_returns_its_result(settings: Settings, database: Database, blobs: LocalBlobs) -> None:
    job_id = put(database, "test.echo", {"word": "hello"})
    done = run_one(settings, database, blobs, job_id)
    assert done and done.state == JobState.SUCCEEDED
    assert done.result == {"echo": {"word": "hello"}}
    assert (done.progress_done, done.progress_total, done.progress_message) == (1, 1, "echoed")
    assert done.finished_at and done.started_at and done.lease_expires_at is None
    assert kinds.settled == [(job_id, "succeeded")]
    assert run_one(settings, database, blobs, job_id) is None


def test_jobs_that_jobs_enqueue_are_run_too(settings: Settings, database: Database, blobs: LocalBlobs) -> None:
    put(database, "test.chain", {"left": 3})
    done = run_pending(settings, database, blobs)
    assert [job.payload["left"] for job in done] == [3, 2, 1, 0]
    assert all(job.state == JobState.SUCCEEDED for job in done)


def test_jobs_that_enqueue_each_other_for_ever_are_noticed(settings, database, blobs) -> None:
    put(database, "test.chain", {"left": 99})
    with pytest.raises(RuntimeError, match="enqueue each other"):
        run_pending(settings, database, blobs, limit=4)


def test_only_the_named_queue_is_served(settings, database, blobs) -> None:
    gpu, cpu = put(database, "test.gpu"), put(database, "test.echo")
    assert [job.id for job in run_pending(settings, database, blobs, queues=("gpu",))] == [gpu]
    assert look(database, cpu).state == JobState.QUEUED


def test_a_declared_failure_is_final(settings, database, blobs) -> None:
    job_id = put(database, "test.fail")
    (done,) = run_pending(settings, database, blobs)
    assert (done.state, done.error_code, done.attempts) == (JobState.FAILED, "no_luck", 1)
    assert done.error_message == "There was no luck today: try again tomorrow."
    assert kinds.settled == [(job_id, "failed")]


def test_an_unexpected_error_is_tried_again_and_then_told(settings, database, blobs) -> None:
    job_id = put(database, "test.crash")
    first, second = run_pending(settings, database, blobs)
    assert (first.state, first.error_code) == (JobState.QUEUED, "unexpected")
    assert first.run_after is not None
    assert second.state == JobState.FAILED
    assert second.error_message == "ZeroDivisionError: one over nothing (attempt 2 of 2; no more are made)"
    assert kinds.settled == [(job_id, "failed")]


def test_a_job_nobody_here_can_do_fails_in_words(settings, database, blobs) -> None:
    job_id = put(database, "test.echo")
    with database.transaction() as session:
        session.get_one(Job, job_id).kind = "test.from_the_future"
    (done,) = run_pending(settings, database, blobs)
    assert (done.state, done.error_code) == (JobState.FAILED, "no_handler")
    assert "test.from_the_future" in (done.error_message or "")


def test_who_lost_the_lease_writes_nothing(
    settings: Settings, database: Database, blobs: LocalBlobs, lapse: Lapse
) -> None:
    job_id = put(database, "test.echo")
    with database.transaction() as session:
        old = claim(session, queues=("cpu",), worker="slow", lease_seconds=30)
    assert old is not None
    context = JobContext(settings=settings, database=database, blobs=blobs, claim=old, worker="slow")
    lapse(job_id)
    with database.transaction() as session:
        assert [job.id for job in reap(session)] == [job_id]
    with pytest.raises(LostLease), context.transaction() as session:
        enqueue(session, "test.gpu", {})
    with pytest.raises(LostLease):
        context.progress(1, 2, "still here")
    (done,) = run_pending(settings, database, blobs)
    assert (done.id, done.attempts, done.fence) == (job_id, 2, 2)
