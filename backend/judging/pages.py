"""Pages of judging."""

from contextlib import suppress

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import FormData

from backend.accounts.access import CurrentPerson
from backend.catalogue.access import ProjectForLead, ProjectForMember
from backend.judging import images, service
from backend.judging.guidelines import render_guidelines
from backend.judging.schemas import SimulateIn
from backend.judging.tasks import start_simulation
from backend.kit.database import WriteSession
from backend.kit.errors import Invalid
from backend.kit.forms import SubmittedForm, read_form
from backend.kit.pages import render

router = APIRouter()
router.include_router(images.router)



@router.get("/projects/{slug}/guidelines")
def guidelines_page(request: Request, project: ProjectForMember) -> HTMLResponse:
    return render(request, "judging/guidelines.html", project=project, guidelines=render_guidelines(project.guidelines))


@router.get("/projects/{slug}/judge")
def judge_page(request: Request, project: ProjectForMember) -> HTMLResponse:
    settings = service.judging_settings(project)
    return render(
        request,
        "judging/judge.html",
        project=project,
        guidelines=render_guidelines(project.guidelines),
        settings=settings,
        lease_seconds=request.app.state.settings.assignment_lease_seconds,
    )


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
