"""All SQL of judging. Counters and states change by guarded statements, never by read-then-write."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, case, exists, func, insert, literal_column, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased, selectinload

from backend.catalogue.models import Candidate, Criterion, Verdict
from backend.judging.models import (
    Assignment,
    AssignmentState,
    Comparison,
    ComparisonCandidate,
    ComparisonKind,
    ComparisonState,
)

LIVE = (AssignmentState.LEASED, AssignmentState.SUBMITTED, AssignmentState.SKIPPED)
# Counting what is left stops here: beyond it the exact number tells an annotator nothing.
LEFT_BOUND = 200
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


def upsert(session: Session, model: Any) -> Any:
    """An INSERT that can say ON CONFLICT on the session's dialect."""
    return insert_on(session.get_bind().dialect.name, model)


def insert_on(dialect: str, model: Any) -> Any:
    """An INSERT that can say ON CONFLICT on the named dialect."""
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


def has_unfinished(session: Session, project_id: int, person_id: int) -> bool:
    """Whether comparisons are unfinished that the person has not dealt with: others hold them now."""
    c = aliased(Comparison, name="c")
    held = aliased(Assignment)
    mine = exists().where(held.comparison_id == c.id, held.person_id == person_id, held.state.in_(LIVE)).correlate(c)
    query = select(c.id).where(c.project_id == project_id, c.state == ComparisonState.OPEN, ~mine).limit(1)
    return session.scalar(query) is not None


def facts(session: Session, comparison_id: int) -> ComparisonFacts:
    """What an answer to this comparison needs to know of it; none of it ever changes."""
    query = select(Comparison.project_id, Comparison.condition_id, Comparison.kind, Comparison.criterion)
    row = session.execute(query.where(Comparison.id == comparison_id)).one()
    return ComparisonFacts(row.project_id, row.condition_id, ComparisonKind(row.kind), Criterion(row.criterion))


# --- slots -------------------------------------------------------------------------------------------------------


# Literal, so that the partial indexes match however the statement is prepared; the aliases are always called so.
_OPEN = text("c.open_slots > 0 AND c.state = 'open'")
_LIVE = text("held.state IN ('leased', 'submitted', 'skipped')")


def servable_count(of: Servable) -> tuple[Any, dict[str, Any]]:
    """A scalar subquery that counts the servable comparisons up to LEFT_BOUND, and its parameters."""
    c = aliased(Comparison, name="c")
    servable = _servable(c, by_criterion=of.criterion is not None, only_with_verdicts=of.only_with_verdicts)
    some = select(c.id).where(*servable).limit(LEFT_BOUND).subquery()
    return select(func.count()).select_from(some).scalar_subquery(), _parameters(of)


def _servable(c: Any, *, by_criterion: bool, only_with_verdicts: bool) -> list[Any]:
    held = aliased(Assignment, name="held")
    mine = select(held.id).where(held.comparison_id == c.id, held.person_id == bindparam("of_person"), _LIVE)
    # The offset has each comparison looked up by itself, where a join would read all that the person ever held.
    is_mine = exists(mine.correlate(c).offset(literal_column("0")))
    conditions: list[Any] = [c.project_id == bindparam("of_project"), _OPEN, ~is_mine]
    if by_criterion:
        conditions.append(c.criterion == bindparam("of_criterion"))
    if only_with_verdicts:
        entry = aliased(ComparisonCandidate)
        judged = exists().where(Verdict.candidate_id == entry.candidate_id, Verdict.rational.is_not(None))
        conditions.append(~exists().where(entry.comparison_id == c.id, ~judged.correlate(entry)).correlate(c))
    return conditions


def servable_to(c: Any) -> list[Any]:
    """Which comparisons, known by an alias called `c`, one person (of_person, of_project) may be given."""
    return _servable(c, by_criterion=False, only_with_verdicts=False)


def times_held(comparison_id: Any) -> Any:
    """A scalar subquery: how many people hold, answered or skipped the comparison."""
    held = aliased(Assignment, name="held")
    return select(func.count()).select_from(held).where(held.comparison_id == comparison_id, _LIVE)


