"""Pages: leaderboard, the judgments behind a figure, quality."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ValidationInfo, field_validator
from sqlalchemy.orm import Session

from backend.catalogue.access import ProjectForLead
from backend.catalogue.models import Criterion, Project, Split
from backend.judging.models import ComparisonKind, Outcome
from backend.kit.database import ReadSession
from backend.kit.errors import Invalid
from backend.kit.forms import read_form
from backend.kit.pages import render
from backend.kit.paging import Paging
from backend.preferences import repository
from backend.preferences.plots import heat, matrix_rows, rating_scale
from backend.preferences.quality import read_quality
from backend.preferences.schemas import VoteFilter, Who
from backend.preferences.service import leaderboard

router = APIRouter()

WHO_CHOICES = [(Who.ALL, "Everybody"), (Who.PEOPLE, "People only"), (Who.SIMULATED, "Simulated only")]
SPLIT_CHOICES = [("", "All conditions"), (Split.TRAIN, "Training"), (Split.VALIDATION, "Held-out")]
OUTCOME_WORDS = {
    Outcome.MARKS: "marked",
    Outcome.CHOICE: "chose",
    Outcome.TIE: "tie",
    Outcome.BOTH_GOOD: "both good",
    Outcome.BOTH_BAD: "both bad",
    Outcome.SKIP: "skipped",
}
KIND_WORDS = {ComparisonKind.WIN_LOSE: "win/lose", ComparisonKind.PAIRWISE: "pairwise", ComparisonKind.ARENA: "arena"}


def criterion_words(value: str) -> str:
    return value.replace("_", " ").capitalize()


def criterion_choices(session: Session, project: Project, current: str | None) -> list[tuple[str, str]]:
    """The criteria that are judged in the project or asked for now, as choices of a form."""
    used = (
        set(repository.used_criteria(session, project.id)) | set(project.criteria) | ({current} if current else set())
    )
    return [(one.value, criterion_words(one.value)) for one in Criterion if one.value in used]


def _vote_filter(
    criterion: Criterion = Criterion.SPATIAL_RATIONALITY,
    who: Who = Who.ALL,
    split: Annotated[str, Query(pattern="^(|train|validation)$")] = "",
) -> VoteFilter:
    return VoteFilter(criterion=criterion, who=who, split=Split(split) if split else None)


Chosen = Annotated[VoteFilter, Depends(_vote_filter)]


def _filter_context(session: Session, project: Project, chosen: VoteFilter) -> dict[str, Any]:
    return {
        "project": project,
        "chosen": chosen,
        "criteria": criterion_choices(session, project, chosen.criterion),
        "criterion_label": criterion_words(chosen.criterion),
        "whos": WHO_CHOICES,
        "splits": SPLIT_CHOICES,
    }


@router.get("/projects/{slug}/leaderboard")
def leaderboard_page(request: Request, project: ProjectForLead, session: ReadSession, chosen: Chosen) -> HTMLResponse:
    """Strengths with interval bars, rank ranges, the win matrix, and the exact judge beside them where there is one."""
    board = leaderboard(session, project, chosen)
    return render(
        request,
        "preferences/leaderboard.html",
        board=board,
        scale=rating_scale(board.ratings) if board.ratings else None,
        rows=matrix_rows(board),
        heat=heat,
        generators=repository.generator_names(session, project.id),
        **_filter_context(session, project, chosen),
    )


class JudgmentFilter(BaseModel):
    """Which judgments are listed, as the form of the page sends it: a field left empty asks nothing."""

    criterion: Criterion | None = None
    who: Who = Who.ALL
    generator: int | None = None
    versus: int | None = None
    person: int | None = None
    condition: int | None = None
    candidate: int | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _empty_asks_nothing(cls, value: object, info: ValidationInfo) -> object:
        if value == "":
            return Who.ALL if info.field_name == "who" else None
        return value


def _judgment_filter(request: Request) -> JudgmentFilter:
    fields = {name: value for name, value in request.query_params.items() if name in JudgmentFilter.model_fields}
    chosen, errors = read_form(JudgmentFilter, fields)
    if chosen is None:
        words = "; ".join(f"{name}: {sentence}" for name, sentence in errors.items())
        raise Invalid(f"The filters in the address cannot be read ({words}). Take them away to see all judgments.")
    return chosen


@router.get("/projects/{slug}/judgments")
def judgments_page(
    request: Request,
    project: ProjectForLead,
    session: ReadSession,
    page: Paging,
    wanted: Annotated[JudgmentFilter, Depends(_judgment_filter)],
) -> HTMLResponse:
    """Who said what, newest first: the judgments behind a bar, a cell, an annotator or a pair."""
    found, cursor = repository.judgments_page(session, project.id, page, **dict(wanted))
    names = repository.generator_names(session, project.id)
    return render(
        request,
        "preferences/judgments.html",
        project=project,
        judgments=found,
        details=repository.judgment_details(session, found),
        comparisons=repository.comparisons_of(session, found),
        people=repository.people(session, [judgment.person_id for judgment in found]),
        about=_about(session, wanted, names),
        wanted=wanted,
        criteria=[("", "Any criterion"), *criterion_choices(session, project, wanted.criterion)],
        whos=WHO_CHOICES,
        generators=[("", "Any generator"), *names.items()],
        outcome_words=OUTCOME_WORDS,
        kind_words=KIND_WORDS,
        criterion_words=criterion_words,
        next_cursor=cursor,
    )


def _about(session: Session, wanted: JudgmentFilter, names: dict[int, str]) -> str:
    """What the listed judgments are about, as the end of a sentence; empty where they are all there are."""
    parts = []
    if wanted.generator is not None:
        parts.append(f"of {names.get(wanted.generator, f'generator {wanted.generator}')}")
    if wanted.versus is not None:
        parts.append(f"against {names.get(wanted.versus, f'generator {wanted.versus}')}")
    if wanted.person is not None:
        person = repository.people(session, [wanted.person]).get(wanted.person)
        parts.append(f"by {person.name if person else f'person {wanted.person}'}")
    if wanted.condition is not None:
        parts.append(f"on condition {wanted.condition}")
    if wanted.candidate is not None:
        parts.append(f"about candidate {wanted.candidate}")
    return " ".join(parts)


@router.get("/projects/{slug}/quality")
def quality_page(request: Request, project: ProjectForLead, session: ReadSession, chosen: Chosen) -> HTMLResponse:
    """Agreement, side bias and pace, annotator by annotator, and the pairs on which opinions are divided."""
    quality = read_quality(session, project, chosen)
    return render(request, "preferences/quality.html", quality=quality, **_filter_context(session, project, chosen))
