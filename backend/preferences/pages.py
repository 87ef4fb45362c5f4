"""Pages: leaderboard, the judgments behind a figure, quality."""

from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from backend.catalogue.access import ProjectForLead
from backend.catalogue.models import Criterion, Project, Split
from backend.judging.models import REASONS, ComparisonKind, Outcome, Purpose
from backend.kit.database import ReadSession
from backend.kit.errors import Invalid
from backend.kit.forms import read_form
from backend.kit.pages import render
from backend.kit.paging import Paging
from backend.preferences import repository, repository_judgments
from backend.preferences.plots import day_plot, heat, matrix_rows, online_scale, rating_scale
from backend.preferences.quality import read_quality
from backend.preferences.schemas import JudgmentFilter, VoteFilter, Who
from backend.preferences.service import leaderboard
from backend.preferences.slices import dimensions, losses_by_generator, ratings_by

router = APIRouter()

Filter = TypeVar("Filter", bound=BaseModel)

WHO_CHOICES = [(Who.ALL, "Everybody"), (Who.PEOPLE, "People only"), (Who.SIMULATED, "Simulated only")]
SPLIT_CHOICES = [("", "All conditions"), (Split.TRAIN, "Training"), (Split.VALIDATION, "Held-out")]
OUTCOME_WORDS = {
    Outcome.MARKS: "marked",
    Outcome.CHOICE: "chose",
    Outcome.TIE: "tie",
    Outcome.BOTH_GOOD: "both good",
    Outcome.BOTH_GOOD: "both good",
    Outcome.BOTH_BAD: "both bad",
    Outcome.SKIP: "skipped",
}
REASON_CHOICES = [("", "Any reason"), *((one, one.capitalize()) for one in REASONS)]
PURPOSE_CHOICES = [
    ("", "All judgments"),
    (Purpose.REGULAR, "Counted"),
    (Purpose.GOLD, "Gold items"),
    (Purpose.REPEAT, "Repeated items"),
    (Purpose.SET_ASIDE, "Set aside"),
]
KIND_WORDS = {ComparisonKind.WIN_LOSE: "win/lose", ComparisonKind.PAIRWISE: "pairwise", ComparisonKind.ARENA: "arena"}


def criterion_words(value: str) -> str:
    return value.replace("_", " ").capitalize()


def criterion_choices(session: Session, project: Project, current: str | None) -> list[tuple[str, str]]:
    """The criteria that are judged in the project or asked for now, as choices of a form."""
    used = (
        set(repository.used_criteria(session, project.id)) | set(project.criteria) | ({current} if current else set())
    )
    return [(one.value, criterion_words(one.value)) for one in Criterion if one.value in used]


def _vote_filter(request: Request) -> VoteFilter:
    return _read_filter(request, VoteFilter)


def _read_filter(request: Request, model: type[Filter]) -> Filter:
    """The filter in the address; a field left empty asks nothing."""
    fields = {name: value for name, value in request.query_params.items() if name in model.model_fields and value}
    chosen, errors = read_form(model, fields)
    if chosen is None:
        words = "; ".join(f"{name}: {sentence}" for name, sentence in errors.items())
        raise Invalid(f"The filters in the address cannot be read ({words}). Take them away to see everything.")
    return chosen


Chosen = Annotated[VoteFilter, Depends(_vote_filter)]


def _filter_context(session: Session, project: Project, chosen: VoteFilter) -> dict[str, Any]:
    return {
        "project": project,
        "chosen": chosen,
        "criteria": criterion_choices(session, project, chosen.criterion),
        "criterion_label": criterion_words(chosen.criterion),
        "whos": WHO_CHOICES,
        "splits": SPLIT_CHOICES,
        "reasons": REASON_CHOICES,
        "slices": slice_choices(session, project, chosen.slice),
        "where": _where(chosen),
    }


def slice_choices(session: Session, project: Project, current: str | None) -> list[tuple[str, str]]:
    """What conditions can be told by, as choices of a form: "kind=car", "Kind: car" and so on."""
    found = [
        (f"{key}={value}", f"{key.replace('_', ' ').capitalize()}: {value.replace('_', ' ')}")
        for key, values in dimensions(session, project).items()
        for value in values
    ]
    if current and current not in dict(found):
        found.append((current, current.replace("=", ": ")))
    return [("", "Any"), *found]


def _where(chosen: VoteFilter) -> str:
    """The filter as an address carries it on, without the criterion."""
    fields = chosen.model_dump(mode="json", exclude_none=True, exclude={"criterion"})
    return urlencode({name: value for name, value in fields.items() if value != Who.ALL})