def _parameters(of: Servable) -> dict[str, Any]:
    who = {"of_project": of.project_id, "of_person": of.person_id}
    return who | {"of_criterion": of.criterion} if of.criterion else who


class Span(NamedTuple):
    """The most urgent open comparisons: their priority and the ids between which they lie, whoever may have them."""

    priority: int
    lowest: int
    highest: int


@cache
def _span_statement(bounded: bool) -> Select[Any]:
    """Built once: claims are frequent."""
    c = aliased(Comparison, name="c")
    here = [c.project_id == bindparam("of_project"), _OPEN]
    below = [c.priority < bindparam("of_bound")] if bounded else []
    top = select(c.priority.label("priority")).where(*here, *below).order_by(c.priority.desc()).limit(1).subquery("top")
    at = (*here, c.priority == top.c.priority)
    first = select(c.id).where(*at).order_by(c.id).limit(1).correlate(top).scalar_subquery()
    last = select(c.id).where(*at).order_by(c.id.desc()).limit(1).correlate(top).scalar_subquery()
    return select(top.c.priority, first, last)


def most_urgent(session: Session, project_id: int, below: int | None = None) -> Span | None:
    """Where the most urgent open comparisons lie, of those with a priority under `below`."""
    bound = {} if below is None else {"of_bound": below}
    row = session.execute(_span_statement(below is not None), {"of_project": project_id} | bound).one_or_none()
    return Span(*row) if row and row[1] is not None else None


@cache
def _take_statement(by_criterion: bool, only_with_verdicts: bool, by_matchup: bool, upwards: bool) -> Any:
    c = aliased(Comparison, name="c")
    pivot = bindparam("of_pivot")
    found = (
        select(c.id)
        .where(
            *_servable(c, by_criterion=by_criterion, only_with_verdicts=only_with_verdicts),
            *([c.matchup_id == bindparam("of_matchup")] if by_matchup else []),
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


def take_slot(
    session: Session, of: Servable, priority: int, pivot: int, *, upwards: bool, matchup_id: int | None = None
) -> int | None:
    """Takes one slot of the first servable comparison from `pivot` on (or before it); its id, or None.

    One statement: what it finds it locks, what others have locked it passes over, so that two never take one slot.
    """
    statement = _take_statement(of.criterion is not None, of.only_with_verdicts, matchup_id is not None, upwards)
    where = {"of_priority": priority, "of_pivot": pivot} | ({"of_matchup": matchup_id} if matchup_id else {})
    return session.scalar(statement, _parameters(of) | where)


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


class Counted(NamedTuple):
    """A comparison's counters after an answer."""

    judgments: int
    wanted: int


def count_judgment(session: Session, comparison_id: int, difference: int) -> Counted:
    """Adds to the comparison's judgments and completes or reopens it."""
    who = {"of_comparison": comparison_id, "difference": difference}
    return Counted(*session.execute(count_statement(), who).one())


@cache
def count_statement() -> Any:
    table = Comparison.__table__
    judgments = table.c.judgments + bindparam("difference")
    state = case(
        (table.c.state == ComparisonState.WITHDRAWN.value, ComparisonState.WITHDRAWN.value),
        (judgments >= table.c.wanted, ComparisonState.COMPLETE.value),
        else_=ComparisonState.OPEN.value,
    )
    return (
        update(table)
        .where(table.c.id == bindparam("of_comparison"))
        .values(judgments=judgments, state=state)
        .returning(table.c.judgments, table.c.wanted)
    )


def want_one_more(session: Session, comparison_id: int) -> None:
    """Opens a comparison for one judgment more than were wanted."""
    session.execute(
        update(Comparison)
        .where(Comparison.id == comparison_id, Comparison.state != ComparisonState.WITHDRAWN)
        .values(wanted=Comparison.wanted + 1, open_slots=Comparison.open_slots + 1, state=ComparisonState.OPEN.value)
        .execution_options(synchronize_session=False)
    )
