"""What happens to a job when workers, children and messages come to harm."""

import os
import signal
import socket
import time

import pytest

from tests.faults.conftest import GROWN, LEASE_SECONDS, Ground, eventually


def test_a_killed_worker_loses_nothing(ground: Ground) -> None:
    """SIGKILL: the child dies with its worker, another worker goes on where it stopped, once."""
    workers = [ground.start_worker(), ground.start_worker()]
    task = ground.enqueue(steps=60)
    eventually(lambda: task.has_stepped(5) and task.pids[1:], "the child works")
    (owner,) = (worker for worker in workers if worker.is_of(task.job))
    owner.signal(signal.SIGKILL)
    task.expect_no_orphan()
    eventually(task.is_over, "the job ends on the other worker")
    task.expect_whole(starts=2)
    assert not owner.is_of(task.job)
    assert task.job.attempts == 2


def test_a_killed_child_is_started_again(ground: Ground) -> None:
    ground.start_worker()
    task = ground.enqueue(steps=40)
    eventually(lambda: task.has_stepped(5) and task.pids[1:], "the child works")
    os.kill(task.pids[0], signal.SIGKILL)
    # Its helper is of the same group, and goes with it.
    task.expect_no_orphan()
    eventually(task.is_over, "the second attempt ends")
    task.expect_whole(starts=2)


def test_a_doubled_message_starts_nothing_twice(ground: Ground) -> None:
    ground.start_worker()
    ground.start_worker()
    task = ground.enqueue(steps=20)
    ground.ring(task, times=20)
    eventually(task.is_over, "the job ends")
    ground.ring(task, times=5)
    after = ground.enqueue(steps=1)
    eventually(after.is_over, "a job behind the doubled messages ends")
    task.expect_whole(starts=1)
    assert task.job.fence == 1


def test_a_lost_message_only_delays(ground: Ground) -> None:
    ground.start_worker()
    task = ground.enqueue(steps=3, ring=False)
    eventually(task.is_over, "the job is found without a message", 20)
    task.expect_whole(starts=1)


def test_a_job_longer_than_the_visibility_timeout_runs_once(ground: Ground) -> None:
    """The broker hands out unacknowledged messages again after two seconds; the lease outlasts its first term too."""
    ground.start_worker()
    ground.start_worker()
    seconds = 2 * LEASE_SECONDS
    task = ground.enqueue(steps=seconds * 5, pause=0.2)
    eventually(task.is_over, "the long job ends")
    task.expect_whole(starts=1)
    assert (task.job.attempts, task.job.fence) == (1, 1)


def test_cancelling_takes_seconds_and_leaves_no_orphan(ground: Ground) -> None:
    ground.start_worker()
    task = ground.enqueue(steps=10_000)
    eventually(lambda: task.has_stepped(5) and task.pids[1:], "the child works")
    task.cancel()
    eventually(task.is_over, "the job is cancelled", 20)
    assert task.job.state == "cancelled"
    task.expect_no_orphan()
    assert task.starts == 1


def test_a_stopped_worker_hands_its_job_back(ground: Ground) -> None:
    """SIGTERM: the child stops, the job waits again and no attempt is spent."""
    first = ground.start_worker()
    task = ground.enqueue(steps=40)
    eventually(lambda: task.has_stepped(5) and task.pids[1:], "the child works")
    first.signal(signal.SIGTERM)
    assert first.process.wait(60) == 0
    task.expect_no_orphan()
    assert (task.job.state, task.job.attempts, task.job.worker) == ("queued", 0, None)
    ground.start_worker()
    eventually(task.is_over, "the job ends on the next worker")
    task.expect_whole(starts=2)
    assert task.job.attempts == 1


def test_a_frozen_worker_is_replaced_and_does_no_harm_when_it_wakes(ground: Ground) -> None:
    """SIGSTOP: the lease lapses; the frozen worker finds itself replaced, kills its child and writes nothing."""
    first = ground.start_worker()
    task = ground.enqueue(steps=40, pause=0.2)
    eventually(lambda: task.has_stepped(3) and task.pids[1:], "the child works")
    ground.freeze(first, task)
    second = ground.start_worker()
    eventually(lambda: second.is_of(task.job), "another worker takes the job over")
    first.signal(signal.SIGCONT)
    # Where the frozen child still held the work, the second start gives way and either worker may take the third.
    eventually(task.is_over, "the job ends")
    assert task.job.state == "succeeded"
    assert task.job.fence >= 2
    task.expect_no_orphan()


@pytest.mark.parametrize("ground", [GROWN], indirect=True)
def test_a_short_outage_of_the_database_costs_no_attempt(ground: Ground) -> None:
    """The child goes on meanwhile; its progress and its end are written when the database is back."""
    worker = ground.start_worker()
    task = ground.enqueue(steps=30, pause=0.1)
    eventually(lambda: task.has_stepped(5), "the child works")
    with ground.database_away():
        eventually(lambda: task.has_stepped(30), "the child ends")
        seen = worker.log.read_text().count("lease not renewed yet")
        eventually(lambda: worker.log.read_text().count("lease not renewed yet") > seen + 2, "the worker meets its end")
    eventually(task.is_over, "the end is written")
    task.expect_whole(starts=1)
    assert (task.job.attempts, task.job.progress_done) == (1, 30)


def test_jobs_run_while_the_broker_is_down(ground: Ground) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # Bound but not listening: connections are refused.
        ground.environment["INPAINTDPO_BROKER_URL"] = f"redis://127.0.0.1:{taken.getsockname()[1]}/0"
        worker = ground.start_worker()
        task = ground.enqueue(steps=3, ring=False)
        eventually(task.is_over, "the job is found without a broker", 20)
        task.expect_whole(starts=1)
        worker.signal(signal.SIGTERM)
        started = time.monotonic()
        assert worker.process.wait(60) == 0
        assert time.monotonic() - started < 60
