"""How good the judgments are: agreement, side bias, pace, annotator by annotator."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.catalogue.models import Project
from backend.preferences import repository
from backend.preferences.agreement import krippendorff_alpha, pairwise_agreement
from backend.preferences.intervals import Share, side_bias, wilson
from backend.preferences.schemas import VoteFilter

OUTCOMES = ("a", "b", "tie", "both_bad")


@dataclass(frozen=True)
class AnnotatorQuality:
    """One annotator's judgments in numbers; `agreement` is with the others on the same pairs."""

    person: Person
    judgments: int
    skips: int
    edited: int
    seconds: float | None
    agreement: Share
    left: Share
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Disagreement:
    """A pair of candidates on which annotators were split."""

    condition_id: int
    prompt: str
    images: tuple[str, str]
    candidates: tuple[int, int]
    wins: tuple[int, int]
    undecided: int


@dataclass(frozen=True)
class Quality:
    """A project's judgments as a whole and by annotator; α and agreement are null where nothing was judged twice."""

    alpha: float | None
    agreement: float | None
    repeated: int
    judgments: int
    simulated: int
    left: Share
    annotators: list[AnnotatorQuality]
    disagreements: list[Disagreement]


def read_quality(session: Session, project: Project, chosen: VoteFilter) -> Quality:
    """Figures of the votes in `chosen`; counts of judgments and pace are of all criteria."""
    alpha, agreement, repeated = _agreement(session, project, chosen)
    sides = repository.sides(session, project.id, chosen)
    figures = repository.annotator_figures(session, project.id, chosen.who)
    people = repository.people(session, [row.person_id for row in figures])
    alike = {person: wilson(same, total) for person, same, total in repository.agreements(session, project.id, chosen)}
    nothing = wilson(0, 0)
    annotators = [
        AnnotatorQuality(
            person=people[row.person_id],
            judgments=row.judgments,
            skips=int(row.skips or 0),
            edited=int(row.edited or 0),
            seconds=float(row.seconds) if row.seconds is not None else None,
            agreement=alike.get(row.person_id, nothing),
            left=side_bias(row_[1:] for row_ in sides if row_[0] == row.person_id),
            first=row.first,
            last=row.last,
        )
        for row in figures
    ]
    annotators.sort(key=lambda one: (one.person.is_simulated, -one.judgments, one.person.id))
    return Quality(
        alpha=alpha,
        agreement=agreement,
        repeated=repeated,
        judgments=sum(one.judgments for one in annotators),
        simulated=sum(one.judgments for one in annotators if one.person.is_simulated),
        left=side_bias(row[1:] for row in sides),
        annotators=annotators,
        disagreements=_disagreements(session, project, chosen),
    )


def _agreement(session: Session, project: Project, chosen: VoteFilter) -> tuple[float | None, float | None, int]:
    units: dict[tuple[int, int], list[int]] = {}
    for a, b, outcome, count in repository.all_pair_outcomes(session, project.id, chosen):
        units.setdefault((a, b), [0] * len(OUTCOMES))[OUTCOMES.index(outcome)] += count
    table = list(units.values())
    agreement, repeated = pairwise_agreement(table)
    return krippendorff_alpha(table), agreement, repeated


def _disagreements(session: Session, project: Project, chosen: VoteFilter) -> list[Disagreement]:
    rows = repository.split_pairs(session, project.id, chosen, limit=6)
    images = repository.candidate_images(session, {row[0] for row in rows})
    prompts = repository.prompts(session, {row[0] for row in rows})
    return [
        Disagreement(
            condition_id=condition,
            prompt=prompts[condition],
            images=(images[a], images[b]),
            candidates=(a, b),
            wins=(a_wins, b_wins),
            undecided=total - a_wins - b_wins,
        )
        for condition, a, b, a_wins, b_wins, total in rows
    ]
