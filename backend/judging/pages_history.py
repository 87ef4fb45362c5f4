"""What was said: an annotator's own answers to look at again and to change, and one judgment as a lead sees it."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from backend.accounts.access import CurrentPerson
from backend.catalogue.access import ProjectForLead, ProjectForMember
from backend.judging import repository_answers, repository_lessons, views
from backend.judging.leases import judging_settings
from backend.judging.models import Judgment
from backend.kit.database import ReadSession
from backend.kit.errors import NotFound
from backend.kit.ids import Id
from backend.kit.pages import render
from backend.kit.paging import PageRequest, decode_cursor, fetch_page

router = APIRouter()
ANSWERS_A_PAGE = 12


@router.get("/projects/{slug}/history")
def history_page(
    request: Request,
    project: ProjectForMember,
    person: CurrentPerson,
    session: ReadSession,
    cursor: str | None = None,
) -> HTMLResponse:
    """One's own answers in the project, newest first, each with what it said before it was changed."""
    page = PageRequest(limit=ANSWERS_A_PAGE, after=decode_cursor(cursor) if cursor else None)
    rows, next_cursor = fetch_page(
        session, repository_answers.judgments_query(project.id, person.id), Judgment.id, page
    )
    return render(
        request,
        "judging/history.html",
        project=project,
        answers=views.judgments_out(session, rows, for_lead=False),
        earlier=repository_answers.revisions(session, [row.id for row in rows]),
        reveals=judging_settings(project)["reveal_after_vote"],
        next_cursor=next_cursor,
    )


@router.get("/projects/{slug}/judgments/{judgment_id}")
def judgment_page(request: Request, project: ProjectForLead, judgment_id: Id, session: ReadSession) -> HTMLResponse:
    """One judgment with all that was said: reasons, places, earlier answers."""
    judgment = repository_answers.judgment_in(session, project.id, judgment_id)
    if judgment is None:
        raise NotFound("There is no such judgment in this project.")
    candidates = repository_lessons.candidates_judged(judgment)
    return render(
        request,
        "judging/judgment.html",
        project=project,
        said=views.judgments_out(session, [judgment], for_lead=True)[0],
        earlier=repository_answers.revisions(session, [judgment.id]).get(judgment.id, []),
        candidates=candidates,
        digests=repository_lessons.digests(session, candidates),
        makers=repository_answers.generators_shown(session, judgment.id),
        condition_id=repository_answers.condition_of(session, judgment.comparison_id),
    )
