"""Pages: what a threshold would yield, freezing, and one snapshot."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy.orm import Session

from backend.accounts.access import LeadPerson
from backend.catalogue.access import ProjectForLead
from backend.catalogue.models import Project
from backend.datasets import repository, service
from backend.datasets.archive import read_contents
from backend.datasets.models import Snapshot, SnapshotState
from backend.datasets.plots import yield_plot
from backend.kit.blobs import BlobMissing, BlobStore
from backend.kit.database import ReadSession, WriteSession
from backend.kit.errors import Conflict, NotFound
from backend.kit.forms import SubmittedForm, read_form
from backend.kit.ids import Id
from backend.kit.pages import render
from backend.kit.paging import PageRequest, Paging
from backend.preferences.pages import criterion_choices
from backend.preferences.plots import heat
from backend.preferences.schemas import PairRules
from backend.preferences.service import condition_pairs, threshold_yield

router = APIRouter()

# Pairs of a snapshot shown at once.
PAIRS_A_PAGE = 24
# What a form says of the rules as it stands; the other fields need reading.
RULES = (
    "criterion",
    "threshold",
    "min_votes",
    "max_pairs_per_condition",
    "max_pairs_per_subject",
    "max_pairs_per_reason",
)
WEIGH_CHOICES = [("yes", "By reliability"), ("no", "All alike")]
SIMULATED_CHOICES = [("yes", "People and simulated"), ("no", "People only")]


def _fields(project: Project, given: Any) -> dict[str, Any]:
    """The rules' fields as a form or an address gives them; what is empty is left to its default."""
    fields: dict[str, Any] = {name: given[name] for name in RULES if given.get(name)}
    simulated = given.get("simulated") or ("yes" if project.is_demo else "no")
    return fields | {"include_simulated": simulated == "yes", "weigh_annotators": given.get("weigh") != "no"}


def _datasets_page(
    request: Request,
    session: Session,
    project: Project,
    given: Any,
    page: PageRequest,
    *,
    status: int = 200,
    refused: str = "",
    errors: dict[str, str] | None = None,
) -> HTMLResponse:
    rules, wrong = read_form(PairRules, _fields(project, given))
    figures = threshold_yield(session, project, rules or PairRules(include_simulated=project.is_demo))
    snapshots, cursor = repository.snapshots_page(session, project.id, page)
    return render(
        request,
        "datasets/datasets.html",
        status=status if rules else 422,
        project=project,
        figures=figures,
        rules=figures.rules,
        values=dict(given),
        errors={**wrong, **(errors or {})},
        refused=refused,
        plot=yield_plot(figures),
        criteria=criterion_choices(session, project, figures.rules.criterion),
        simulated_choices=SIMULATED_CHOICES,
        weigh_choices=WEIGH_CHOICES,
        weights=sorted((figures.rules.weights or {}).values()),
        rule_names=RULES,
        snapshots=snapshots,
        runs=repository.runs_using(session, [snapshot.id for snapshot in snapshots]),
        proposed=f"snapshot {repository.count_snapshots(session, project.id) + 1}",
        next_cursor=cursor,
    )


@router.get("/projects/{slug}/datasets")
def datasets_page(request: Request, project: ProjectForLead, session: ReadSession, page: Paging) -> HTMLResponse:
    """What the rules in the address would yield, and the snapshots frozen so far."""
    return _datasets_page(request, session, project, request.query_params, page)


@router.post("/projects/{slug}/datasets")
def freeze(
    request: Request, project: ProjectForLead, person: LeadPerson, session: WriteSession, form: SubmittedForm
) -> Response:
    """Freezes a snapshot and leads to its page; a refusal stands above the form, in words."""
    page = PageRequest(limit=50, after=None)
    rules, errors = read_form(PairRules, _fields(project, form))
    if rules is None:
        return _datasets_page(request, session, project, form, page, status=422, errors=errors)
    try:
        snapshot = service.create_snapshot(session, project, str(form.get("name", "")), rules, person=person)
    except Conflict as error:
        return _datasets_page(request, session, project, form, page, status=error.status, refused=error.detail)
    return RedirectResponse(f"/projects/{project.slug}/datasets/{snapshot.id}", status_code=303)


@router.get("/projects/{slug}/datasets/{snapshot_id}")
def snapshot_page(
    request: Request,
    project: ProjectForLead,
    snapshot_id: Id,
    session: ReadSession,
    start: Annotated[int, Query(ge=0, description="The first pair shown.")] = 0,
) -> HTMLResponse:
    """Counts, lineage, hash, rules and the frozen pairs; while it is being built, how far its job is."""
    snapshot = repository.snapshot_by_id(session, snapshot_id)
    if snapshot is None or snapshot.project_id != project.id:
        raise NotFound(f"There is no snapshot {snapshot_id} in this project. The list is under Datasets.")
    blobs: BlobStore = request.app.state.blobs
    pairs, total, missing = _frozen_pairs(session, blobs, snapshot, start)
    return render(
        request,
        "datasets/snapshot.html",
        project=project,
        snapshot=snapshot,
        # An older snapshot knows nothing of younger rules.
        rules=PairRules.model_validate(snapshot.rules),
        job=repository.job(session, snapshot.job_id),
        runs=repository.runs_using(session, [snapshot.id]).get(snapshot.id, []),
        archive_bytes=repository.blob_size(session, snapshot.archive_digest),
        pairs=pairs,
        total=total,
        start=start,
        step=PAIRS_A_PAGE,
        missing=missing,
    )


def _frozen_pairs(
    session: Session, blobs: BlobStore, snapshot: Snapshot, start: int
) -> tuple[list[dict[str, Any]], int, bool]:
    """Some pairs as they were frozen, how many there are, and whether the archive is missing from the store."""
    if snapshot.state != SnapshotState.READY or not snapshot.archive_digest:
        return [], 0, False
    try:
        contents = read_contents(blobs, snapshot.archive_digest)
    except BlobMissing:
        return [], 0, True
    conditions = {row["condition_id"]: row for row in contents.conditions}
    shown = contents.pairs[start : start + PAIRS_A_PAGE]
    ids = [int(pair[side]) for pair in shown for side in ("win_candidate", "lose_candidate")]
    images = repository.candidate_images(session, ids)
    pairs = [
        {
            **pair,
            "prompt": conditions[pair["condition_id"]]["prompt"],
            "split": conditions[pair["condition_id"]]["split"],
            "win_image": images.get(int(pair["win_candidate"])),
            "lose_image": images.get(int(pair["lose_candidate"])),
        }
        for pair in shown
    ]
    return pairs, len(contents.pairs), False


@router.get("/projects/{slug}/conditions/{condition_id}/pairs")
def condition_pairs_page(
    request: Request, project: ProjectForLead, condition_id: Id, session: ReadSession
) -> HTMLResponse:
    """The posterior of every two candidates of a condition as a heat map, under the rules in the address."""
    rules, _ = read_form(PairRules, _fields(project, request.query_params))
    found = condition_pairs(session, project, rules or PairRules(), condition_id)
    cells = {}
    for pair in found.pairs:
        shown = {"votes": pair.votes, "kept": pair.reason_out is None}
        cells[pair.candidate_a, pair.candidate_b] = {"p": pair.p_a, **shown}
        cells[pair.candidate_b, pair.candidate_a] = {"p": 1 - pair.p_a, **shown}
    return render(request, "datasets/condition_pairs.html", project=project, found=found, cells=cells, heat=heat)
