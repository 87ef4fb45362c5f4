"""Pages of judging, and the images on them: blinded, and only for who holds the assignment."""

from contextlib import suppress

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import FormData

from backend.accounts.access import CurrentPerson
from backend.catalogue.access import ProjectForLead, ProjectForMember
from backend.judging import repository, service
from backend.judging.guidelines import render_guidelines
from backend.judging.schemas import SimulateIn
from backend.judging.tasks import start_simulation
from backend.kit.blobs import BlobStore
from backend.kit.database import ReadSession, WriteSession
from backend.kit.errors import Invalid, NotFound
from backend.kit.forms import SubmittedForm, read_form
from backend.kit.images import reencode
from backend.kit.pages import render

router = APIRouter()

# The assignment's address never means another image, and nobody between may keep a copy.
IMAGE_HEADERS = {"cache-control": "private, max-age=86400, immutable", "vary": "cookie"}
_NOT_YOURS = "There is no such image among your assignments."


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


@router.get("/judge/assignments/{assignment_id}/images/{shown_position}")
def candidate_image(
    assignment_id: int, shown_position: int, request: Request, person: CurrentPerson, session: ReadSession
) -> Response:
    """The candidate at a shown position, to the assignment's holder only; every candidate looks alike on the wire."""
    return _image(request, repository.shown_digest(session, assignment_id, person.id, shown_position))


@router.get("/judge/assignments/{assignment_id}/subject")
def subject_image(assignment_id: int, request: Request, person: CurrentPerson, session: ReadSession) -> Response:
    """The subject's cut-out, or the condition's image where there is none."""
    digests = repository.condition_digests(session, assignment_id, person.id)
    return _image(request, (digests[0] or digests[1]) if digests else None, mode="RGBA")


@router.get("/judge/assignments/{assignment_id}/mask")
def mask_image(assignment_id: int, request: Request, person: CurrentPerson, session: ReadSession) -> Response:
    """The mask, 8-bit grey: 255 is background, 0 the subject."""
    digests = repository.condition_digests(session, assignment_id, person.id)
    return _image(request, digests[2] if digests else None, mode="L")


def _image(request: Request, digest: str | None, mode: str = "RGB") -> Response:
    if digest is None:
        raise NotFound(_NOT_YOURS)
    blobs: BlobStore = request.app.state.blobs
    data, _, _ = reencode(blobs.read(digest), mode=mode)
    return Response(data, media_type="image/png", headers=IMAGE_HEADERS)
