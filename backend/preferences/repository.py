"""SQL behind ratings: votes, counted by the database. Pairs, judgments and quality have files of their own."""

import json
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, case, cast, exists, func, select
from sqlalchemy.orm import Session

from backend.catalogue.models import Candidate, Condition, Criterion, Generator, Subject, Verdict
from backend.judging.models import Comparison, Judgment, JudgmentMark, Mark, Outcome, Purpose, Vote, VoteOutcome
from backend.judging.models_serving import Standing
from backend.preferences.remembered import Version
from backend.preferences.schemas import JudgmentFilter, VoteFilter, Who

# Answers in a project beyond which figures of its votes are no longer counted while a reader waits.
MANY = 20_000
_MIRRORED = {VoteOutcome.A.value: VoteOutcome.B.value, VoteOutcome.B.value: VoteOutcome.A.value}


def votes_query(project_id: int, chosen: VoteFilter, *columns: Any) -> Select[Any]:
    """Columns of the votes that `chosen` names."""
    query = select(*columns).select_from(Vote).where(Vote.project_id == project_id, Vote.criterion == chosen.criterion)
    if chosen.who is not Who.ALL:
        query = query.where(Vote.is_simulated.is_(chosen.who is Who.SIMULATED))
    if named := named_conditions(chosen):
        query = query.join(Condition, Condition.id == Vote.condition_id).where(*named)
    return query.where(_for_reason(chosen.reason)) if chosen.reason else query


def named_conditions(chosen: VoteFilter | JudgmentFilter) -> list[ColumnElement[bool]]:
    """What a condition must be for `chosen` to name what was said of it."""
    named: list[ColumnElement[bool]] = []
    if chosen.split is not None:
        named.append(Condition.split == chosen.split)
    if chosen.prompt:
        named.append(Condition.prompt.icontains(chosen.prompt, autoescape=True))
    key, _, value = (chosen.slice or "").partition("=")
    if key == "subject":
        named.append(select(Subject.id).where(Subject.id == Condition.subject_id, Subject.name == value).exists())
    elif key:
        named.append(Condition.spec[key].as_string() == value)
    return named


def _for_reason(reason: str) -> ColumnElement[bool]:
    """Of a vote: whether that reason was given against its loser."""
    loser = case((Vote.outcome == VoteOutcome.A, Vote.candidate_b), (Vote.outcome == VoteOutcome.B, Vote.candidate_a))
    return (
        select(JudgmentMark.judgment_id)
        .where(
            JudgmentMark.judgment_id == Vote.judgment_id,
            JudgmentMark.candidate_id == loser,
            cast(JudgmentMark.reasons, Text).contains(f'"{reason}"', autoescape=True),
        )
        .exists()
    )


def version(session: Session, project_id: int, *criteria: str) -> Version:
    """Of all that is said under these criteria. Where there is much, a changed answer is noticed a while later."""
    given = select(func.sum(Standing.done + Standing.skipped)).where(Standing.project_id == project_id)
    answers = session.scalar(given) or 0
    if answers > MANY:
        return Version(answers, True)
    votes = select(Vote.criterion, func.max(Vote.id), func.count()).where(Vote.project_id == project_id)
    rows = session.execute(votes.where(Vote.criterion.in_(criteria)).group_by(Vote.criterion))
    return Version(tuple(sorted(tuple(row) for row in rows)), False)


def shown_votes(session: Session, project_id: int, chosen: VoteFilter) -> list[tuple[int, bool, int, int, str, int]]:
    """(person, simulated, generator on the left, generator on the right, outcome, count) of votes between different
    generators; outcome "a" is a win of the left one."""
    keys = (Vote.person_id, Vote.is_simulated, Vote.generator_a, Vote.generator_b, Vote.outcome, Vote.a_shown_first)
    query = votes_query(project_id, chosen, *keys, func.count()).where(Vote.generator_a != Vote.generator_b)
    return [
        (person, simulated, a, b, outcome, count)
        if first
        else (person, simulated, b, a, _MIRRORED.get(outcome, outcome), count)
        for person, simulated, a, b, outcome, first, count in session.execute(query.group_by(*keys))
    ]


