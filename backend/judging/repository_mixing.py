"""SQL of known answers and repeats."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, exists, select
from sqlalchemy.orm import Session, aliased

from backend.judging.models import Assignment, ComparisonCandidate, Judgment, JudgmentMark, Outcome, Purpose
from backend.judging.models_serving import GoldAnswer
from backend.judging.repository import LIVE

# Among so many known comparisons one is drawn; more would only cost time.
GOLD_BOUND = 200
# A comparison comes back after so many answers at the earliest, and from among the next so many.
REPEAT_AFTER, REPEAT_AMONG = 8, 60


def _mine(comparison: Any, purposes: Sequence[Purpose] | None = None) -> Any:
    held = aliased(Assignment)
    where = [held.comparison_id == comparison, held.person_id == bindparam("of_person"), held.state.in_(LIVE)]
    if purposes:
        where.append(held.purpose.in_(purposes))
    return exists().where(*where)


@cache
def _gold_statement() -> Select[tuple[int]]:
    return (
        select(GoldAnswer.comparison_id)
        .where(
            GoldAnswer.project_id == bindparam("of_project"),
            GoldAnswer.is_retired.is_(False),
            ~_mine(GoldAnswer.comparison_id).correlate(GoldAnswer),
        )
        .limit(GOLD_BOUND)
    )


def gold_for(session: Session, project_id: int, person_id: int) -> list[int]:
    """Comparisons with a known answer that the person has never had."""
    who = {"of_project": project_id, "of_person": person_id}
    return list(session.scalars(_gold_statement(), who))


@cache
def _repeatable_statement() -> Select[tuple[int]]:
    recent = (
        select(Judgment.comparison_id, Judgment.outcome, Judgment.purpose, Judgment.project_id)
        .where(Judgment.person_id == bindparam("of_person"))
        .order_by(Judgment.id.desc())
        .offset(REPEAT_AFTER)
        .limit(REPEAT_AMONG)
        .subquery()
    )
    return select(recent.c.comparison_id).where(
        recent.c.project_id == bindparam("of_project"),
        recent.c.outcome != Outcome.SKIP,
        recent.c.purpose == Purpose.REGULAR,
        ~_mine(recent.c.comparison_id, [Purpose.REPEAT]).correlate(recent),
    )


def repeatable_for(session: Session, project_id: int, person_id: int) -> list[int]:
    """Comparisons the person judged some while ago and has not been asked about again."""
    who = {"of_project": project_id, "of_person": person_id}
    return list(session.scalars(_repeatable_statement(), who))


def known_answer(session: Session, comparison_id: int) -> tuple[str, dict[int, str]] | None:
    """(outcome, {candidate: mark}) of a comparison whose answer is known."""
    expected = session.scalar(select(GoldAnswer.expected).where(GoldAnswer.comparison_id == comparison_id))
    if expected is None:
        return None
    entries = select(ComparisonCandidate.candidate_id).where(ComparisonCandidate.comparison_id == comparison_id)
    candidates = session.scalars(entries.order_by(ComparisonCandidate.position)).all()
    marks = expected.get("marks") or [{"mark": "none"}] * len(candidates)
    return expected["outcome"], {candidate: mark["mark"] for candidate, mark in zip(candidates, marks, strict=True)}


def earlier_answer(session: Session, comparison_id: int, person_id: int) -> tuple[str, dict[int, str]] | None:
    """(outcome, {candidate: mark}) of what the person said of the comparison when it was served for itself."""
    query = select(Judgment.id, Judgment.outcome).where(
        Judgment.comparison_id == comparison_id,
        Judgment.person_id == person_id,
        Judgment.purpose.in_((Purpose.REGULAR, Purpose.SET_ASIDE)),
        Judgment.outcome != Outcome.SKIP,
    )
    row = session.execute(query.order_by(Judgment.id).limit(1)).one_or_none()
    if row is None:
        return None
    marks = select(JudgmentMark.candidate_id, JudgmentMark.mark).where(JudgmentMark.judgment_id == row.id)
    return row.outcome, dict(session.execute(marks).all())
