"""SQL of what leads decide: comparisons with a known answer, and the work of one person judged anew."""

from typing import Any

from sqlalchemy import and_, case, delete, exists, func, select, update
from sqlalchemy.orm import Session

from backend.catalogue.models import Candidate, Generator
from backend.judging.models import (
    Assignment,
    AssignmentState,
    Comparison,
    ComparisonCandidate,
    ComparisonKind,
    ComparisonState,
    Judgment,
    Outcome,
    Purpose,
    Vote,
)
from backend.judging.models_serving import GoldAnswer, Matchup
from backend.judging.repository import LIVE, upsert
from backend.kit.database import utcnow

_BULK = {"synchronize_session": False}


def write_gold(session: Session, project_id: int, comparison_id: int, expected: dict[str, Any], why: str) -> None:
    """Stores or replaces a known answer and takes what is open of its comparison out of ordinary work."""
    values = {"expected": expected, "explanation": why, "is_retired": False}
    statement = upsert(session, GoldAnswer).values(
        comparison_id=comparison_id, project_id=project_id, created_at=utcnow(), **values
    )
    session.execute(statement.on_conflict_do_update(index_elements=["comparison_id"], set_=values))
    session.execute(
        update(Comparison)
        .where(Comparison.id == comparison_id, Comparison.state == ComparisonState.OPEN)
        .values(state=ComparisonState.WITHDRAWN.value, wanted=Comparison.wanted - Comparison.open_slots, open_slots=0)
        .execution_options(**_BULK)
    )


def retire_gold(session: Session, project_id: int, comparison_id: int) -> bool:
    statement = (
        update(GoldAnswer)
        .where(GoldAnswer.comparison_id == comparison_id, GoldAnswer.project_id == project_id)
        .values(is_retired=True)
        .returning(GoldAnswer.comparison_id)
        .execution_options(**_BULK)
    )
    return session.scalar(statement) is not None


def gold_figures(session: Session, project_id: int) -> list[tuple[GoldAnswer, int, int, int]]:
    """(known answer, its condition, how often it was answered, how often so), newest first."""
    right = func.coalesce(func.sum(case((Judgment.agrees.is_(True), 1), else_=0)), 0)
    met = and_(
        Judgment.comparison_id == GoldAnswer.comparison_id,
        Judgment.purpose == Purpose.GOLD,
        Judgment.agrees.is_not(None),
    )
    query = (
        select(GoldAnswer, Comparison.condition_id, func.count(Judgment.id), right)
        .join(Comparison, Comparison.id == GoldAnswer.comparison_id)
        .outerjoin(Judgment, met)
        .where(GoldAnswer.project_id == project_id, GoldAnswer.is_retired.is_(False))
        .group_by(GoldAnswer, Comparison.condition_id)
        .order_by(GoldAnswer.comparison_id.desc())
    )
    return [(gold, condition, seen, int(right)) for gold, condition, seen, right in session.execute(query)]


def untouched_open(session: Session, project_id: int, limit: int) -> list[tuple[int, ComparisonKind]]:
    """Open comparisons that nobody has had yet, newest first."""
    query = select(Comparison.id, Comparison.kind).where(
        Comparison.project_id == project_id,
        Comparison.state == ComparisonState.OPEN,
        Comparison.open_slots == Comparison.wanted,
        ~exists().where(Assignment.comparison_id == Comparison.id),
    )
    rows = session.execute(query.order_by(Comparison.id.desc()).limit(limit))
    return [(row.id, ComparisonKind(row.kind)) for row in rows]


