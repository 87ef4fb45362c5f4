"""Doing one claimed job, from its handler's start to the row's end."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from backend.jobs import service
from backend.jobs.context import JobContext, Signals
from backend.jobs.errors import JobCancelled, JobFailed, JobHandedBack, LostLease
from backend.jobs.lease import LeaseKeeper
from backend.jobs.models import Job
from backend.jobs.registry import QUEUES, find_kind
from backend.kit.blobs import BlobStore
from backend.kit.database import Database, is_outage
from backend.kit.errors import AppError
from backend.settings import Settings

log = structlog.get_logger()

# The end of a job is worth waiting for through a short outage of the database; after that its lease has run out.
END_TRIES = 6
IN_PROCESS = "in-process"


@dataclass(frozen=True)
class Workshop:
    """What every job of a worker shares."""

    settings: Settings
    database: Database
    blobs: BlobStore
    worker: str


Ending = Callable[[Session], Job]


def run_claimed(workshop: Workshop, claim: service.Claim, signals: Signals | None = None) -> Job | None:
    """Runs the handler of a claimed job and writes how it ended; None where the lease was lost on the way."""
    context = JobContext(
        settings=workshop.settings,
        database=workshop.database,
        blobs=workshop.blobs,
        claim=claim,
        worker=workshop.worker,
        signals=signals,
    )
    words = {"job_id": claim.job_id, "kind": claim.kind}
    log.info("job started", **words, attempt=claim.attempt)
    with LeaseKeeper(context):
        ending = _handle(context, claim)
        try:
            job = _write(workshop.database, ending) if ending else None
        except LostLease:
            job = None
    if job is None:
        log.warning("job belongs to another worker now; nothing was written", **words)
        return None
    message = {"error": job.error_message} if job.error_message else {}
    log.info("job ended" if job.finished_at else "job waits again", **words, state=str(job.state), **message)
    return job


def _handle(context: JobContext, claim: service.Claim) -> Ending | None:
    """Calls the handler and says which end it earned; None for a lost lease."""
    job_id, fence = claim.job_id, claim.fence

    def failed(code: str, message: str, *, retry: bool) -> Ending:
        return lambda session: service.fail(session, job_id, fence, code, message, retry=retry)

    declared = find_kind(claim.kind)
    if declared is None:
        message = (
            f"The worker {context.worker} knows no job of kind “{claim.kind}”: it runs another version of the service "
            "than whoever asked for the job. Bring both to one version and start the job again."
        )
        return failed("no_handler", message, retry=False)
    try:
        result = declared.handler(context, claim.payload)
    except LostLease:
        return None
    except JobCancelled:
        return lambda session: service.end_cancelled(session, job_id, fence)
    except JobHandedBack:
        return lambda session: service.hand_back(session, job_id, fence)
    except JobFailed as error:
        return failed(error.code, error.message, retry=error.retry)
    except AppError as error:
        return failed(error.code, error.detail, retry=False)
    except Exception as error:
        log.exception("job failed unexpectedly", job_id=job_id, kind=claim.kind)
        return failed("unexpected", f"{type(error).__name__}: {error}", retry=True)
    return lambda session: _succeed(session, context, result)


def _succeed(session: Session, context: JobContext, result: dict[str, Any] | None) -> Job:
    # With the end, which is tried again where the database does not answer.
    if context.last_progress:
        service.note_progress(session, context.job_id, context.fence, *context.last_progress)
    return service.succeed(session, context.job_id, context.fence, result)


def _write(database: Database, ending: Ending) -> Job:
    for tries_left in reversed(range(END_TRIES)):
        try:
            with database.transaction() as session:
                return ending(session)
        except DBAPIError as error:
            if not (tries_left and is_outage(error)):
                raise
            time.sleep(2 ** (END_TRIES - tries_left) / 4)
    raise AssertionError("unreachable")


def run_one(settings: Settings, database: Database, blobs: BlobStore, job_id: int) -> Job | None:
    """Claims and runs just this job in this process; None where it does not wait to be run."""
    return _claim_and_run(Workshop(settings, database, blobs, IN_PROCESS), QUEUES, job_id)


def run_pending(
    settings: Settings,
    database: Database,
    blobs: BlobStore,
    *,
    queues: tuple[str, ...] = QUEUES,
    limit: int = 1000,
) -> list[Job]:
    """Claims and runs waiting jobs in this process, those they enqueue included, until none is left.

    Returns the jobs in the order in which they ended. Pauses between attempts are not waited for. Raises RuntimeError
    after `limit` jobs, since they seem to enqueue each other for ever.
    """
    workshop = Workshop(settings, database, blobs, IN_PROCESS)
    done: list[Job] = []
    while len(done) < limit:
        job = _claim_and_run(workshop, queues, None)
        if job is None:
            return done
        done.append(job)
    raise RuntimeError(f"Ran {limit} jobs and more wait: do they enqueue each other?")


def _claim_and_run(workshop: Workshop, queues: tuple[str, ...], job_id: int | None) -> Job | None:
    lease_seconds = workshop.settings.job_lease_seconds
    with workshop.database.transaction() as session:
        claim = service.claim(
            session,
            queues=queues,
            worker=workshop.worker,
            lease_seconds=lease_seconds,
            job_id=job_id,
            ignore_backoff=True,
        )
    return run_claimed(workshop, claim) if claim else None
