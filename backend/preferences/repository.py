"""All SQL of the preferences: votes and marks, counted by the database."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, case, func, or_, select
from sqlalchemy.orm import Session, aliased

from backend.accounts.models import Person
from backend.catalogue.models import Candidate, Condition, Generator, Split, Subject, Verdict
from backend.judging.models import Comparison, ComparisonState, Judgment, JudgmentMark, Mark, Outcome, Vote, VoteOutcome
from backend.kit.paging import PageRequest, fetch_page
from backend.preferences.schemas import VoteFilter, Who


@dataclass(frozen=True, slots=True)
class ConditionFact:
    """What pairs need to know of a condition."""

    id: int
    split: Split
    subject_id: int
    prompt: str


def _votes(project_id: int, chosen: VoteFilter, *columns: Any) -> Select[Any]:
    query = select(*columns).select_from(Vote).where(Vote.project_id == project_id, Vote.criterion == chosen.criterion)
    if chosen.who is not Who.ALL:
        query = query.where(Vote.is_simulated.is_(chosen.who is Who.SIMULATED))
    if chosen.split is not None:
        query = query.join(Condition, Condition.id == Vote.condition_id).where(Condition.split == chosen.split)
    return query


def generator_votes(session: Session, project_id: int, chosen: VoteFilter) -> list[tuple[int, int, str, int]]:
    """(generator, generator, outcome, count) of votes between different generators."""
    keys = (Vote.generator_a, Vote.generator_b, Vote.outcome)
    query = _votes(project_id, chosen, *keys, func.count()).where(Vote.generator_a != Vote.generator_b)
    return [tuple(row) for row in session.execute(query.group_by(*keys))]


def generator_votes_by_person(
    session: Session, project_id: int, chosen: VoteFilter
) -> list[tuple[int, int, int, str, int]]:
    """(person, generator, generator, outcome, count) of votes between different generators."""
    keys = (Vote.person_id, Vote.generator_a, Vote.generator_b, Vote.outcome)
    query = _votes(project_id, chosen, *keys, func.count()).where(Vote.generator_a != Vote.generator_b)
    return [tuple(row) for row in session.execute(query.group_by(*keys))]


def simulated_votes(session: Session, project_id: int, chosen: VoteFilter) -> int:
    query = _votes(project_id, chosen, func.count()).where(
        Vote.is_simulated.is_(True), Vote.generator_a != Vote.generator_b
    )
    return session.scalar(query) or 0


def generators(session: Session, project_id: int) -> list[Generator]:
    return list(session.scalars(select(Generator).where(Generator.project_id == project_id).order_by(Generator.id)))


def generator_names(session: Session, project_id: int) -> dict[int, str]:
    query = select(Generator.id, Generator.name).where(Generator.project_id == project_id).order_by(Generator.id)
    return dict(session.execute(query).all())


def verdict_counts(session: Session, project_id: int) -> list[tuple[str, int, str, int, int]]:
    """(judge, generator, split, told, rational) of the exact judges' verdicts; what they cannot tell is left out."""
    keys = (Verdict.judge, Candidate.generator_id, Condition.split)
    query = (
        select(*keys, func.count(), func.sum(case((Verdict.rational.is_(True), 1), else_=0)))
        .join(Candidate, Candidate.id == Verdict.candidate_id)
        .join(Condition, Condition.id == Candidate.condition_id)
        .where(Candidate.project_id == project_id, Verdict.rational.is_not(None))
        .group_by(*keys)
    )
    return [tuple(row) for row in session.execute(query)]


def used_criteria(session: Session, project_id: int) -> list[str]:
    """Criteria under which something is to be judged."""
    query = select(Comparison.criterion).where(Comparison.project_id == project_id).distinct()
    return sorted(session.scalars(query))


# Condition by condition: what pairs are made of


def conditions_after(session: Session, project_id: int, after: int, limit: int) -> list[ConditionFact]:
    """The next conditions in the order of their ids."""
    query = (
        select(Condition.id, Condition.split, Condition.subject_id, Condition.prompt)
        .where(Condition.project_id == project_id, Condition.id > after)
        .order_by(Condition.id)
        .limit(limit)
    )
    return [ConditionFact(row.id, Split(row.split), row.subject_id, row.prompt) for row in session.execute(query)]


def pair_votes(
    session: Session, project_id: int, chosen: VoteFilter, first: int, last: int
) -> list[tuple[int, int, int, str, int]]:
    """(condition, candidate, candidate, outcome, count) for conditions first…last (ids)."""
    keys = (Vote.condition_id, Vote.candidate_a, Vote.candidate_b, Vote.outcome)
    query = _votes(project_id, chosen, *keys, func.count()).where(Vote.condition_id.between(first, last))
    return [tuple(row) for row in session.execute(query.group_by(*keys).order_by(*keys))]


