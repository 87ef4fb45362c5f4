"""Pages of judging."""

from contextlib import suppress

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import FormData

from backend.accounts.access import CurrentPerson
from backend.catalogue.access import ProjectForLead, ProjectForMember
from backend.judging import pages_history, pages_lessons, pages_serving, pages_settings, repository_lessons
from backend.judging.guidelines import render_guidelines
from backend.judging.models_lessons import LessonPurpose
from backend.judging.schemas import SimulateIn
from backend.judging.screen import judge_screen
from backend.judging.tasks import start_simulation
from backend.kit.database import ReadSession, WriteSession
from backend.kit.errors import Invalid
from backend.kit.forms import SubmittedForm, read_form
from backend.kit.pages import render, speak_to

router = APIRouter()
for part in (pages_history, pages_lessons, pages_serving, pages_settings):
    router.include_router(part.router)


@router.get("/projects/{slug}/guidelines")
def guidelines_page(request: Request, project: ProjectForMember, session: ReadSession) -> HTMLResponse:
    speak_to(request)
    return render(
        request,
        "judging/guidelines.html",
        project=project,
        guidelines=render_guidelines(project.guidelines),
        has_practice=repository_lessons.has_lessons(session, project.id, LessonPurpose.PRACTICE),
    )


@router.get("/projects/{slug}/judge")
def judge_page(request: Request, project: ProjectForMember, assignment: int | None = None) -> HTMLResponse:
    """The judge screen; with `assignment`, an answer of one's own opened to be changed."""
    return judge_screen(request, project, assignment=assignment)


@router.post("/projects/{slug}/simulate")
def simulate_form(
    project: ProjectForLead, person: CurrentPerson, form: SubmittedForm, session: WriteSession
) -> Response:
    """The form of simulated annotators; its rates are in percent."""
    wish, errors = read_form(SimulateIn, _as_shares(form))
    if wish is None:
        raise Invalid(
            "The simulation was not started. " + " ".join(f"{name}: {words}" for name, words in errors.items())
        )
    start_simulation(session, project, person, wish)
    return RedirectResponse(f"/projects/{project.slug}", status_code=303)


def _as_shares(form: FormData) -> dict[str, object]:
    values: dict[str, object] = {name: value for name, value in form.items() if name in SimulateIn.model_fields}
    for name in ("error_rate", "side_bias"):
        with suppress(KeyError, TypeError, ValueError):
            values[name] = float(str(values[name])) / 100
    return values
