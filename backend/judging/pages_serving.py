"""The page on which leads see who judges how well, and steer what is served to whom."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.orm import Session

from backend.accounts.access import CurrentPerson
from backend.catalogue.access import ProjectForLead
from backend.catalogue.models import Criterion, Project
from backend.judging import repository_standing, repository_supervision, supervision
from backend.judging.leases import judging_settings
from backend.judging.models import ComparisonKind
from backend.judging.schemas_serving import GoldIn, GoldOfVerdicts, PauseIn, PriorityIn, QuotaIn
from backend.kit.database import ReadSession, WriteSession
from backend.kit.errors import Invalid
from backend.kit.forms import SubmittedForm, read_form
from backend.kit.ids import Id
from backend.kit.pages import render

router = APIRouter()
NOTICES = {
    "paused": "They are paused, and read why when they come for their next comparison.",
    "resumed": "They may go on.",
    "quota": "The number is saved.",
    "requeued": "Their answers are set aside; others judge those comparisons now.",
    "gold": "The known answers are made. Set a gold rate above 0 under Settings to have them met.",
    "retired": "This known answer is met no more.",
    "priority": "The priority is set.",
}
# Known answers shown on the page; REST lists all.
GOLD_SHOWN = 12


@dataclass(frozen=True)
class MatchupCell:
    """One square of the matchup map: a share of claims, and how dark it is drawn (0 to 9)."""

    share: float | None
    depth: int


@router.get("/projects/{slug}/serving")
def serving_page(request: Request, project: ProjectForLead, session: ReadSession, saved: str = "") -> HTMLResponse:
    gold = repository_supervision.gold_figures(session, project.id)
    names, maps = _matchup_maps(session, project)
    return render(
        request,
        "judging/serving.html",
        project=project,
        settings=judging_settings(project),
        standings=repository_standing.standings(session, project.id),
        gold=gold[:GOLD_SHOWN],
        gold_count=len(gold),
        priorities=repository_supervision.open_by_priority(session, project.id),
        names=names,
        maps=maps,
        kinds=[("", "any kind"), *((kind.value, kind.value.replace("_", "/")) for kind in ComparisonKind)],
        criteria=[("", "any criterion"), *((each.value, each.value.replace("_", " ")) for each in Criterion)],
        generators=[("", "any generator"), *((str(i), name) for i, name in names.items())],
        notice=NOTICES.get(saved, ""),
    )


def _matchup_maps(
    session: Session, project: Project
) -> tuple[dict[int, str], dict[str, tuple[list[int], list[list[MatchupCell | None]]]]]:
    """Generator names, and by criterion the generators that meet with the share of claims of each two."""
    names = repository_supervision.generator_names(session, project.id)
    maps: dict[str, tuple[list[int], list[list[MatchupCell | None]]]] = {}
    rows = [row for row in repository_supervision.matchups(session, project.id) if row.aimed_at is not None]
    for criterion in sorted({str(row.criterion) for row in rows}):
        here = {(row.generator_a, row.generator_b): row.propensity for row in rows if row.criterion == criterion}
        ids = sorted({i for pair in here for i in pair})
        most = max(here.values())
        grid: list[list[MatchupCell | None]] = []
        for a in ids:
            shares = [here.get((min(a, b), max(a, b))) if a != b else None for b in ids]
            grid.append([None if v is None else MatchupCell(v, min(9, int(10 * v / most))) for v in shares])
        maps[criterion] = (ids, grid)
    return names, maps


@router.post("/projects/{slug}/serving/people/{person_id}/pause")
def pause(
    project: ProjectForLead, person_id: Id, person: CurrentPerson, form: SubmittedForm, session: WriteSession
) -> RedirectResponse:
    wanted, _ = read_form(PauseIn, {"words": form.get("words", "")})
    supervision.pause(session, person, project, person_id, wanted.words if wanted else "")
    return _back(project, "paused")


@router.post("/projects/{slug}/serving/people/{person_id}/resume")
def resume(project: ProjectForLead, person_id: Id, person: CurrentPerson, session: WriteSession) -> RedirectResponse:
    supervision.resume(session, person, project, person_id)
    return _back(project, "resumed")


@router.post("/projects/{slug}/serving/people/{person_id}/quota")
def quota(
    project: ProjectForLead, person_id: Id, person: CurrentPerson, form: SubmittedForm, session: WriteSession
) -> RedirectResponse:
    wanted, errors = read_form(QuotaIn, {"quota": form.get("quota") or None})
    if wanted is None:
        raise Invalid("The number was not saved. " + " ".join(errors.values()))
    supervision.set_quota(session, person, project, person_id, wanted.quota)
    return _back(project, "quota")


@router.post("/projects/{slug}/serving/people/{person_id}/requeue")
def requeue(project: ProjectForLead, person_id: Id, person: CurrentPerson, session: WriteSession) -> RedirectResponse:
    supervision.requeue(session, person, project, person_id)
    return _back(project, "requeued")


@router.post("/projects/{slug}/serving/gold")
def make_gold(
    project: ProjectForLead, person: CurrentPerson, form: SubmittedForm, session: WriteSession
) -> RedirectResponse:
    wanted, errors = read_form(GoldOfVerdicts, {"count": form.get("count", "")})
    if wanted is None:
        raise Invalid("No known answer was made. " + " ".join(errors.values()))
    supervision.make_gold_of_verdicts(session, person, project, wanted.count)
    return _back(project, "gold")


@router.post("/projects/{slug}/serving/gold/of-judgment")
def make_gold_of_judgment(
    project: ProjectForLead, person: CurrentPerson, form: SubmittedForm, session: WriteSession
) -> RedirectResponse:
    wanted, errors = read_form(GoldIn, {"judgment_id": form.get("judgment_id", "")})
    if wanted is None:
        raise Invalid("No known answer was made. " + " ".join(errors.values()))
    supervision.make_gold(session, person, project, wanted.judgment_id, wanted.explanation)
    return _back(project, "gold")


@router.post("/projects/{slug}/serving/gold/{comparison_id}/retire")
def retire(
    project: ProjectForLead, comparison_id: Id, person: CurrentPerson, session: WriteSession
) -> RedirectResponse:
    supervision.retire_gold(session, person, project, comparison_id)
    return _back(project, "retired")


@router.post("/projects/{slug}/serving/priority")
def priority(
    project: ProjectForLead, person: CurrentPerson, form: SubmittedForm, session: WriteSession
) -> RedirectResponse:
    values = {name: form.get(name) or None for name in ("priority", "kind", "criterion", "generator")}
    wanted, errors = read_form(PriorityIn, values)
    if wanted is None:
        raise Invalid("The priority was not set. " + " ".join(f"{name}: {words}" for name, words in errors.items()))
    supervision.set_priority(
        session,
        person,
        project,
        wanted.priority,
        kind=wanted.kind,
        criterion=wanted.criterion,
        generator=wanted.generator,
    )
    return _back(project, "priority")


def _back(project: ProjectForLead, saved: str) -> RedirectResponse:
    return RedirectResponse(f"/projects/{project.slug}/serving?saved={saved}", status_code=303)