def all_pair_outcomes(session: Session, project_id: int, chosen: VoteFilter) -> Iterable[tuple[int, int, str, int]]:
    """(candidate, candidate, outcome, count) of every pair of candidates, streamed in the order of pairs."""
    keys = (Vote.candidate_a, Vote.candidate_b, Vote.outcome)
    query = _votes(project_id, chosen, *keys, func.count()).group_by(*keys).order_by(Vote.candidate_a, Vote.candidate_b)
    for row in session.execute(query.execution_options(yield_per=5000)):
        yield tuple(row)


def pair_sources(
    session: Session, project_id: int, chosen: VoteFilter, first: int, last: int
) -> list[tuple[int, int, int, int]]:
    """(candidate, candidate, judgment, person) of every vote on conditions first…last (ids)."""
    columns = (Vote.candidate_a, Vote.candidate_b, Vote.judgment_id, Vote.person_id)
    query = _votes(project_id, chosen, *columns).where(Vote.condition_id.between(first, last))
    return [tuple(row) for row in session.execute(query.order_by(*columns))]


def candidate_marks(
    session: Session, project_id: int, chosen: VoteFilter, first: int, last: int
) -> list[tuple[int, int, str, list[str], int]]:
    """(condition, candidate, mark, reasons, count) for conditions first…last (ids); unmarked ones are left out."""
    keys = (Comparison.condition_id, JudgmentMark.candidate_id, JudgmentMark.mark, JudgmentMark.reasons)
    query = (
        select(*keys, func.count())
        .select_from(Comparison)
        .join(Judgment, Judgment.comparison_id == Comparison.id)
        .join(JudgmentMark, JudgmentMark.judgment_id == Judgment.id)
        .where(
            Comparison.project_id == project_id,
            Comparison.criterion == chosen.criterion,
            Comparison.state != ComparisonState.WITHDRAWN,
            Comparison.condition_id.between(first, last),
            JudgmentMark.mark != Mark.NONE,
            Judgment.outcome != Outcome.SKIP,
        )
    )
    if chosen.who is not Who.ALL:
        query = query.where(Judgment.is_simulated.is_(chosen.who is Who.SIMULATED))
    return [tuple(row) for row in session.execute(query.group_by(*keys))]


def candidate_images(session: Session, condition_ids: Iterable[int]) -> dict[int, str]:
    """Candidate id to the digest of its image."""
    query = select(Candidate.id, Candidate.image_digest).where(Candidate.condition_id.in_(list(condition_ids)))
    return dict(session.execute(query).all())


def subject_names(session: Session, subject_ids: Iterable[int]) -> dict[int, str]:
    query = select(Subject.id, Subject.external_id).where(Subject.id.in_(list(subject_ids)))
    return dict(session.execute(query).all())


# Judgments behind a figure


def judgments_page(
    session: Session,
    project_id: int,
    page: PageRequest,
    *,
    criterion: str | None = None,
    who: Who = Who.ALL,
    generator: int | None = None,
    versus: int | None = None,
    person: int | None = None,
    condition: int | None = None,
    candidate: int | None = None,
) -> tuple[list[Judgment], str | None]:
    """Judgments, newest first, that had a say about the given generators, person, condition or candidate."""
    query = select(Judgment).where(Judgment.project_id == project_id)
    if who is not Who.ALL:
        query = query.where(Judgment.is_simulated.is_(who is Who.SIMULATED))
    if person is not None:
        query = query.where(Judgment.person_id == person)
    if criterion is not None or condition is not None:
        query = query.join(Comparison, Comparison.id == Judgment.comparison_id)
        if criterion is not None:
            query = query.where(Comparison.criterion == criterion)
        if condition is not None:
            query = query.where(Comparison.condition_id == condition)
    said = select(Vote.id).where(Vote.judgment_id == Judgment.id)
    if generator is not None:
        said = said.where(
            or_(Vote.generator_a == generator, Vote.generator_b == generator), Vote.generator_a != Vote.generator_b
        )
    if versus is not None:
        said = said.where(or_(Vote.generator_a == versus, Vote.generator_b == versus))
    if generator is not None or versus is not None:
        query = query.where(said.exists())
    if candidate is not None:
        marked = select(JudgmentMark.judgment_id).where(JudgmentMark.candidate_id == candidate)
        query = query.where(Judgment.id.in_(marked))
    return fetch_page(session, query, Judgment.id, page)