def latest_votes(session: Session, project_id: int, chosen: VoteFilter, most: int) -> list[tuple[int, int, str]]:
    """(generator, generator, outcome) of the latest votes between different generators, in the order of voting."""
    columns = (Vote.generator_a, Vote.generator_b, Vote.outcome)
    query = votes_query(project_id, chosen, *columns).where(Vote.generator_a != Vote.generator_b)
    rows = session.execute(query.order_by(Vote.id.desc()).limit(most)).all()
    return [tuple(row) for row in reversed(rows)]


def losing_marks(session: Session, project_id: int, chosen: VoteFilter) -> list[tuple[int, list[str], int]]:
    """(generator, reasons given, count) of candidates marked as losing, both-bad ones not among them."""
    # Lists of reasons are few; as text they can be grouped on both databases.
    reasons = cast(JudgmentMark.reasons, Text)
    query = (
        select(Candidate.generator_id, reasons, func.count())
        .select_from(Judgment)
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .join(JudgmentMark, JudgmentMark.judgment_id == Judgment.id)
        .join(Candidate, Candidate.id == JudgmentMark.candidate_id)
        .where(
            Judgment.project_id == project_id,
            Judgment.purpose == Purpose.REGULAR,
            Judgment.outcome.in_((Outcome.MARKS, Outcome.CHOICE)),
            JudgmentMark.mark == Mark.LOSE,
            Comparison.criterion == chosen.criterion,
        )
    )
    if chosen.who is not Who.ALL:
        query = query.where(Judgment.is_simulated.is_(chosen.who is Who.SIMULATED))
    if named := named_conditions(chosen):
        query = query.join(Condition, Condition.id == Comparison.condition_id).where(*named)
    rows = session.execute(query.group_by(Candidate.generator_id, reasons))
    return [(generator, json.loads(given), count) for generator, given, count in rows]


def subject_names_used(session: Session, project_id: int, most: int) -> list[str]:
    query = select(Subject.name).where(Subject.project_id == project_id, Subject.name != "").distinct().limit(most)
    return sorted(session.scalars(query))


def sample_specs(session: Session, project_id: int, most: int) -> list[dict[str, Any]]:
    """What judges know of some conditions of the project, in the order of their ids."""
    query = select(Condition.spec).where(Condition.project_id == project_id, Condition.spec.is_not(None))
    return [spec for spec in session.scalars(query.order_by(Condition.id).limit(most)) if spec]


def generators(session: Session, project_id: int) -> list[Generator]:
    return list(session.scalars(select(Generator).where(Generator.project_id == project_id).order_by(Generator.id)))


def generator_names(session: Session, project_id: int) -> dict[int, str]:
    query = select(Generator.id, Generator.name).where(Generator.project_id == project_id).order_by(Generator.id)
    return dict(session.execute(query).all())


def verdict_counts(session: Session, project_id: int) -> list[tuple[str, int, str, int, int]]:
    """(judge, generator, split, judged, rational) of exact judges' verdicts; what they cannot tell is not rational."""
    keys = (Verdict.judge, Candidate.generator_id, Condition.split)
    query = (
        select(*keys, func.count(), func.sum(case((Verdict.rational.is_(True), 1), else_=0)))
        .join(Candidate, Candidate.id == Verdict.candidate_id)
        .join(Condition, Condition.id == Candidate.condition_id)
        .where(Candidate.project_id == project_id)
        .group_by(*keys)
    )
    return [tuple(row) for row in session.execute(query)]


def used_criteria(session: Session, project_id: int) -> list[str]:
    """Criteria under which something is to be judged."""
    # A look for each is quicker than telling apart what a million comparisons say.
    return [
        one.value
        for one in sorted(Criterion)
        if session.scalar(select(exists().where(Comparison.project_id == project_id, Comparison.criterion == one)))
    ]
