"""The rules of the queue: who gets a job, what ends it, and what follows."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from backend.jobs.bell import attach_bell
from backend.jobs.errors import LostLease, UnknownJobKind
from backend.jobs.models import Job
from backend.jobs.repository import renew
from backend.jobs.service import (
    Claim,
    cancel,
    claim,
    end_cancelled,
    enqueue,
    fail,
    get_job,
    hand_back,
    reap,
    succeed,
)
from backend.kit.database import Database
from backend.kit.errors import Conflict, NotFound
from tests.backend.jobs.conftest import Lapse


def put(database: Database, kind: str = "test.echo", **options) -> int:
    with database.transaction() as session:
        return enqueue(session, kind, {}, **options).id


def take(database: Database, worker: str = "one", **options) -> Claim | None:
    with database.transaction() as session:
        return claim(session, queues=("cpu",), worker=worker, lease_seconds=30, **options)


def taken(database: Database, worker: str = "one") -> Claim:
    got = take(database, worker)
    assert got is not None
    return got


def look(database: Database, job_id: int) -> Job:
    with database.reading() as session:
        return get_job(session, job_id)


def test_fifty_threads_claim_twenty_jobs_each_once(database: Database) -> None:
    wanted = {put(database) for _ in range(20)}
    start = threading.Barrier(50)

    def work(number: int) -> list[int]:
        start.wait()
        mine = []
        while got := take(database, f"worker-{number}"):
            mine.append(got.job_id)
        return mine

    with ThreadPoolExecutor(50) as pool:
        claimed = [job_id for mine in pool.map(work, range(50)) for job_id in mine]
    assert sorted(claimed) == sorted(wanted)
    with database.reading() as session:
        assert {(job.fence, job.attempts) for job in session.scalars(select(Job))} == {(1, 1)}


def test_fifty_threads_enqueue_one_key_once(database: Database) -> None:
    start = threading.Barrier(50)

    def work(_: int) -> int:
        start.wait()
        return put(database, dedupe_key="snapshot-7")

    with ThreadPoolExecutor(50) as pool:
        ids = set(pool.map(work, range(50)))
    assert len(ids) == 1


def test_a_key_is_free_again_when_its_job_has_ended(database: Database) -> None:
    first = put(database, dedupe_key="once")
    assert put(database, dedupe_key="once") == first
    got = taken(database)
    assert put(database, dedupe_key="once") == first
    with database.transaction() as session:
        succeed(session, got.job_id, got.fence, None)
    assert put(database, dedupe_key="once") != first


def test_urgent_jobs_go_first_then_older_ones(database: Database) -> None:
    old, new, urgent = put(database), put(database), put(database, priority=5)
    assert [taken(database).job_id for _ in range(3)] == [urgent, old, new]


def test_a_failed_attempt_waits_longer_each_time(database: Database) -> None:
    job_id = put(database, max_attempts=4)
    pauses = []
    for _ in range(3):
        got = take(database, ignore_backoff=True)
        assert got is not None
        with database.transaction() as session:
            job = fail(session, got.job_id, got.fence, "unlucky", "No luck.", retry=True)
        assert job.state == "queued" and job.run_after is not None
        assert job.started_at is not None
        pauses.append((job.run_after - job.started_at).total_seconds())
        assert take(database) is None
    assert pauses == sorted(pauses)
    got = take(database, ignore_backoff=True)
    assert got is not None
    with database.transaction() as session:
        fail(session, got.job_id, got.fence, "unlucky", "No luck.", retry=True)
    assert look(database, job_id).state == "failed"


def test_every_write_of_an_old_claim_is_refused(database: Database, lapse: Lapse) -> None:
    job_id = put(database)
    old = taken(database)
    lapse(job_id)
    with database.transaction() as session:
        reap(session)
    new = taken(database, "two")
    assert new.fence > old.fence
    ends = (
        lambda session: succeed(session, job_id, old.fence, {"from": "the dead"}),
        lambda session: fail(session, job_id, old.fence, "x", "x", retry=True),
        lambda session: end_cancelled(session, job_id, old.fence),
        lambda session: hand_back(session, job_id, old.fence),
    )
    for end in ends:
        with pytest.raises(LostLease), database.transaction() as session:
            end(session)
    assert (look(database, job_id).worker, look(database, job_id).fence) == ("two", new.fence)


def test_the_reaper_gives_up_on_a_job_that_kills_its_workers(
    database: Database, lapse: Lapse, settled: list[tuple[int, str]]
) -> None:
    job_id = put(database, max_attempts=2)
    for _ in range(2):
        taken(database, "host/cpu/7")
        lapse(job_id)
        with database.transaction() as session:
            reap(session)
    job = look(database, job_id)
    assert (job.state, job.error_code) == ("failed", "worker_lost")
    assert "host/cpu/7" in (job.error_message or "")
    assert settled == [(job_id, "failed")]


def test_a_room_that_cannot_bear_an_end_does_not_stop_the_reaper(database: Database, lapse: Lapse) -> None:
    first, second = put(database, "test.touchy", max_attempts=1), put(database, max_attempts=1)
    for job_id in (first, second):
        taken(database)
        lapse(job_id)
    with database.transaction() as session:
        assert [job.id for job in reap(session)] == [second]
    assert (look(database, first).state, look(database, second).state) == ("running", "failed")


@pytest.mark.postgres
def test_a_worker_that_freezes_while_it_writes_keeps_its_job_from_nobody(postgres_url: str) -> None:
    """The row stays locked by the transaction that never ends, until the server ends it."""
    frozen, living = Database(postgres_url, idle_seconds=0.5), Database(postgres_url)
    job_id = put(living)
    with living.transaction() as session:
        got = claim(session, queues=("cpu",), worker="one", lease_seconds=0.1)
    with pytest.raises(DBAPIError), frozen.transaction() as session:
        renew(session, job_id, got.fence, 0.1)
        deadline = time.monotonic() + 60
        while not take(living, "two"):
            assert time.monotonic() < deadline, "the job was never taken over"
            with living.transaction() as other:
                reap(other)
            time.sleep(0.02)
    assert look(living, job_id).worker == "two"
    with pytest.raises(LostLease), frozen.transaction() as session:
        succeed(session, job_id, got.fence, {})
    frozen.dispose()
    living.dispose()


def test_the_reaper_leaves_living_jobs_alone(database: Database) -> None:
    put(database)
    taken(database)
    with database.transaction() as session:
        assert reap(session) == []


def test_a_waiting_job_is_cancelled_at_once(database: Database, settled: list[tuple[int, str]]) -> None:
    job_id = put(database)
    for _ in range(2):
        with database.transaction() as session:
            assert cancel(session, job_id).state == "cancelled"
    assert take(database) is None
    assert settled == [(job_id, "cancelled")]


def test_a_running_job_is_cancelled_by_its_flag(database: Database, settled: list[tuple[int, str]]) -> None:
    job_id = put(database)
    got = taken(database)
    with database.transaction() as session:
        job = cancel(session, job_id)
        assert (job.state, job.cancel_requested) == ("running", True)
    with database.transaction() as session:
        end_cancelled(session, job_id, got.fence)
    assert settled == [(job_id, "cancelled")]


@pytest.mark.parametrize("end", ["fail", "hand_back", "reap"])
def test_what_is_to_be_cancelled_is_never_started_again(database: Database, lapse: Lapse, end: str) -> None:
    job_id = put(database)
    got = taken(database)
    with database.transaction() as session:
        cancel(session, job_id)
    if end == "reap":
        lapse(job_id)
    with database.transaction() as session:
        if end == "fail":
            fail(session, job_id, got.fence, "x", "x", retry=True)
        elif end == "hand_back":
            hand_back(session, job_id, got.fence)
        else:
            reap(session)
    assert look(database, job_id).state == "cancelled"


def test_an_ended_job_cannot_be_cancelled(database: Database) -> None:
    got = taken(database) if put(database) else None
    assert got is not None
    with database.transaction() as session:
        succeed(session, got.job_id, got.fence, {})
    with pytest.raises(Conflict, match="already succeeded"), database.transaction() as session:
        cancel(session, got.job_id)


def test_a_job_that_is_not_there_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound, match="no job 99"), database.reading() as session:
        get_job(session, 99)


def test_a_kind_nobody_handles_cannot_be_enqueued(database: Database) -> None:
    with pytest.raises(UnknownJobKind, match=r"test\.unheard_of"), database.transaction() as session:
        enqueue(session, "test.unheard_of", {})


def test_a_handed_back_job_spends_no_attempt(database: Database) -> None:
    job_id = put(database)
    got = taken(database)
    with database.transaction() as session:
        hand_back(session, job_id, got.fence)
    assert (look(database, job_id).state, look(database, job_id).attempts) == ("queued", 0)
    assert taken(database).fence == got.fence + 1


def test_the_bell_rings_after_the_commit_only(database: Database) -> None:
    heard: list[tuple[int, str]] = []
    attach_bell(database, lambda job_id, queue: heard.append((job_id, queue)))
    with pytest.raises(ZeroDivisionError), database.transaction() as session:
        enqueue(session, "test.gpu", {})
        raise ZeroDivisionError
    assert heard == []
    with database.transaction() as session:
        job = enqueue(session, "test.gpu", {})
        assert heard == []
    assert heard == [(job.id, "gpu")]


def test_a_broken_bell_breaks_no_request(database: Database) -> None:
    def broken(job_id: int, queue: str) -> None:
        raise ConnectionError("the broker is down")

    attach_bell(database, broken)
    assert look(database, put(database)).state == "queued"