@router.get("/projects/{slug}/leaderboard")
def leaderboard_page(request: Request, project: ProjectForLead, session: ReadSession, chosen: Chosen) -> HTMLResponse:
    """Strengths with interval bars, rank ranges, the win matrix, and the exact judge beside them where there is one."""
    board = leaderboard(session, project, chosen)
    losses, losses_as_of = losses_by_generator(session, project, chosen)
    return render(
        request,
        "preferences/leaderboard.html",
        board=board,
        scale=rating_scale(board.ratings) if board.ratings else None,
        online_scale=online_scale(board.ratings) if board.ratings else None,
        rows=matrix_rows(board),
        heat=heat,
        losses={one.generator_id: one for one in losses},
        losses_as_of=losses_as_of,
        reason_names=REASONS,
        generators=repository.generator_names(session, project.id),
        **_filter_context(session, project, chosen),
    )


@router.get("/projects/{slug}/leaderboard/slices")
def slices_page(
    request: Request, project: ProjectForLead, session: ReadSession, chosen: Chosen, by: str = "reason"
) -> HTMLResponse:
    """Ratings side by side over the values of one dimension: criteria, splits, reasons, kinds of subjects and so on."""
    found = ratings_by(session, project, chosen, by)
    names = repository.generator_names(session, project.id)
    rated = sorted({generator for one in found.slices for generator in one.ratings})
    return render(
        request,
        "preferences/slices.html",
        found=found,
        generators={generator: names[generator] for generator in rated},
        heat=heat,
        **_filter_context(session, project, chosen),
    )


def _judgment_filter(request: Request) -> JudgmentFilter:
    return _read_filter(request, JudgmentFilter)


@router.get("/projects/{slug}/judgments")
def judgments_page(
    request: Request,
    project: ProjectForLead,
    session: ReadSession,
    page: Paging,
    wanted: Annotated[JudgmentFilter, Depends(_judgment_filter)],
) -> HTMLResponse:
    """Who said what, newest first: the judgments behind a bar, a cell, an annotator or a pair."""
    found, cursor = repository_judgments.judgments_page(session, project.id, page, wanted)
    names = repository.generator_names(session, project.id)
    return render(
        request,
        "preferences/judgments.html",
        project=project,
        judgments=found,
        details=repository_judgments.judgment_details(session, found),
        comparisons=repository_judgments.comparisons_of(session, found),
        people=repository_judgments.people(session, [judgment.person_id for judgment in found]),
        about=_about(session, wanted, names),
        wanted=wanted,
        criteria=[("", "Any criterion"), *criterion_choices(session, project, wanted.criterion)],
        reasons=REASON_CHOICES,
        outcomes=[("", "Any answer"), *((one.value, words) for one, words in OUTCOME_WORDS.items())],
        purposes=PURPOSE_CHOICES,
        purpose_words={Purpose.GOLD: "gold", Purpose.REPEAT: "repeated", Purpose.SET_ASIDE: "set aside"},
        whos=WHO_CHOICES,
        generators=[("", "Any generator"), *names.items()],
        outcome_words=OUTCOME_WORDS,
        kind_words=KIND_WORDS,
        criterion_words=criterion_words,
        next_cursor=cursor,
        looked_at=repository_judgments.LOOKED_AT,
    )


def _about(session: Session, wanted: JudgmentFilter, names: dict[int, str]) -> str:
    """What the listed judgments are about, as the end of a sentence; empty where they are all there are."""
    parts = []
    if wanted.generator is not None:
        parts.append(f"of {names.get(wanted.generator, f'generator {wanted.generator}')}")
    if wanted.versus is not None:
        parts.append(f"against {names.get(wanted.versus, f'generator {wanted.versus}')}")
    if wanted.loser is not None:
        parts.append(f"that {names.get(wanted.loser, f'generator {wanted.loser}')} lost")
    if wanted.reason is not None:
        parts.append(f"for {wanted.reason}")
    if wanted.person is not None:
        person = repository_judgments.people(session, [wanted.person]).get(wanted.person)
        parts.append(f"by {person.name if person else f'person {wanted.person}'}")
    if wanted.condition is not None:
        parts.append(f"on condition {wanted.condition}")
    if wanted.candidate is not None:
        parts.append(f"about candidate {wanted.candidate}")
    if wanted.split is not None:
        parts.append("on held-out conditions" if wanted.split is Split.VALIDATION else "on training conditions")
    if wanted.slice is not None:
        parts.append("where " + wanted.slice.replace("=", " is ").replace("_", " "))
    if wanted.prompt is not None:
        parts.append(f"with “{wanted.prompt}” in the prompt")
    return " ".join(parts)


@router.get("/projects/{slug}/quality")
def quality_page(request: Request, project: ProjectForLead, session: ReadSession, chosen: Chosen) -> HTMLResponse:
    """Agreement, side bias and pace, annotator by annotator, and the pairs on which opinions are divided."""
    quality = read_quality(session, project, chosen)
    return render(
        request,
        "preferences/quality.html",
        quality=quality,
        plot=day_plot(quality.days),
        heat=heat,
        **_filter_context(session, project, chosen),
    )
