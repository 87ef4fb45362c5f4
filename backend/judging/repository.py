"""All SQL of judging. Counters and states change by guarded statements, never by read-then-write."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, case, exists, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased, selectinload

from backend.catalogue.models import Candidate, Condition, Criterion, Subject, Verdict
from backend.judging.answers import ShownCandidate
from backend.judging.models import (
    Assignment,
    AssignmentState,
    Comparison,
    ComparisonCandidate,
    ComparisonKind,
    ComparisonState,
    Judgment,
)

LIVE = (AssignmentState.LEASED, AssignmentState.SUBMITTED, AssignmentState.SKIPPED)
# Counting what is left stops here: beyond it the exact number tells an annotator nothing.
LEFT_BOUND = 1000
# Rows a statement; keeps below SQLite's limit on bound parameters.
CHUNK = 400


class Servable(NamedTuple):
    """Which comparisons of a project one person may be given."""

    project_id: int
    person_id: int
    criterion: Criterion | None = None
    only_with_verdicts: bool = False


class ComparisonFacts(NamedTuple):
    """The unchanging part of a comparison."""

    project_id: int
    condition_id: int
    kind: ComparisonKind
    criterion: Criterion


class LeasedRow(NamedTuple):
    """An assignment with what its holder may see."""

    assignment: Assignment
    comparison_id: int
    kind: ComparisonKind
    criterion: Criterion
    prompt: str
    subject_name: str
    width: int
    height: int


def upsert(session: Session, model: Any) -> Any:
    """An INSERT that can say ON CONFLICT on the session's dialect."""
    dialect = session.get_bind().dialect.name
    return (postgresql if dialect == "postgresql" else sqlite).insert(model)


# --- comparisons -------------------------------------------------------------------------------------------------


def candidates_of_project(session: Session, project_id: int, ids: Sequence[int]) -> dict[int, int]:
    """{candidate id: condition id} of those `ids` that are candidates of the project."""
    found: dict[int, int] = {}
    for start in range(0, len(ids), CHUNK):
        query = select(Candidate.id, Candidate.condition_id).where(
            Candidate.project_id == project_id, Candidate.id.in_(ids[start : start + CHUNK])
        )
        found.update((row.id, row.condition_id) for row in session.execute(query))
    return found


