"""The rules of the queue of record: who may take a job, what ends it, and what follows."""

import random
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy.orm import Session

from backend.jobs import repository
from backend.jobs.bell import ring_after_commit
from backend.jobs.errors import LostLease
from backend.jobs.models import Job, JobState
from backend.jobs.registry import find_kind, get_kind
from backend.kit.errors import Conflict, NotFound

log = structlog.get_logger()

# A first retry after five seconds outlasts a restart of a database; five minutes at most, so that nobody forgets it.
FIRST_RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 300.0
MESSAGE_LENGTH = 300


@dataclass(frozen=True)
class Claim:
    """A job as it was handed to a worker, with the token that proves it."""

    job_id: int
    kind: str
    payload: dict[str, Any]
    project_id: int | None
    fence: int
    attempt: int
    max_attempts: int
    queue: str


def enqueue(
    session: Session,
    kind: str,
    payload: dict[str, Any],
    *,
    project_id: int | None = None,
    dedupe_key: str | None = None,
    priority: int = 0,
    max_attempts: int | None = None,
) -> Job:
    """Puts a job of `kind` into its queue; workers hear of it once the transaction has committed.

    With a `dedupe_key` that a waiting or running job already has, that job is returned and nothing is added. Higher
    `priority` goes first, then the older job. Raises UnknownJobKind for a kind that no handler is registered for.
    """
    declared = get_kind(kind)
    values = {
        "kind": kind,
        "queue": declared.queue,
        "payload": payload,
        "project_id": project_id,
        "dedupe_key": dedupe_key,
        "priority": priority,
        "max_attempts": max_attempts or declared.max_attempts,
    }
    while True:
        job_id = repository.insert(session, values)
        if job_id is not None:
            job = get_job(session, job_id)
            ring_after_commit(session, job.id, job.queue)
            return job
        # The other job may end between the two statements; then the key is free again.
        if dedupe_key and (active := repository.active_with_key(session, dedupe_key)):
            return active


def get_job(session: Session, job_id: int) -> Job:
    """Raises NotFound."""
    job = repository.get(session, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}: it may be from another database. The list is at /jobs.")
    return job


def claim(
    session: Session,
    *,
    queues: tuple[str, ...],
    worker: str,
    lease_seconds: float,
    job_id: int | None = None,
    ignore_backoff: bool = False,
) -> Claim | None:
    """Takes the next waiting job of `queues` (or just `job_id`), or None; the lease and the fence come with it."""
    job = repository.claim(
        session,
        queues=queues,
        worker=worker,
        lease_seconds=lease_seconds,
        job_id=job_id,
        ignore_backoff=ignore_backoff,
    )
    if job is None:
        return None
    return Claim(
        job_id=job.id,
        kind=job.kind,
        payload=job.payload,
        project_id=job.project_id,
        fence=job.fence,
        attempt=job.attempts,
        max_attempts=job.max_attempts,
        queue=job.queue,
    )


def _end(session: Session, job: Job | None) -> Job:
    if job is None:
        raise LostLease
    declared = find_kind(job.kind)
    if declared and declared.on_settled:
        declared.on_settled(session, job)
    return job


def _ending(session: Session, state: JobState, **values: Any) -> dict[str, Any]:
    return {
        "state": state,
        "lease_expires_at": None,
        "run_after": None,
        "finished_at": repository.now(session),
        **values,
    }


def _waiting_again(session: Session, pause: float, **values: Any) -> dict[str, Any]:
    run_after = repository.now(session, pause) if pause > 0 else None
    return {"state": JobState.QUEUED, "lease_expires_at": None, "worker": None, "run_after": run_after, **values}


def succeed(session: Session, job_id: int, fence: int, result: dict[str, Any] | None) -> Job:
    """Ends a running job with its result; raises LostLease where the fence no longer holds, as all below do."""
    values = _ending(session, JobState.SUCCEEDED, result=result, error_code=None, error_message=None)
    return _end(session, repository.change_held(session, job_id, fence, values))


