"""Pages of training: the runs of a project, a new one, one run live, two runs side by side."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BeforeValidator
from sqlalchemy.orm import Session

from backend.accounts.access import CurrentPerson, LeadPerson, is_admin
from backend.catalogue.access import ProjectForLead
from backend.catalogue.models import Project
from backend.kit.database import ReadSession, WriteSession
from backend.kit.errors import AppError, NotFound
from backend.kit.forms import SubmittedForm
from backend.kit.ids import GivenId, Id
from backend.kit.pages import render
from backend.kit.paging import PageRequest, decode_cursor
from backend.training import charts, repository, service, shown, views
from backend.training.form import BadForm, NewRun, read_new_run, values_of
from backend.training.ingest import log_tail
from backend.training.models import Run, RunState
from backend.training.places import workplace

router = APIRouter()
RUNS_A_PAGE = 50
NOTICES = {
    "started": "The run is started. It trains as soon as a worker is free.",
    "cancelling": "The run stops after its next step and keeps a checkpoint.",
    "cancelled": "The run is cancelled. It can be resumed.",
    "resumed": "The run goes on from its last checkpoint as soon as a worker is free.",
}


def _none_if_blank(value: object) -> object:
    return None if value == "" else value


# A choice that nobody has made yet is sent empty.
ChosenRun = Annotated[GivenId | None, BeforeValidator(_none_if_blank)]


def see(path: str) -> RedirectResponse:
    return RedirectResponse(path, status_code=303)


def _run_of(session: Session, project: Project, run_id: int) -> Run:
    run = repository.run_by_id(session, run_id)
    if run is None or run.project_id != project.id:
        raise NotFound(f"There is no run {run_id} in “{project.name}”.")
    return run


@router.get("/projects/{slug}/runs")
def runs(
    request: Request,
    project: ProjectForLead,
    session: ReadSession,
    state: Annotated[str, Query(max_length=20)] = "",
    cursor: str | None = None,
) -> HTMLResponse:
    page = PageRequest(limit=RUNS_A_PAGE, after=decode_cursor(cursor) if cursor else None)
    wanted = RunState(state) if state in set(RunState) else None
    rows, next_cursor = repository.runs_page(session, project.id, page, state=wanted)
    return render(
        request,
        "training/runs.html",
        project=project,
        rows=[(run, views.standing(session, run)) for run in rows],
        generators=shown.generators_of(session, rows),
        states=[("", "All"), *((item.value, item.value.capitalize()) for item in RunState)],
        state=wanted.value if wanted else "",
        has_snapshot=bool(repository.ready_snapshots(session, project.id, limit=1)),
        next_cursor=next_cursor,
        is_first_page=cursor is None,
    )


@router.get("/projects/{slug}/runs/new")
def new_run(
    request: Request,
    project: ProjectForLead,
    session: ReadSession,
    snapshot: int | None = None,
    recipe: Annotated[str, Query(max_length=60)] = "",
    parent: int | None = None,
    like: int | None = None,
) -> HTMLResponse:
    values: dict[str, Any] = {"snapshot_id": snapshot, "recipe": recipe, "parent_generator_id": parent}
    if like is not None:
        values = values_of(_run_of(session, project, like))
    return _form_page(request, project, NewRun.blank(session, project, values))


def _form_page(
    request: Request,
    project: Project,
    form: NewRun,
    errors: dict[str, str] | None = None,
    status: int = 200,
    link: str | None = None,
) -> HTMLResponse:
    return render(
        request, "training/new.html", status=status, project=project, form=form, errors=errors or {}, link=link
    )


@router.post("/projects/{slug}/runs/new", response_model=None)
def start_run(
    request: Request, project: ProjectForLead, person: LeadPerson, session: WriteSession, form: SubmittedForm
) -> HTMLResponse | RedirectResponse:
    try:
        run = service.start_run(session, person, project, read_new_run(form))
    except (AppError, BadForm) as error:
        again = NewRun.blank(session, project, form)
        status, link = (error.status, error.extra.get("url")) if isinstance(error, AppError) else (422, None)
        return _form_page(request, project, again, again.errors_of(error), status, link)
    return see(f"{service.run_url(project, run)}?notice=started")


@router.get("/projects/{slug}/runs/compare")
def compare(
    request: Request, project: ProjectForLead, session: ReadSession, a: ChosenRun = None, b: ChosenRun = None
) -> HTMLResponse:
    choices, _ = repository.runs_page(session, project.id, PageRequest(limit=200, after=None))
    left = _run_of(session, project, a) if a else None
    right = _run_of(session, project, b) if b else None
    both = shown.side_by_side(session, left, right) if left and right else None
    return render(request, "training/compare.html", project=project, choices=choices, left=left, right=right, both=both)


@router.get("/projects/{slug}/runs/{run_id}")
def run_page(
    request: Request,
    project: ProjectForLead,
    person: CurrentPerson,
    session: ReadSession,
    run_id: Id,
    notice: str = "",
) -> HTMLResponse:
    run = _run_of(session, project, run_id)
    curves = views.curves(session, run)
    context: dict[str, Any] = {
        "project": project,
        "run": run,
        "standing": views.standing(session, run),
        "drawings": charts.draw_all(curves.series, run.total_steps),
        "charts": shown.chart_specs(),
        "last_seq": curves.last_seq,
        "lineage": shown.lineage(session, run),
        "settings": shown.settings(run),
        "cost": shown.cost(session, run, curves),
        "samples": shown.samples(session, run),
        "attempts": shown.attempts(session, run),
        "checkpoints": repository.checkpoints(session, run.id),
        "warnings": shown.warnings(session, run),
        "log": _log(request, session, run) if is_admin(person) else None,
        "notice": NOTICES.get(notice, ""),
    }
    return render(request, "training/run.html", **context)


def _log(request: Request, session: Session, run: Run) -> str:
    attempts = repository.attempts(session, run.id)
    if not attempts:
        return ""
    live = log_tail(workplace(request.app.state.settings.home, run.id).log(attempts[-1].number))
    return live or attempts[-1].log_tail


@router.post("/projects/{slug}/runs/{run_id}/cancel")
def cancel_run(project: ProjectForLead, person: LeadPerson, session: WriteSession, run_id: Id) -> RedirectResponse:
    run = service.cancel_run(session, person, _run_of(session, project, run_id))
    notice = "cancelled" if run.state == RunState.CANCELLED else "cancelling"
    return see(f"{service.run_url(project, run)}?notice={notice}")


@router.post("/projects/{slug}/runs/{run_id}/resume")
def resume_run(project: ProjectForLead, person: LeadPerson, session: WriteSession, run_id: Id) -> RedirectResponse:
    run = service.resume_run(session, person, project, _run_of(session, project, run_id))
    return see(f"{service.run_url(project, run)}?notice=resumed")
