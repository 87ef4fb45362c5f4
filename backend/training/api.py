"""REST of training."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse

from backend.accounts.access import AdminPerson, LeadPerson, require_scope
from backend.catalogue.access import may_see
from backend.catalogue.models import Project
from backend.catalogue.repository import project_by_slug
from backend.kit.database import ReadSession, WriteSession
from backend.kit.errors import NotFound
from backend.kit.idempotency import IdempotencyKey, idempotent
from backend.kit.ids import GivenId, Id
from backend.kit.paging import Page, Paging
from backend.training import repository, service, stream, views
from backend.training.access import RunForLead
from backend.training.configs import description
from backend.training.ingest import log_tail
from backend.training.models import Run, RunState
from backend.training.places import workplace
from backend.training.schemas import (
    CurvesOut,
    EventsOut,
    LogOut,
    RecipeOut,
    RecipesOut,
    RunDetail,
    RunIn,
    RunOut,
)
from trainer.contract.checkpoint import LORA_FILE
from trainer.contract.recipes import RECIPES

router = APIRouter(tags=["training"])


@router.get("/recipes")
def recipes(_: LeadPerson) -> RecipesOut:
    """The named starting points of a training, with every value they set."""
    return RecipesOut(
        items=[
            RecipeOut(
                name=recipe.name,
                title=recipe.title,
                needs=recipe.needs,
                description=description(recipe),
                config=recipe.make().model_dump(mode="json"),
            )
            for recipe in RECIPES.values()
        ]
    )


@router.post("/runs", status_code=201, dependencies=[require_scope("train")])
def start_run(
    request: RunIn,
    person: LeadPerson,
    session: WriteSession,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> RunOut:
    """Starts a training on a frozen snapshot; with the same Idempotency-Key the first answer comes again."""
    project = _project_of_snapshot(session, person, request.snapshot_id)

    def act() -> RunOut:
        return views.run_out(session, project, service.start_run(session, person, project, request))

    answer = RunOut.model_validate(idempotent(session, f"runs:{person.id}", idempotency_key, request, act))
    response.headers["location"] = f"/api/v1/runs/{answer.id}"
    return answer


def _project_of_snapshot(session: WriteSession, person: LeadPerson, snapshot_id: Id) -> Project:
    snapshot = repository.snapshot_by_id(session, snapshot_id)
    project = repository.project(session, snapshot.project_id) if snapshot else None
    if project is None or not may_see(session, person, project):
        raise service.invalid("snapshot_id", f"There is no snapshot {snapshot_id} among your projects.")
    return project


@router.get("/runs")
def list_runs(
    project: Annotated[str, Query(description="The project's short name.")],
    person: LeadPerson,
    session: ReadSession,
    page: Paging,
    state: RunState | None = None,
    snapshot_id: GivenId | None = None,
) -> Page[RunOut]:
    """The runs of a project, newest first."""
    found = project_by_slug(session, project)
    if found is None or not may_see(session, person, found):
        raise NotFound(f"There is no project “{project}” among yours.")
    rows, cursor = repository.runs_page(session, found.id, page, state=state, snapshot_id=snapshot_id)
    return Page(items=[views.run_out(session, found, run) for run in rows], next_cursor=cursor)


@router.get("/runs/{run_id}")
def get_run(found: RunForLead, session: ReadSession) -> RunDetail:
    return views.run_detail(session, found.project, session.get_one(Run, found.run.id))


@router.post("/runs/{run_id}/cancel", dependencies=[require_scope("train")])
def cancel_run(found: RunForLead, person: LeadPerson, session: WriteSession) -> RunOut:
    """Asks a run to stop at its next step, after a checkpoint; a waiting run is cancelled at once."""
    run = service.cancel_run(session, person, session.get_one(Run, found.run.id))
    return views.run_out(session, found.project, run)


@router.post("/runs/{run_id}/resume", dependencies=[require_scope("train")])
def resume_run(found: RunForLead, person: LeadPerson, session: WriteSession) -> RunOut:
    """Goes on with a cancelled or failed run from its last checkpoint."""
    run = service.resume_run(session, person, found.project, session.get_one(Run, found.run.id))
    return views.run_out(session, found.project, run)


@router.get("/runs/{run_id}/events")
def run_events(
    found: RunForLead,
    session: ReadSession,
    after: Annotated[int, Query(ge=-1, description="`last_seq` of the answer before; -1 for all.")] = -1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
) -> EventsOut:
    """The trainer's event stream, in order, from after a given sequence number."""
    events = repository.events_after(session, found.run.id, after, limit)
    return EventsOut(items=[views.event_out(event) for event in events], last_seq=events[-1].seq if events else after)


@router.get("/runs/{run_id}/curves")
def run_curves(found: RunForLead, session: ReadSession) -> CurvesOut:
    """Every logged figure over the steps; steps that were done again after a crash count once."""
    return views.curves(session, session.get_one(Run, found.run.id))


@router.get("/runs/{run_id}/stream", response_class=EventSourceResponse)
async def run_stream(found: RunForLead, request: Request, after: Annotated[int, Depends(stream.position)]) -> Any:
    """The event stream live (server-sent events); browsers that reconnect go on where they were."""
    async for event in stream.follow(request, request.app.state.database, found.run.id, after):
        yield event


@router.get("/runs/{run_id}/adapter")
def run_adapter(found: RunForLead, request: Request) -> StreamingResponse:
    """The tuned adapter, as `load_lora_weights` of the base's pipeline takes it."""
    digest = found.run.adapter_digest
    if digest is None:
        raise NotFound(f"“{found.run.name}” has no adapter yet: it is made when the training finishes.")
    name = f"{found.project.slug}-run-{found.run.id}-{LORA_FILE}"
    return StreamingResponse(
        request.app.state.blobs.stream(digest),
        media_type="application/octet-stream",
        headers={"content-disposition": f'attachment; filename="{name}"', "etag": f'"{digest}"'},
    )


@router.get("/runs/{run_id}/log")
def run_log(found: RunForLead, _: AdminPerson, request: Request, session: ReadSession) -> LogOut:
    """The end of the latest attempt's log: from the worker's folder where this server sees it, else as last stored."""
    attempts = repository.attempts(session, found.run.id)
    if not attempts:
        return LogOut(attempt=None, text="")
    latest = attempts[-1]
    live = log_tail(workplace(request.app.state.settings.home, found.run.id).log(latest.number))
    return LogOut(attempt=latest.number, text=live or latest.log_tail)
