"""SQL behind pairs: votes and marks, condition by condition."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from backend.catalogue.models import Candidate, Condition, Split
from backend.judging.models import (
    Comparison,
    ComparisonCandidate,
    ComparisonState,
    Judgment,
    JudgmentMark,
    Mark,
    Outcome,
    Purpose,
    Vote,
)
from backend.judging.models_serving import GoldAnswer
from backend.preferences.repository import votes_query
from backend.preferences.schemas import VoteFilter, Who

# (candidate, candidate, outcome, person, count)
PairRow = tuple[int, int, str, int, int]


@dataclass(frozen=True, slots=True)
class ConditionFact:
    """What pairs need to know of a condition."""

    id: int
    split: Split
    subject_id: int
    prompt: str


def conditions_after(session: Session, project_id: int, after: int, limit: int) -> list[ConditionFact]:
    """The next conditions in the order of their ids."""
    query = (
        select(Condition.id, Condition.split, Condition.subject_id, Condition.prompt)
        .where(Condition.project_id == project_id, Condition.id > after)
        .order_by(Condition.id)
        .limit(limit)
    )
    return [ConditionFact(row.id, Split(row.split), row.subject_id, row.prompt) for row in session.execute(query)]


def condition(session: Session, project_id: int, condition_id: int) -> ConditionFact | None:
    found = conditions_after(session, project_id, condition_id - 1, 1)
    return found[0] if found and found[0].id == condition_id else None


def pair_votes(
    session: Session, project_id: int, chosen: VoteFilter, first: int, last: int
) -> list[tuple[int, int, int, str, int, int]]:
    """(condition, candidate, candidate, outcome, person, count) for conditions first…last (ids)."""
    keys = (Vote.condition_id, Vote.candidate_a, Vote.candidate_b, Vote.outcome, Vote.person_id)
    query = votes_query(project_id, chosen, *keys, func.count()).where(Vote.condition_id.between(first, last))
    return [tuple(row) for row in session.execute(query.group_by(*keys).order_by(*keys))]


def all_pair_outcomes(session: Session, project_id: int, chosen: VoteFilter) -> Iterator[PairRow]:
    """(candidate, candidate, outcome, person, count) of every pair of candidates, streamed in the order of pairs."""
    keys = (Vote.candidate_a, Vote.candidate_b, Vote.outcome, Vote.person_id)
    query = (
        votes_query(project_id, chosen, *keys, func.count())
        .group_by(*keys)
        .order_by(Vote.candidate_a, Vote.candidate_b)
    )
    for row in session.execute(query.execution_options(yield_per=5000)):
        yield tuple(row)


def pair_sources(
    session: Session, project_id: int, chosen: VoteFilter, first: int, last: int
) -> list[tuple[int, int, int, int]]:
    """(candidate, candidate, judgment, person) of every vote on conditions first…last (ids)."""
    columns = (Vote.candidate_a, Vote.candidate_b, Vote.judgment_id, Vote.person_id)
    query = votes_query(project_id, chosen, *columns).where(Vote.condition_id.between(first, last))
    return [tuple(row) for row in session.execute(query.order_by(*columns))]


def gold_pairs(session: Session, project_id: int) -> set[tuple[int, int]]:
    """Every two candidates (smaller id first) of comparisons whose answer is known, retired ones among them."""
    query = (
        select(ComparisonCandidate.comparison_id, ComparisonCandidate.candidate_id)
        .join(GoldAnswer, GoldAnswer.comparison_id == ComparisonCandidate.comparison_id)
        .where(GoldAnswer.project_id == project_id)
    )
    known: dict[int, list[int]] = {}
    for comparison, candidate in session.execute(query):
        known.setdefault(comparison, []).append(candidate)
    return {pair for candidates in known.values() for pair in combinations(sorted(candidates), 2)}


def marks_query(project_id: int, chosen: VoteFilter, *columns: Any) -> Select[Any]:
    """Columns of the wins and losses marked in what `chosen` names."""
    query = (
        select(*columns)
        .select_from(Comparison)
        .join(Judgment, Judgment.comparison_id == Comparison.id)
        .join(JudgmentMark, JudgmentMark.judgment_id == Judgment.id)
        .where(
            Comparison.project_id == project_id,
            Comparison.criterion == chosen.criterion,
            Comparison.state != ComparisonState.WITHDRAWN,
            JudgmentMark.mark != Mark.NONE,
            Judgment.outcome != Outcome.SKIP,
            Judgment.purpose == Purpose.REGULAR,
            Comparison.id.not_in(select(GoldAnswer.comparison_id).where(GoldAnswer.project_id == project_id)),
        )
    )
    return query if chosen.who is Who.ALL else query.where(Judgment.is_simulated.is_(chosen.who is Who.SIMULATED))


def candidate_marks(
    session: Session, project_id: int, chosen: VoteFilter, first: int, last: int
) -> list[tuple[int, int, str, list[str], int, int]]:
    """(condition, candidate, mark, reasons, person, count) for conditions first…last (ids), without unmarked ones."""
    what = (JudgmentMark.candidate_id, JudgmentMark.mark, JudgmentMark.reasons)
    keys = (Comparison.condition_id, *what, Judgment.person_id)
    query = marks_query(project_id, chosen, *keys, func.count()).where(Comparison.condition_id.between(first, last))
    return [tuple(row) for row in session.execute(query.group_by(*keys))]


def candidate_images(session: Session, condition_ids: Iterable[int]) -> dict[int, str]:
    """Candidate id to the digest of its image."""
    query = select(Candidate.id, Candidate.image_digest).where(Candidate.condition_id.in_(list(condition_ids)))
    return dict(session.execute(query).all())


def prompts(session: Session, condition_ids: Iterable[int]) -> dict[int, str]:
    query = select(Condition.id, Condition.prompt).where(Condition.id.in_(list(condition_ids)))
    return dict(session.execute(query).all())
