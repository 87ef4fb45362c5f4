"""REST of the room: asking for candidates and comparisons."""

from typing import Any

from fastapi import APIRouter

from backend.accounts.access import CurrentPerson, require_scope
from backend.catalogue.access import ProjectForLead
from backend.generation import (
    service,
    tasks,  # noqa: F401  # registers the handler: a job can only be asked for where it is known
)
from backend.generation.schemas import GenerationOut, MakeRequest
from backend.kit.database import WriteSession
from backend.kit.idempotency import IdempotencyKey, idempotent

router = APIRouter(tags=["generation"])


@router.post(
    "/projects/{slug}/generations",
    status_code=202,
    response_model=GenerationOut,
    dependencies=[require_scope("generate")],
)
def create_generation(
    wanted: MakeRequest,
    project: ProjectForLead,
    person: CurrentPerson,
    session: WriteSession,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Starts a job that makes every missing image (condition × generator × seed), then the comparisons asked for.

    Of a generator known only by imported images no image is made; its candidates can still be put to judgment.
    """

    def act() -> GenerationOut:
        job = service.request_candidates(session, person, project, wanted)
        return GenerationOut(job_id=job.id, state=job.state)

    return idempotent(session, f"generations:{project.id}", idempotency_key, wanted, act)
