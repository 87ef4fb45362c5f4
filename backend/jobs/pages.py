"""Pages about jobs and about the system they run on."""

import platform
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from backend.jobs import repository, service
from backend.jobs.access import ForAdmins, SeenJob, SeenProjects
from backend.jobs.health import Level, check_all, seen_workers
from backend.jobs.machine import package_version
from backend.jobs.models import ACTIVE_JOB_STATES, Job, JobState
from backend.jobs.registry import QUEUES
from backend.kit.database import Database, ReadSession, WriteSession, get_database
from backend.kit.errors import Conflict
from backend.kit.pages import render
from backend.kit.paging import Paging, fetch_page
from backend.settings import Settings

router = APIRouter()

PACKAGES = ("inpaintdpo", "fastapi", "sqlalchemy", "celery", "torch", "diffusers", "transformers")


def _wanted(request: Request) -> dict[str, Any]:
    """The filters of the URL; what they do not know is left out, so that an old link still shows a list."""
    query = request.query_params
    state, project = query.get("state", ""), query.get("project_id", "")
    return {
        "state": JobState(state) if state in list(JobState) else None,
        "kind": query.get("kind") or None,
        "queue": query.get("queue") or None,
        "project_id": int(project) if project.isdecimal() else None,
    }


def _options(all_words: str, values: Sequence[str]) -> list[tuple[str, str]]:
    return [("", all_words), *((str(value), str(value)) for value in values)]


@router.get("/jobs")
def jobs_page(request: Request, seen: SeenProjects, session: ReadSession, paging: Paging) -> Response:
    wanted = _wanted(request)
    jobs, next_cursor = fetch_page(session, repository.listing(seen, **wanted), Job.id, paging)
    return render(
        request,
        "jobs/jobs.html",
        jobs=jobs,
        next_cursor=next_cursor,
        wanted=request.query_params,
        is_filtered=any(value is not None for value in wanted.values()),
        state_options=_options("Any state", list(JobState)),
        kind_options=_options("Any kind", repository.kinds_seen(session, seen)),
        queue_options=_options("Any queue", list(QUEUES)),
        active=ACTIVE_JOB_STATES,
    )


@router.get("/jobs/{job_id}")
def job_page(request: Request, job: SeenJob) -> Response:
    return render(
        request,
        "jobs/job.html",
        job=job,
        active=ACTIVE_JOB_STATES,
        notice="It had already ended." if request.query_params.get("notice") == "ended" else "",
    )


@router.post("/jobs/{job_id}/cancel")
def cancel_from_page(job: SeenJob, session: WriteSession) -> Response:
    try:
        service.cancel(session, job.id)
    except Conflict:
        # It ended while the page was open: the page it leads to says how.
        return RedirectResponse(f"/jobs/{job.id}?notice=ended", status_code=303)
    return RedirectResponse(f"/jobs/{job.id}", status_code=303)


@router.get("/system")
def system_page(
    request: Request, _: ForAdmins, session: ReadSession, database: Annotated[Database, Depends(get_database)]
) -> Response:
    settings: Settings = request.app.state.settings
    queues: dict[str, dict[str, int]] = {queue: defaultdict(int) for queue in QUEUES}
    for (queue, state), count in repository.counts(session).items():
        queues.setdefault(queue, defaultdict(int))[state] = count
    return render(
        request,
        "jobs/system.html",
        checks=check_all(settings),
        level=Level,
        workers=seen_workers(database, settings),
        queues=queues,
        versions=[("Python", platform.python_version())] + [(name, package_version(name)) for name in PACKAGES],
    )
