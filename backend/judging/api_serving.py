"""REST of serving, for leads: annotators' standings, pausing and judging anew, known answers, priorities."""

from fastapi import APIRouter

from backend.accounts.access import CurrentPerson, require_scope
from backend.catalogue.access import ProjectForLead
from backend.judging import repository_standing, repository_supervision, supervision
from backend.judging.schemas_serving import (
    CountOut,
    GoldIn,
    GoldOfVerdicts,
    GoldOut,
    PauseIn,
    PriorityIn,
    QuotaIn,
    StandingOut,
)
from backend.kit.database import ReadSession, WriteSession
from backend.kit.ids import Id

router = APIRouter(tags=["judging"])
LEADING = [require_scope("generate")]
ANNOTATOR = "/projects/{slug}/annotators/{person_id}"


@router.get("/projects/{slug}/annotators")
def list_standings(project: ProjectForLead, session: ReadSession) -> list[StandingOut]:
    """Everybody who judges in the project, with their counters, by name."""
    return [
        StandingOut(
            person_id=person.id,
            name=person.name,
            is_simulated=person.is_simulated,
            done=standing.done if standing else 0,
            skipped=standing.skipped if standing else 0,
            seconds_each=standing.seconds_each if standing else None,
            gold_seen=standing.gold_seen if standing else 0,
            gold_right=standing.gold_right if standing else 0,
            quota=standing.quota if standing else None,
            is_paused=bool(standing and standing.paused_at),
            pause_words=standing.pause_words if standing else "",
        )
        for person, standing in repository_standing.standings(session, project.id)
    ]


@router.post(f"{ANNOTATOR}/pause", status_code=204, dependencies=LEADING)
def pause_annotator(
    project: ProjectForLead, person_id: Id, body: PauseIn, person: CurrentPerson, session: WriteSession
) -> None:
    """Serves the annotator nothing more and tells them why; what they hold goes to others."""
    supervision.pause(session, person, project, person_id, body.words)


@router.post(f"{ANNOTATOR}/resume", status_code=204, dependencies=LEADING)
def resume_annotator(project: ProjectForLead, person_id: Id, person: CurrentPerson, session: WriteSession) -> None:
    """Lets the annotator go on; known answers are counted anew."""
    supervision.resume(session, person, project, person_id)


@router.put(f"{ANNOTATOR}/quota", status_code=204, dependencies=LEADING)
def set_annotator_quota(
    project: ProjectForLead, person_id: Id, body: QuotaIn, person: CurrentPerson, session: WriteSession
) -> None:
    supervision.set_quota(session, person, project, person_id, body.quota)


@router.post(f"{ANNOTATOR}/requeue", dependencies=LEADING)
def requeue_annotator(project: ProjectForLead, person_id: Id, person: CurrentPerson, session: WriteSession) -> CountOut:
    """Sets all the annotator's answers aside and has others judge those comparisons; how many."""
    return CountOut(count=supervision.requeue(session, person, project, person_id))


@router.get("/projects/{slug}/gold")
def list_gold(project: ProjectForLead, session: ReadSession) -> list[GoldOut]:
    """The project's known answers."""
    return [
        GoldOut(
            comparison_id=gold.comparison_id,
            condition_id=condition_id,
            expected=gold.expected,
            explanation=gold.explanation,
            seen=seen,
            right=right,
        )
        for gold, condition_id, seen, right in repository_supervision.gold_figures(session, project.id)
    ]


@router.post("/projects/{slug}/gold", status_code=201, dependencies=LEADING)
def add_gold(project: ProjectForLead, body: GoldIn, person: CurrentPerson, session: WriteSession) -> CountOut:
    """Makes one's own judgment the known answer of its comparison."""
    supervision.make_gold(session, person, project, body.judgment_id, body.explanation)
    return CountOut(count=1)


@router.post("/projects/{slug}/gold/of-verdicts", status_code=201, dependencies=LEADING)
def add_gold_of_verdicts(
    project: ProjectForLead, body: GoldOfVerdicts, person: CurrentPerson, session: WriteSession
) -> CountOut:
    """Makes an exact judge's verdicts the known answers of untouched comparisons; how many."""
    return CountOut(count=supervision.make_gold_of_verdicts(session, person, project, body.count))


@router.delete("/projects/{slug}/gold/{comparison_id}", status_code=204, dependencies=LEADING)
def retire_gold(project: ProjectForLead, comparison_id: Id, person: CurrentPerson, session: WriteSession) -> None:
    """Serves this known answer no more."""
    supervision.retire_gold(session, person, project, comparison_id)


@router.post("/projects/{slug}/comparisons/priority", dependencies=LEADING)
def set_priority(project: ProjectForLead, body: PriorityIn, person: CurrentPerson, session: WriteSession) -> CountOut:
    """Puts open comparisons before or behind the others; how many."""
    count = supervision.set_priority(
        session,
        person,
        project,
        body.priority,
        kind=body.kind,
        criterion=body.criterion,
        generator=body.generator,
    )
    return CountOut(count=count)
