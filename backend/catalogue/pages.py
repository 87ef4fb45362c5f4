"""Pages of the catalogue: images, the grid of conditions, two generators side by side, the import."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import HTMLResponse

from backend.accounts.access import CurrentPerson, LeadPerson
from backend.catalogue import repository, service
from backend.catalogue.access import ProjectForLead, ProjectForMember
from backend.catalogue.api_imports import import_upload
from backend.catalogue.images import image_response
from backend.catalogue.manifest import COLUMNS, REQUIRED
from backend.catalogue.models import Condition, Split
from backend.kit.database import ReadSession
from backend.kit.errors import AppError, NotFound
from backend.kit.pages import render
from backend.kit.paging import PageRequest, decode_cursor

router = APIRouter()

Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
CONDITIONS_A_PAGE = 48
SHOWN_CANDIDATES = 3
PAIRS_A_PAGE = 24


@router.get("/images/{digest}")
def image(
    request: Request, _person: LeadPerson, session: ReadSession, digest: Digest, size: int | None = None
) -> Response:
    """Any stored image, for leads and admins; annotators see images only through the judge screen."""
    return image_response(request, session, digest, size)


@router.get("/projects/{slug}/guidelines/images/{digest}")
def guideline_image(request: Request, project: ProjectForMember, session: ReadSession, digest: Digest) -> Response:
    """An image that the project's guidelines show."""
    if digest not in project.settings.get(service.GUIDELINE_IMAGES, []):
        raise NotFound("The guidelines hold no such image.")
    return image_response(request, session, digest)


@router.get("/projects/{slug}/conditions")
def conditions(
    request: Request,
    project: ProjectForLead,
    session: ReadSession,
    split: Annotated[str, Query(max_length=20)] = "",
    q: Annotated[str, Query(max_length=200)] = "",
    cursor: str | None = None,
) -> HTMLResponse:
    page = PageRequest(limit=CONDITIONS_A_PAGE, after=decode_cursor(cursor) if cursor else None)
    wanted = Split(split) if split in set(Split) else None
    rows, next_cursor = repository.conditions_from(session, project.id, page, split=wanted, search=q.strip())
    return render(
        request,
        "catalogue/conditions.html",
        project=project,
        conditions=rows,
        previews=_previews(session, rows),
        counts=repository.counts(session, project.id),
        split=wanted,
        q=q,
        next_cursor=next_cursor,
        is_first_page=cursor is None,
    )


def _previews(session: ReadSession, rows: list[Condition]) -> dict[int, tuple[list[str], int]]:
    """For each condition the digests of its newest candidates, and how many it has."""
    found: dict[int, list[str]] = {}
    for candidate in repository.candidates_of(session, [row.id for row in rows]):
        found.setdefault(candidate.condition_id, []).append(candidate.image_digest)
    return {key: (digests[-SHOWN_CANDIDATES:], len(digests)) for key, digests in found.items()}


@router.get("/projects/{slug}/compare")
def compare(
    request: Request,
    project: ProjectForLead,
    session: ReadSession,
    left: int | None = None,
    right: int | None = None,
    cursor: str | None = None,
) -> HTMLResponse:
    """Two generators, image by image, where they share a condition and a seed."""
    generators = repository.generators(session, project.id)
    known = {generator.id: generator for generator in generators}
    if left is None and right is None and len(generators) >= 2:
        # The newest tuned one beside its parent is what one comes here for.
        newest = max((g for g in generators if g.parent_id), key=lambda g: g.id, default=generators[-1])
        right, left = newest.id, newest.parent_id or generators[0].id
    pairs, next_cursor, verdicts, texts = [], None, {}, {}
    if left in known and right in known and left != right:
        page = PageRequest(limit=PAIRS_A_PAGE, after=decode_cursor(cursor) if cursor else None)
        pairs, next_cursor = repository.shared_candidates(session, project.id, left, right, page)
        verdicts = repository.verdicts_of(session, [candidate.id for pair in pairs for candidate in pair])
        texts = repository.conditions_by_id(session, {pair[0].condition_id for pair in pairs})
    figures = repository.generator_figures(session, project.id)
    rationality = {
        key: service.summary_of_rationality(figures.get(key, {}), Split.VALIDATION) for key in known
    }  # held-out subjects: what training has not seen
    return render(
        request,
        "catalogue/compare.html",
        project=project,
        generators=generators,
        left=known.get(left or 0),
        right=known.get(right or 0),
        pairs=pairs,
        conditions=texts,
        verdicts=verdicts,
        rationality=rationality,
        next_cursor=next_cursor,
    )


@router.get("/projects/{slug}/import")
def import_form(request: Request, project: ProjectForLead, session: ReadSession) -> HTMLResponse:
    return _import_page(request, project, session)


@router.post("/projects/{slug}/import")
async def import_submitted(
    request: Request,
    project: ProjectForLead,
    person: CurrentPerson,
    session: ReadSession,
    dry_run: Annotated[bool, Query()] = False,
) -> HTMLResponse:
    """The import without JavaScript; with it the page talks to the REST API."""
    form = await request.form()
    check_only = dry_run or form.get("then") == "check"
    try:
        report = await import_upload(request, project, person, dry_run=check_only)
    except AppError as error:
        return _import_page(request, project, session, status=error.status, refused=error.detail)
    return _import_page(
        request, project, session, status=200 if report.ok or check_only else 422, report=report.as_dict()
    )


def _import_page(
    request: Request,
    project: ProjectForLead,
    session: ReadSession,
    *,
    status: int = 200,
    report: dict | None = None,
    refused: str | None = None,
) -> HTMLResponse:
    history, _ = repository.imports_page(session, project.id, PageRequest(limit=10, after=None))
    return render(
        request,
        "catalogue/import.html",
        status=status,
        project=project,
        report=report,
        refused=refused,
        history=history,
        columns=COLUMNS,
        required=REQUIRED,
        settings=request.app.state.settings,
    )
