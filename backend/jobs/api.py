"""REST of the jobs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from backend.jobs import repository, service
from backend.jobs.access import SeenJob, SeenProjects, may_start_jobs, require_lead
from backend.jobs.models import ACTIVE_JOB_STATES, Job, JobState
from backend.jobs.schemas import JobOut
from backend.kit.database import Database, ReadSession, WriteSession
from backend.kit.paging import Page, Paging, fetch_page

router = APIRouter(prefix="/jobs", tags=["jobs"], dependencies=[Depends(require_lead)])

STREAM_SECONDS = 1.0


@router.get("", summary="List jobs")
def list_jobs(
    session: ReadSession,
    seen: SeenProjects,
    paging: Paging,
    state: Annotated[JobState | None, Query()] = None,
    kind: Annotated[str | None, Query(max_length=60)] = None,
    queue: Annotated[str | None, Query(max_length=20)] = None,
    project_id: Annotated[int | None, Query()] = None,
) -> Page[JobOut]:
    """Jobs of one's projects (admins: all jobs), newest first, filtered by what is given."""
    query = repository.listing(seen, state=state, kind=kind, queue=queue, project_id=project_id)
    rows, cursor = fetch_page(session, query, Job.id, paging)
    return Page(items=[JobOut.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/{job_id}", summary="One job")
def get_job(job: SeenJob) -> JobOut:
    return JobOut.model_validate(job)


@router.post("/{job_id}/cancel", summary="Cancel a job", dependencies=[Depends(may_start_jobs)])
def cancel_job(job: SeenJob, session: WriteSession) -> JobOut:
    """Cancels at once what waits; what runs is asked to stop and ends within seconds. Doing it twice is no error."""
    return JobOut.model_validate(service.cancel(session, job.id))


def _read(database: Database, job_id: int) -> JobOut:
    with database.reading() as session:
        return JobOut.model_validate(service.get_job(session, job_id))


@router.get("/{job_id}/events", summary="Follow a job", response_class=EventSourceResponse)
async def follow_job(request: Request, found: SeenJob) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: `job` with the job whenever it has changed; the stream ends with the job, after `end`."""
    job = JobOut.model_validate(found)
    shown: JobOut | None = None
    state = request.app.state
    # A stopping server ends its streams; the client comes back to the next one.
    while not getattr(state, "stopping", False):
        if job != shown:
            shown = job
            yield ServerSentEvent(data=job.model_dump(mode="json"), event="job", id=f"{job.id}")
        if job.state not in ACTIVE_JOB_STATES:
            yield ServerSentEvent(data={"state": job.state}, event="end")
            return
        await asyncio.sleep(STREAM_SECONDS)
        job = await run_in_threadpool(_read, state.database, job.id)
