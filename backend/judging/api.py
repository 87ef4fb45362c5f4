"""REST of judging: claim, renew, release, answer, change; lists for leads; simulated annotators."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from backend.accounts.access import CurrentPerson, is_lead, require_scope
from backend.catalogue.access import ProjectForLead, ProjectForMember
from backend.judging import (
    answering,
    api_lessons,
    api_serving,
    lessons,
    repository,
    repository_answers,
    repository_leases,
    service,
    views,
)
from backend.judging.leases import Claimed
from backend.judging.models import Comparison, ComparisonKind, ComparisonState, Judgment
from backend.judging.schemas import (
    AnswerAndNextIn,
    AnswerIn,
    AssignmentDetailOut,
    ClaimIn,
    ClaimOut,
    ComparisonOut,
    JudgmentAndNextOut,
    JudgmentOut,
    LeaseOut,
    ProgressOut,
    SimulateIn,
    SimulationOut,
)
from backend.judging.tasks import start_aiming, start_simulation
from backend.kit.database import ReadSession, WriteSession
from backend.kit.errors import Forbidden, NotFound
from backend.kit.ids import Id
from backend.kit.pages import speak_to
from backend.kit.paging import Page, Paging, fetch_page

router = APIRouter(tags=["judging"])
AnswerKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=8,
        max_length=64,
        description="Made by the client for each answer; sending the answer again under it gives back what is stored.",
    ),
]
JUDGE = [require_scope("judge")]


def _lease_seconds(request: Request) -> int:
    seconds: int = request.app.state.settings.assignment_lease_seconds
    return seconds


@router.post("/projects/{slug}/assignments", dependencies=JUDGE)
def claim_assignments(
    project: ProjectForMember, person: CurrentPerson, body: ClaimIn, request: Request, session: WriteSession
) -> ClaimOut:
    """Leases the next comparisons to the caller and renews the ones they hold."""
    if lessons.must_qualify(session, project, person):
        found = Claimed([], [], "unqualified", service.progress(session, project, person))
        return views.claim_out(found, person.id, request.app.state.tickets)
    seconds = _lease_seconds(request)
    claimed = service.claim(session, project, person, count=body.count, holding=body.holding, lease_seconds=seconds)
    if claimed.needs_aim:
        start_aiming(session, project.id)
    if claimed.reason:
        speak_to(request)
    return views.claim_out(claimed, person.id, request.app.state.tickets)


@router.get("/projects/{slug}/progress")
def own_progress(project: ProjectForMember, person: CurrentPerson, session: ReadSession) -> ProgressOut:
    """The caller's own progress and pace."""
    return views.progress_out(service.progress(session, project, person))


@router.get("/assignments/{assignment_id}")
def show_assignment(
    assignment_id: Id, person: CurrentPerson, request: Request, session: ReadSession
) -> AssignmentDetailOut:
    """One of the caller's own assignments with their answer, if there is one."""
    row = repository_leases.assignment_row(session, assignment_id, person.id)
    if row is None:
        raise NotFound("There is no such assignment of yours.")
    judgment = repository_answers.judgment_of(session, assignment_id)
    answer = service.stored_answer(judgment, len(row.assignment.shown_order)).as_out() if judgment else None
    shown = views.assignment_out(row, person.id, request.app.state.tickets)
    return AssignmentDetailOut(assignment=shown, answer=answer)


@router.post("/assignments/{assignment_id}/renew", dependencies=JUDGE)
def renew_assignment(assignment_id: Id, person: CurrentPerson, request: Request, session: WriteSession) -> LeaseOut:
    """Extends the lease; one that ran out is taken up again while its slot is open."""
    assignment = service.renew(session, person, assignment_id, lease_seconds=_lease_seconds(request))
    return LeaseOut(id=assignment.id, lease_expires_at=assignment.lease_expires_at)


@router.post("/assignments/{assignment_id}/release", dependencies=JUDGE, status_code=204)
def release_assignment(assignment_id: Id, person: CurrentPerson, session: WriteSession) -> None:
    """Gives the comparison back unanswered; doing it twice is harmless."""
    service.release(session, person, assignment_id)


@router.put("/assignments/{assignment_id}/judgment", dependencies=JUDGE)
@router.post("/assignments/{assignment_id}/judgment", dependencies=JUDGE)
def submit_judgment(
    assignment_id: Id,
    key: AnswerKey,
    body: AnswerAndNextIn,
    person: CurrentPerson,
    request: Request,
    response: Response,
    session: WriteSession,
) -> JudgmentAndNextOut:
    """Answers the comparison: 201 when the answer is new, 200 with the stored one when it is sent again.

    With `next` in the body the next comparisons are leased in the same step.
    """
    settings, tickets = request.app.state.settings, request.app.state.tickets
    answered = answering.answer(
        session, person, assignment_id, key, body, lease_seconds=settings.assignment_lease_seconds, tickets=tickets
    )
    response.status_code = 201 if answered.is_new else 200
    return answered.out


@router.patch("/assignments/{assignment_id}/judgment", dependencies=JUDGE)
def revise_answer_of_assignment(
    assignment_id: Id, body: AnswerIn, person: CurrentPerson, session: WriteSession
) -> JudgmentOut:
    """Changes the caller's answer to this assignment; the earlier one is kept as a revision."""
    judgment = service.revise(session, person, body, assignment_id=assignment_id)
    return views.judgments_out(session, [judgment], for_lead=False)[0]


@router.patch("/judgments/{judgment_id}", dependencies=JUDGE)
def revise_judgment(judgment_id: Id, body: AnswerIn, person: CurrentPerson, session: WriteSession) -> JudgmentOut:
    """Changes the caller's own judgment; the earlier answer is kept as a revision."""
    judgment = service.revise(session, person, body, judgment_id=judgment_id)
    return views.judgments_out(session, [judgment], for_lead=False)[0]


@router.get("/projects/{slug}/judgments")
def list_judgments(
    project: ProjectForMember,
    person: CurrentPerson,
    session: ReadSession,
    page: Paging,
    mine: Annotated[bool, Query(description="Only one's own; everybody's are for leads.")] = True,
) -> Page[JudgmentOut]:
    """Judgments, newest first: one's own, or with `mine=false` everybody's for a lead."""
    if not mine and not is_lead(person):
        raise Forbidden("Only leads see other people's judgments: leave out `mine=false` for your own.")
    query = repository_answers.judgments_query(project.id, person.id if mine else None)
    rows, cursor = fetch_page(session, query, Judgment.id, page)
    return Page(items=views.judgments_out(session, rows, for_lead=not mine), next_cursor=cursor)


@router.get("/projects/{slug}/comparisons")
def list_comparisons(
    project: ProjectForLead,
    session: ReadSession,
    page: Paging,
    state: ComparisonState | None = None,
    kind: ComparisonKind | None = None,
) -> Page[ComparisonOut]:
    """Comparisons of the project, newest first, for leads."""
    rows, cursor = fetch_page(
        session, repository.comparisons_query(project.id, state=state, kind=kind), Comparison.id, page
    )
    return Page(items=[views.comparison_out(row) for row in rows], next_cursor=cursor)


@router.post("/projects/{slug}/simulations", status_code=202, dependencies=[require_scope("generate")])
def simulate(project: ProjectForLead, person: CurrentPerson, body: SimulateIn, session: WriteSession) -> SimulationOut:
    """Lets simulated annotators judge what an exact judge has verdicts for; a job does it."""
    return SimulationOut(job_id=start_simulation(session, project, person, body).id)


# After the routes that are asked for all the time: they are tried in this order.
router.include_router(api_lessons.router)
router.include_router(api_serving.router)