def lock_work(session: Session, project_id: int, person_id: int) -> list[int]:
    """Makes whatever else is done with the person's assignments in the project wait; those that are leased.

    Locks assignments first, then what they are of, as an answer does, and each by id, as whatever else takes several.
    """
    of_project = select(Comparison.id).where(Comparison.project_id == project_id)
    mine = (Assignment.person_id == person_id, Assignment.comparison_id.in_(of_project))
    query = select(Assignment.id, Assignment.state).where(*mine).order_by(Assignment.id)
    locked = session.execute(query.with_for_update(of=Assignment)).all()
    counted = select(Assignment.comparison_id).where(
        *mine, Assignment.state.in_(LIVE), Assignment.purpose == Purpose.REGULAR
    )
    comparisons = select(Comparison.id).where(Comparison.id.in_(counted)).order_by(Comparison.id)
    session.execute(comparisons.with_for_update(of=Comparison)).all()
    return [row.id for row in locked if row.state == AssignmentState.LEASED]


def set_aside(session: Session, project_id: int, person_id: int) -> int:
    """Takes a person's answers out of everything and opens their comparisons for others; how many answers."""
    of_person = select(Judgment.id).where(
        Judgment.project_id == project_id,
        Judgment.person_id == person_id,
        Judgment.purpose == Purpose.REGULAR,
        Judgment.outcome != Outcome.SKIP,
    )
    session.execute(delete(Vote).where(Vote.judgment_id.in_(of_person)).execution_options(**_BULK))
    comparisons = select(Judgment.comparison_id).where(Judgment.id.in_(of_person))
    judgments = Comparison.judgments - 1
    session.execute(
        update(Comparison)
        .where(Comparison.id.in_(comparisons))
        .values(
            judgments=judgments,
            open_slots=Comparison.open_slots + 1,
            state=case(
                (Comparison.state == ComparisonState.WITHDRAWN, ComparisonState.WITHDRAWN.value),
                else_=ComparisonState.OPEN.value,
            ),
        )
        .execution_options(**_BULK)
    )
    assignments = select(Judgment.assignment_id).where(Judgment.id.in_(of_person))
    aside = {"purpose": Purpose.SET_ASIDE.value}
    session.execute(update(Assignment).where(Assignment.id.in_(assignments)).values(**aside).execution_options(**_BULK))
    return session.execute(
        update(Judgment).where(Judgment.id.in_(of_person)).values(**aside).execution_options(**_BULK)
    ).rowcount


def set_priority(
    session: Session, project_id: int, priority: int, *, kind: str | None, criterion: str | None, generator: int | None
) -> int:
    """Gives open comparisons a priority; how many."""
    statement = update(Comparison).where(Comparison.project_id == project_id, Comparison.state == ComparisonState.OPEN)
    if kind:
        statement = statement.where(Comparison.kind == kind)
    if criterion:
        statement = statement.where(Comparison.criterion == criterion)
    if generator:
        shows = (
            select(ComparisonCandidate.comparison_id)
            .join(Candidate, Candidate.id == ComparisonCandidate.candidate_id)
            .where(Candidate.generator_id == generator)
        )
        statement = statement.where(Comparison.id.in_(shows))
    return session.execute(statement.values(priority=priority).execution_options(**_BULK)).rowcount


def open_by_priority(session: Session, project_id: int) -> list[tuple[int, int, int]]:
    """(priority, open comparisons, open slots), most urgent first."""
    query = (
        select(Comparison.priority, func.count(), func.sum(Comparison.open_slots))
        .where(
            Comparison.project_id == project_id,
            Comparison.state == ComparisonState.OPEN,
            Comparison.open_slots > 0,
        )
        .group_by(Comparison.priority)
        .order_by(Comparison.priority.desc())
    )
    return [(priority, count, int(slots)) for priority, count, slots in session.execute(query)]


def matchups(session: Session, project_id: int) -> list[Matchup]:
    query = select(Matchup).where(Matchup.project_id == project_id)
    return list(session.scalars(query.order_by(Matchup.criterion, Matchup.generator_a, Matchup.generator_b)))


def generator_names(session: Session, project_id: int) -> dict[int, str]:
    query = select(Generator.id, Generator.name).where(Generator.project_id == project_id).order_by(Generator.id)
    return dict(session.execute(query).all())