def insert_comparisons(session: Session, rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Inserts what is not there yet; {candidates_hash: id} of the new ones."""
    made: dict[str, int] = {}
    for start in range(0, len(rows), CHUNK // 10):
        statement = (
            upsert(session, Comparison)
            .values(list(rows[start : start + CHUNK // 10]))
            .on_conflict_do_nothing(index_elements=["project_id", "criterion", "kind", "candidates_hash"])
            .returning(Comparison.candidates_hash, Comparison.id)
        )
        made.update((row.candidates_hash, row.id) for row in session.execute(statement))
    return made


def insert_entries(session: Session, rows: Sequence[dict[str, int]]) -> None:
    if rows:
        session.execute(insert(ComparisonCandidate), list(rows))


def comparisons_query(project_id: int, *, state: ComparisonState | None, kind: ComparisonKind | None) -> Select[Any]:
    query = (
        select(Comparison)
        .where(Comparison.project_id == project_id)
        .options(selectinload(Comparison.entries))
        .execution_options(populate_existing=True)
    )
    if state:
        query = query.where(Comparison.state == state)
    return query.where(Comparison.kind == kind) if kind else query


def has_comparisons(session: Session, project_id: int) -> bool:
    return bool(session.scalar(select(exists().where(Comparison.project_id == project_id))))


def facts(session: Session, comparison_id: int) -> ComparisonFacts:
    """What an answer to this comparison needs to know of it; none of it ever changes."""
    query = select(Comparison.project_id, Comparison.condition_id, Comparison.kind, Comparison.criterion)
    row = session.execute(query.where(Comparison.id == comparison_id)).one()
    return ComparisonFacts(row.project_id, row.condition_id, ComparisonKind(row.kind), Criterion(row.criterion))


def shown_candidates(session: Session, comparison_id: int, shown_order: Sequence[int]) -> list[ShownCandidate]:
    """The comparison's candidates from left to right."""
    query = (
        select(ComparisonCandidate.position, Candidate.id, Candidate.generator_id)
        .join(Candidate, Candidate.id == ComparisonCandidate.candidate_id)
        .where(ComparisonCandidate.comparison_id == comparison_id)
    )
    by_position = {row.position: ShownCandidate(row.id, row.generator_id) for row in session.execute(query)}
    return [by_position[position] for position in shown_order]


# --- slots -------------------------------------------------------------------------------------------------------


# Literal, so that the partial index matches however the statement is prepared; the alias is always called `c`.
_OPEN = text("c.open_slots > 0 AND c.state = 'open'")


def _servable(c: Any, *, by_criterion: bool, only_with_verdicts: bool) -> list[Any]:
    held = aliased(Assignment)
    mine = exists().where(held.comparison_id == c.id, held.person_id == bindparam("of_person"), held.state.in_(LIVE))
    conditions: list[Any] = [c.project_id == bindparam("of_project"), _OPEN, ~mine.correlate(c)]
    if by_criterion:
        conditions.append(c.criterion == bindparam("of_criterion"))
    if only_with_verdicts:
        entry = aliased(ComparisonCandidate)
        judged = exists().where(Verdict.candidate_id == entry.candidate_id, Verdict.rational.is_not(None))
        conditions.append(~exists().where(entry.comparison_id == c.id, ~judged.correlate(entry)).correlate(c))
    return conditions


def _parameters(of: Servable) -> dict[str, Any]:
    who = {"of_project": of.project_id, "of_person": of.person_id}
    return who | {"of_criterion": of.criterion} if of.criterion else who


@cache
def _priority_statements() -> tuple[Select[Any], Select[Any], Select[Any]]:
    """The highest priority, the highest below a bound, and the ids it spans. Built once: claims are frequent."""
    c = aliased(Comparison, name="c")
    here = (c.project_id == bindparam("of_project"), _OPEN)
    highest = select(c.priority).where(*here).order_by(c.priority.desc()).limit(1)
    at = (*here, c.priority == bindparam("of_priority"))
    first = select(c.id).where(*at).order_by(c.id).limit(1).scalar_subquery()
    last = select(c.id).where(*at).order_by(c.id.desc()).limit(1).scalar_subquery()
    below = highest.where(c.priority < bindparam("of_bound"))
    return highest, below, select(first.label("lowest"), last.label("highest"))


def next_priority(session: Session, of: Servable, below: int | None) -> tuple[int, int, int] | None:
    """(priority, lowest id, highest id) of the most urgent open comparisons under `below`, whoever may have them."""
    highest, under, span = _priority_statements()
    project = {"of_project": of.project_id}
    priority = (
        session.scalar(highest, project) if below is None else session.scalar(under, project | {"of_bound": below})
    )
    if priority is None:
        return None
    row = session.execute(span, project | {"of_priority": priority}).one()
    return None if row.lowest is None else (priority, row.lowest, row.highest)


@cache
def _take_statement(by_criterion: bool, only_with_verdicts: bool, upwards: bool) -> Any:
    c = aliased(Comparison, name="c")
    pivot = bindparam("of_pivot")
    found = (
        select(c.id)
        .where(
            *_servable(c, by_criterion=by_criterion, only_with_verdicts=only_with_verdicts),
            c.priority == bindparam("of_priority"),
            c.id >= pivot if upwards else c.id < pivot,
        )
        .order_by(c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=c)
        .scalar_subquery()
    )
    table = Comparison.__table__
    return (
        table.update()
        .where(table.c.id == found, table.c.open_slots > 0)
        .values(open_slots=table.c.open_slots - 1)
        .returning(table.c.id)
    )


def take_slot(session: Session, of: Servable, priority: int, pivot: int, *, upwards: bool) -> int | None:
    """Takes one slot of the first servable comparison from `pivot` on (or before it); its id, or None.

    One statement: what it finds it locks, what others have locked it passes over, so that two never take one slot.
    """
    statement = _take_statement(of.criterion is not None, of.only_with_verdicts, upwards)
    return session.scalar(statement, _parameters(of) | {"of_priority": priority, "of_pivot": pivot})


def retake_slot(session: Session, comparison_id: int) -> bool:
    """Takes a slot of this very comparison, if one is open."""
    statement = (
        update(Comparison)
        .where(Comparison.id == comparison_id, Comparison.open_slots > 0, Comparison.state == ComparisonState.OPEN)
        .values(open_slots=Comparison.open_slots - 1)
        .returning(Comparison.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalar(statement) is not None


def return_slot(session: Session, comparison_id: int, slots: int = 1) -> None:
    session.execute(
        update(Comparison)
        .where(Comparison.id == comparison_id)
        .values(open_slots=Comparison.open_slots + slots)
        .execution_options(synchronize_session=False)
    )


def count_judgment(session: Session, comparison_id: int, difference: int) -> None:
    """Adds to the comparison's judgments and completes or reopens it."""
    judgments = Comparison.judgments + difference
    state = case(
        (Comparison.state == ComparisonState.WITHDRAWN, ComparisonState.WITHDRAWN.value),
        (judgments >= Comparison.wanted, ComparisonState.COMPLETE.value),
        else_=ComparisonState.OPEN.value,
    )
    session.execute(
        update(Comparison)
        .where(Comparison.id == comparison_id)
        .values(judgments=judgments, state=state)
        .execution_options(synchronize_session=False)
    )


# --- assignments -------------------------------------------------------------------------------------------------


def times_assigned(session: Session, comparison_id: int) -> int:
    """How often the comparison was handed out, whatever came of it."""
    return session.scalar(select(func.count()).where(Assignment.comparison_id == comparison_id)) or 0


def positions(session: Session, comparison_id: int) -> list[int]:
    query = select(ComparisonCandidate.position).where(ComparisonCandidate.comparison_id == comparison_id)
    return list(session.scalars(query.order_by(ComparisonCandidate.position)))


def insert_lease(
    session: Session, *, comparison_id: int, person_id: int, order: list[int], now: datetime, expires: datetime
) -> int | None:
    """Makes the lease; None where the person has a live assignment of the comparison already."""
    statement = (
        upsert(session, Assignment)
        .values(
            comparison_id=comparison_id,
            person_id=person_id,
            state=AssignmentState.LEASED.value,
            shown_order=order,
            lease_expires_at=expires,
            created_at=now,
        )
        .on_conflict_do_nothing()
        .returning(Assignment.id)
    )
    return session.scalar(statement)


def _leased_rows() -> Select[Any]:
    return (
        select(
            Assignment,
            Comparison.id,
            Comparison.kind,
            Comparison.criterion,
            Condition.prompt,
            Subject.name,
            Condition.width,
            Condition.height,
        )
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .join(Condition, Condition.id == Comparison.condition_id)
        .join(Subject, Subject.id == Condition.subject_id)
        .execution_options(populate_existing=True)
    )


def leased(session: Session, project_id: int, person_id: int) -> list[LeasedRow]:
    """The person's leases in the project, oldest first."""
    query = _leased_rows().where(
        Assignment.person_id == person_id,
        Assignment.state == AssignmentState.LEASED,
        Comparison.project_id == project_id,
    )
    return [LeasedRow(*row) for row in session.execute(query.order_by(Assignment.id))]


def assignment_row(session: Session, assignment_id: int, person_id: int) -> LeasedRow | None:
    """One assignment of this person, in whatever state."""
    query = _leased_rows().where(Assignment.id == assignment_id, Assignment.person_id == person_id)
    row = session.execute(query).one_or_none()
    return LeasedRow(*row) if row else None


def lock_assignment(session: Session, assignment_id: int, person_id: int) -> Assignment | None:
    """The person's assignment, locked until the transaction ends; None where it is not theirs."""
    query = (
        select(Assignment)
        .where(Assignment.id == assignment_id, Assignment.person_id == person_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return session.scalar(query)


def has_other_live(session: Session, assignment: Assignment) -> bool:
    """Whether the person has another live assignment of the same comparison."""
    other = exists().where(
        Assignment.comparison_id == assignment.comparison_id,
        Assignment.person_id == assignment.person_id,
        Assignment.id != assignment.id,
        Assignment.state.in_(LIVE),
    )
    return bool(session.scalar(select(other)))


def expire(session: Session, now: datetime, limit: int) -> Counter[int]:
    """Ends leases that ran out; how many slots each comparison gets back."""
    a = aliased(Assignment, name="a")
    ran_out = (
        select(a.id)
        .where(text("a.state = 'leased'"), a.lease_expires_at < now)
        .order_by(a.lease_expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True, of=a)
    )
    statement = (
        update(Assignment)
        .where(Assignment.id.in_(ran_out), Assignment.state == AssignmentState.LEASED)
        .values(state=AssignmentState.EXPIRED.value, ended_at=now)
        .returning(Assignment.comparison_id)
        .execution_options(synchronize_session=False)
    )
    return Counter(session.scalars(statement))


# --- progress ----------------------------------------------------------------------------------------------------


def count_assignments(session: Session, project_id: int, person_id: int) -> dict[AssignmentState, int]:
    query = (
        select(Assignment.state, func.count())
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .where(Assignment.person_id == person_id, Comparison.project_id == project_id)
        .group_by(Assignment.state)
    )
    return {AssignmentState(state): count for state, count in session.execute(query)}


def count_servable(session: Session, of: Servable) -> int:
    """Servable comparisons, counted up to LEFT_BOUND."""
    c = aliased(Comparison, name="c")
    servable = _servable(c, by_criterion=of.criterion is not None, only_with_verdicts=of.only_with_verdicts)
    some = select(c.id).where(*servable).limit(LEFT_BOUND).subquery()
    return session.scalar(select(func.count()).select_from(some), _parameters(of)) or 0


def has_unfinished(session: Session, project_id: int, person_id: int) -> bool:
    """Whether comparisons are unfinished that the person has not dealt with: others hold them now."""
    c = aliased(Comparison, name="c")
    held = aliased(Assignment)
    mine = exists().where(held.comparison_id == c.id, held.person_id == person_id, held.state.in_(LIVE)).correlate(c)
    query = select(c.id).where(c.project_id == project_id, c.state == ComparisonState.OPEN, ~mine).limit(1)
    return session.scalar(query) is not None


def recent_seconds(session: Session, project_id: int, person_id: int, limit: int = 50) -> list[float]:
    query = (
        select(Judgment.seconds)
        .where(Judgment.person_id == person_id, Judgment.project_id == project_id, Judgment.seconds.is_not(None))
        .order_by(Judgment.id.desc())
        .limit(limit)
    )
    return [value for value in session.scalars(query) if value is not None]