def judgment_details(session: Session, judgments: Iterable[Judgment]) -> dict[int, list[tuple[Any, ...]]]:
    """Judgment id to (mark, shown position, reasons, candidate, image, generator, its name), in shown order."""
    query = (
        select(
            JudgmentMark.judgment_id,
            JudgmentMark.mark,
            JudgmentMark.shown_position,
            JudgmentMark.reasons,
            Candidate.id,
            Candidate.image_digest,
            Generator.id,
            Generator.name,
        )
        .join(Candidate, Candidate.id == JudgmentMark.candidate_id)
        .join(Generator, Generator.id == Candidate.generator_id)
        .where(JudgmentMark.judgment_id.in_([judgment.id for judgment in judgments]))
        .order_by(JudgmentMark.judgment_id, JudgmentMark.shown_position)
    )
    found: dict[int, list[tuple[Any, ...]]] = {}
    for judgment_id, *detail in session.execute(query):
        found.setdefault(judgment_id, []).append(tuple(detail))
    return found


def comparisons_of(session: Session, judgments: Iterable[Judgment]) -> dict[int, tuple[Comparison, str]]:
    """Comparison id to the comparison and its condition's prompt."""
    query = (
        select(Comparison, Condition.prompt)
        .join(Condition, Condition.id == Comparison.condition_id)
        .where(Comparison.id.in_({judgment.comparison_id for judgment in judgments}))
    )
    return {comparison.id: (comparison, prompt) for comparison, prompt in session.execute(query)}


def people(session: Session, person_ids: Iterable[int]) -> dict[int, Person]:
    return {person.id: person for person in session.scalars(select(Person).where(Person.id.in_(set(person_ids))))}


# Quality


def sides(session: Session, project_id: int, chosen: VoteFilter) -> list[tuple[int, bool, str, int]]:
    """(person, A was shown first, outcome, count)."""
    keys = (Vote.person_id, Vote.a_shown_first, Vote.outcome)
    return [tuple(row) for row in session.execute(_votes(project_id, chosen, *keys, func.count()).group_by(*keys))]


def annotator_figures(session: Session, project_id: int, who: Who) -> list[Any]:
    """Per annotator: person_id, judgments, skips, mean seconds of those below ten minutes, edited, first, last."""
    timed = case((Judgment.seconds < 600, Judgment.seconds))
    query = (
        select(
            Judgment.person_id,
            func.count().label("judgments"),
            func.sum(case((Judgment.outcome == Outcome.SKIP, 1), else_=0)).label("skips"),
            func.avg(timed).label("seconds"),
            func.sum(case((Judgment.revision > 1, 1), else_=0)).label("edited"),
            func.min(Judgment.created_at).label("first"),
            func.max(Judgment.created_at).label("last"),
        )
        .where(Judgment.project_id == project_id)
        .group_by(Judgment.person_id)
    )
    if who is not Who.ALL:
        query = query.where(Judgment.is_simulated.is_(who is Who.SIMULATED))
    return list(session.execute(query))


def agreements(session: Session, project_id: int, chosen: VoteFilter) -> list[tuple[int, int, int]]:
    """(person, judged alike, compared) over each one's votes against every other's on the same pair of candidates."""
    other = aliased(Vote)
    query = _votes(
        project_id, chosen, Vote.person_id, func.sum(case((other.outcome == Vote.outcome, 1), else_=0)), func.count()
    ).join(
        other,
        (other.candidate_a == Vote.candidate_a)
        & (other.candidate_b == Vote.candidate_b)
        & (other.criterion == Vote.criterion)
        & (other.person_id != Vote.person_id),
    )
    if chosen.who is not Who.ALL:
        query = query.where(other.is_simulated.is_(chosen.who is Who.SIMULATED))
    return [(person, int(same), total) for person, same, total in session.execute(query.group_by(Vote.person_id))]


def split_pairs(
    session: Session, project_id: int, chosen: VoteFilter, limit: int
) -> list[tuple[int, int, int, int, int, int]]:
    """(condition, candidate, candidate, wins, wins, votes) of the pairs on which opinions are most divided."""
    keys = (Vote.condition_id, Vote.candidate_a, Vote.candidate_b)
    first = func.sum(case((Vote.outcome == VoteOutcome.A, 1), else_=0))
    second = func.sum(case((Vote.outcome == VoteOutcome.B, 1), else_=0))
    weaker = case((first < second, first), else_=second)
    query = (
        _votes(project_id, chosen, *keys, first, second, func.count())
        .group_by(*keys)
        .having(weaker > 0)
        .order_by(weaker.desc(), *keys)
        .limit(limit)
    )
    return [(c, a, b, int(one), int(other), total) for c, a, b, one, other, total in session.execute(query)]


def prompts(session: Session, condition_ids: Iterable[int]) -> dict[int, str]:
    query = select(Condition.id, Condition.prompt).where(Condition.id.in_(list(condition_ids)))
    return dict(session.execute(query).all())