def fail(session: Session, job_id: int, fence: int, code: str, message: str, *, retry: bool) -> Job:
    """Notes a failure: the job waits for its next attempt where `retry` and its attempts allow it, else it has failed.

    A job that a person has meanwhile cancelled ends as cancelled.
    """
    job = get_job(session, job_id)
    error = {"error_code": code, "error_message": message}
    if retry and job.attempts < job.max_attempts:
        pause = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** (job.attempts - 1)) * random.uniform(0.75, 1.25)
        values = _waiting_again(session, pause, **error)
        waiting = repository.change_held(session, job_id, fence, values, Job.cancel_requested.is_(False))
        if waiting:
            return waiting
    elif retry:
        error["error_message"] = f"{message} (attempt {job.attempts} of {job.max_attempts}; no more are made)"
    values = _ending(session, JobState.FAILED, **error)
    failed = repository.change_held(session, job_id, fence, values, Job.cancel_requested.is_(False))
    return _end(session, failed) if failed else end_cancelled(session, job_id, fence)


def end_cancelled(session: Session, job_id: int, fence: int) -> Job:
    """Ends a running job whose handler has stopped because of a cancellation."""
    return _end(session, repository.change_held(session, job_id, fence, _ending(session, JobState.CANCELLED)))


def hand_back(session: Session, job_id: int, fence: int) -> Job:
    """Returns a running job to its queue because its worker stops; the attempt does not count."""
    values = _waiting_again(session, 0, attempts=Job.attempts - 1)
    waiting = repository.change_held(session, job_id, fence, values, Job.cancel_requested.is_(False))
    if waiting is None:
        return end_cancelled(session, job_id, fence)
    ring_after_commit(session, waiting.id, waiting.queue)
    return waiting


def note_progress(session: Session, job_id: int, fence: int, done: int, total: int | None, message: str | None) -> None:
    """Shows how far a running job is; raises LostLease."""
    values = {
        "progress_done": done,
        "progress_total": total,
        "progress_message": message[:MESSAGE_LENGTH] if message else None,
    }
    if repository.change_held(session, job_id, fence, values) is None:
        raise LostLease


def cancel(session: Session, job_id: int) -> Job:
    """Cancels a job: at once where it waits, else by a flag its worker sees within about a second.

    Cancelling a cancelled job changes nothing. Raises NotFound, and Conflict for a job that has already ended.
    """
    while True:
        job = get_job(session, job_id)
        if job.state == JobState.CANCELLED:
            return job
        if job.state in {JobState.SUCCEEDED, JobState.FAILED}:
            raise Conflict(f"Job {job_id} has already {job.state}: there is nothing left to cancel.")
        waiting = _ending(session, JobState.CANCELLED, cancel_requested=True)
        if changed := repository.change_queued(session, job_id, waiting):
            return _end(session, changed)
        if flagged := repository.request_cancel(session, job_id):
            return flagged


def reap(session: Session) -> list[Job]:
    """Takes back every running job whose lease has run out, and returns them as they are now.

    A job goes back to its queue while it has attempts left; it has failed when it has none, so that one that kills its
    workers does not do so for ever; it is cancelled when that was asked for.
    """
    taken = []
    for job_id in [job.id for job in repository.lapsed(session)]:
        try:
            with session.begin_nested():
                changed = _take_back(session, get_job(session, job_id))
        except Exception:
            # One job whose end its room cannot bear must not keep all others from being taken back.
            log.exception("a job with a lapsed lease could not be taken back; tried again next time", job_id=job_id)
            continue
        if changed is not None:
            taken.append(changed)
    return taken


def _take_back(session: Session, job: Job) -> Job | None:
    if job.cancel_requested:
        values = _ending(session, JobState.CANCELLED)
    elif job.attempts >= job.max_attempts:
        values = _ending(session, JobState.FAILED, error_code="worker_lost", error_message=_lost_words(job))
    else:
        values = _waiting_again(session, 0)
    changed = repository.change_held(session, job.id, job.fence, values)
    if changed is None:
        return None
    if changed.state != JobState.QUEUED:
        return _end(session, changed)
    ring_after_commit(session, changed.id, changed.queue)
    return changed


def _lost_words(job: Job) -> str:
    return (
        f"The worker {job.worker} stopped reporting during attempt {job.attempts} of {job.max_attempts}: it was "
        "killed, ran out of memory or lost its network. Look at that worker's log, then start the job again."
    )
