"""SQL of a turn on Postgres: one look at all that an ordinary answer needs, and one step that stores it and leases what
comes next. Each is a single statement and a transaction of its own."""

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Float,
    Integer,
    Select,
    Text,
    bindparam,
    cast,
    column,
    exists,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by
from sqlalchemy.orm import Session, aliased

from backend.accounts.models import LoginSession, Person
from backend.accounts.repository import LIVE
from backend.judging import repository, repository_leases, repository_standing
from backend.judging.models import (
    Assignment,
    AssignmentState,
    Comparison,
    ComparisonCandidate,
    Judgment,
    JudgmentMark,
    Purpose,
    Vote,
)
from backend.judging.models_serving import Standing
from backend.judging.repository_leases import Lease, LeasedRow, ToAnswer
from backend.judging.repository_standing import Change, Noted

# Written out, since a plan that is made once for all parameters would take a parameter for many rows.
_ONE = literal_column("1")
_JUDGED = (
    *("comparison_id", "project_id", "person_id", "idempotency_key", "revision", "outcome", "comment", "strength"),
    *("seconds", "is_simulated", "purpose", "created_at", "updated_at"),
)
_MARKS = {"candidate_id": BigInteger, "mark": Text, "shown_position": Integer, "reasons": JSONB, "regions": JSONB}
_VOTES = {
    "candidate_a": BigInteger,
    "candidate_b": BigInteger,
    "generator_a": BigInteger,
    "generator_b": BigInteger,
    "outcome": Text,
    "a_shown_first": Boolean,
}
_OF_JUDGMENT = ("project_id", "person_id", "is_simulated")


class Look(NamedTuple):
    """Who answers what: a live session, its person, one of their assignments, and where they stand in its project.

    `has_standing` tells whether they have answered in the project before.
    """

    session_id: int
    last_seen_at: datetime
    person: Person
    wanted: int
    has_standing: bool
    quota: int | None
    paused_at: datetime | None
    work: ToAnswer


class Stepped(NamedTuple):
    """What a step did; `row` is None where nothing could be leased."""

    judgment_id: int
    noted: Noted
    row: LeasedRow | None


class Following(NamedTuple):
    """The lease that is to follow: the caller's other leases, where to look (0 to 1), and until when."""

    holding: list[int]
    die: float
    expires: datetime


def look(session: Session, assignment_id: int, proof: dict[str, Any]) -> Look | None:
    """None where `proof` (`accounts.repository.proof`) proves nobody, or the assignment is not theirs."""
    row = session.execute(_look_statement(), {"of_assignment": assignment_id, **proof}).one_or_none()
    return None if row is None else Look(*row[-7:], repository_leases.to_answer(row[:-7]))


@cache
def _look_statement() -> Select[Any]:
    standing = (Standing.project_id == Comparison.project_id) & (Standing.person_id == Person.id)
    return (
        repository_leases.answering_query()
        .add_columns(
            LoginSession.id,
            LoginSession.last_seen_at,
            Person,
            Comparison.wanted,
            Standing.person_id.is_not(None),
            Standing.quota,
            Standing.paused_at,
        )
        .join(LoginSession, LoginSession.person_id == Assignment.person_id)
        .join(Person, Person.id == LoginSession.person_id)
        .outerjoin(Standing, standing)
        .where(*LIVE)
    )


def step(
    session: Session,
    values: dict[str, Any],
    *,
    condition_id: int,
    criterion: str,
    marks: list[dict[str, Any]],
    votes: list[dict[str, Any]],
    change: Change,
    following: Following,
) -> Stepped | None:
    """Stores a judgment of these `values` (columns) and leases the next comparison to its author.

    None where the assignment is no longer leased to them. Raises IntegrityError where the key has answered already, or
    another request of theirs was faster by a hair. Nothing is changed then.
    """
    given = {
        **{f"new_{name}": values[name] for name in _JUDGED},
        **repository_standing.note_values(values["project_id"], values["person_id"], change),
        "of_assignment": values["assignment_id"],
        "to_state": AssignmentState.SUBMITTED.value,
        "at": values["created_at"],
        "of_comparison": values["comparison_id"],
        "difference": 1,
        "in_condition": condition_id,
        "by_criterion": criterion,
        "all_marks": marks,
        "all_votes": votes,
        "of_holding": sorted(following.holding),
        "of_die": following.die,
        "until": following.expires,
    }
    row = session.execute(_step_statement(), given).one_or_none()
    if row is None:
        return None
    noted = Noted(*row[1:8])
    leased, comparison_id, order, *shown, images = row[8:]
    if leased is None:
        return Stepped(row[0], noted, None)
    lease = Lease(leased, order, following.expires)
    return Stepped(row[0], noted, LeasedRow(lease, comparison_id, *shown, repository_leases.in_order(images)))


def _given(name: str, kind: Any) -> ColumnElement[Any]:
    """A parameter whose type is said, as a list of selected values needs it."""
    return cast(bindparam(name, type_=kind), kind)


def _rows(parameter: str, columns: dict[str, Any]) -> Any:
    """A parameter's list of objects as a table."""
    function = func.jsonb_to_recordset(bindparam(parameter, type_=JSONB))
    return function.table_valued(*(column(name, kind) for name, kind in columns.items())).render_derived(
        name=f"of_{parameter}", with_types=True
    )


@cache
def _step_statement() -> Any:
    assignment = Assignment.__table__
    is_held = (
        assignment.c.person_id == bindparam("of_person"),
        assignment.c.state == AssignmentState.LEASED.value,
        assignment.c.purpose == Purpose.REGULAR.value,
    )
    ended = repository_leases.state_statement().where(*is_held).returning(assignment.c.id).cte("ended")
    judgment = Judgment.__table__
    new = {name: _given(f"new_{name}", judgment.c[name].type) for name in _JUDGED}
    said = (
        insert(judgment)
        .from_select(["assignment_id", *new], select(ended.c.id, *new.values()))
        .returning(judgment.c.id)
        .cte("said")
    )
    is_said = exists(select(said.c.id))
    counted = repository.count_statement().where(is_said).cte("counted")
    noted = repository_standing.note_statement().where(is_said).cte("noted")
    following = _following(exists(select(counted.c.judgments)))
    found = said.outerjoin(noted, true()).outerjoin(following, true())
    return (
        select(said.c.id, *noted.c, *following.c)
        .select_from(found)
        .add_cte(_marked(said).cte("marked"), _voted(said, new).cte("voted"))
    )


def _marked(said: Any) -> Any:
    marks = _rows("all_marks", _MARKS)
    return insert(JudgmentMark.__table__).from_select(
        ["judgment_id", *_MARKS], select(said.c.id, *marks.c).select_from(said.join(marks, true()))
    )


def _voted(said: Any, new: dict[str, ColumnElement[Any]]) -> Any:
    votes = _rows("all_votes", _VOTES)
    return insert(Vote.__table__).from_select(
        ["judgment_id", *_OF_JUDGMENT, "condition_id", "criterion", *_VOTES],
        select(
            said.c.id,
            *(new[name] for name in _OF_JUDGMENT),
            _given("in_condition", BigInteger),
            _given("by_criterion", Text),
            *votes.c,
        ).select_from(said.join(votes, true())),
    )


def _following(after: ColumnElement[bool]) -> Any:
    """The lease that follows, with what it shows: (id, comparison, shown order, `shown_columns`)."""
    table, assignment = Comparison.__table__, Assignment.__table__
    # Who holds something unseen is left to a claim. Slots are taken last, so that turns cannot wait for each other.
    taken = (
        table.update()
        .where(table.c.id == _place(), table.c.open_slots > 0, after, _holds_what_is_named())
        .values(open_slots=table.c.open_slots - 1)
        .returning(table.c.id)
        .cte("taken")
    )
    ordered = _ordered(taken)
    values = {
        "comparison_id": ordered.c.comparison_id,
        "person_id": _given("of_person", BigInteger),
        "state": literal_column(f"'{AssignmentState.LEASED.value}'"),
        "purpose": literal_column(f"'{Purpose.REGULAR.value}'"),
        "shown_order": ordered.c.shown_order,
        "propensity": literal_column("1.0"),
        "lease_expires_at": _given("until", assignment.c.lease_expires_at.type),
        "created_at": _given("at", assignment.c.created_at.type),
    }
    leased = (
        insert(assignment)
        .from_select(list(values), select(*values.values()))
        .returning(assignment.c.id, assignment.c.comparison_id, assignment.c.shown_order)
        .cte("leased")
    )
    return (
        repository_leases.shown_query(leased.c.id, leased.c.comparison_id, leased.c.shown_order)
        .where(Comparison.id == leased.c.comparison_id)
        .cte("following")
    )


def _open(name: str) -> Any:
    """An alias of comparisons for one project's open ones, and the conditions, literal as in the partial index."""
    c = aliased(Comparison, name=name)
    # The alias is one of those below.
    return c, (c.project_id == bindparam("of_project"), text(f"{name}.open_slots > 0 AND {name}.state = 'open'"))


def _place() -> Any:
    """The id of an open comparison of the highest priority, from a random place on, locked.

    Ordered by priority and id and bounded by both, as the partial index is, whatever else may look as good.
    """
    last, is_open = _open("last")
    top = select(last.priority, last.id).where(*is_open).order_by(last.priority.desc(), last.id.desc()).limit(_ONE)
    top = top.cte("top")
    first, is_open = _open("first")
    lowest = select(first.id).where(*is_open, first.priority >= top.c.priority).order_by(first.priority, first.id)
    edges = select(top.c.priority, top.c.id.label("highest"), lowest.limit(_ONE).scalar_subquery().label("lowest"))
    edge = edges.cte("edge")
    width = edge.c.highest - edge.c.lowest + 1
    pivot = edge.c.lowest + cast(func.floor(bindparam("of_die", type_=Float) * width), BigInteger)
    c, _ = _open("c")
    bound = tuple_(select(edge.c.priority).scalar_subquery(), select(pivot).scalar_subquery())
    behind = tuple_(c.priority, c.id) >= bound
    place = select(c.id).where(*repository.servable_to(c), behind).order_by(c.priority, c.id).limit(_ONE)
    return place.with_for_update(skip_locked=True, of=c).scalar_subquery()


def _holds_what_is_named() -> ColumnElement[bool]:
    """Whether the person's leases in the project, but for the one that is answered, are those that are named."""
    mine, of = aliased(Assignment, name="mine"), aliased(Comparison, name="of_mine")
    held = (
        select(mine.id)
        .join(of, of.id == mine.comparison_id)
        .where(
            mine.person_id == bindparam("of_person"),
            mine.state == AssignmentState.LEASED,
            mine.id != bindparam("of_assignment"),
            of.project_id == bindparam("of_project"),
        )
        .order_by(mine.id)
        .scalar_subquery()
    )
    named: ColumnElement[bool] = func.array(held, type_=ARRAY(BigInteger)) == bindparam(
        "of_holding", type_=ARRAY(BigInteger)
    )
    return named


def _ordered(taken: Any) -> Any:
    """(comparison, the order its candidates are shown in) of what was taken, as `leases.shown_order` has it."""
    entry = ComparisonCandidate
    digest = func.md5(cast(entry.comparison_id, Text) + literal(":", Text) + cast(entry.position, Text))
    ranked = (
        select(
            entry.comparison_id,
            entry.position,
            (func.row_number().over(order_by=digest) - 1).label("place"),
            func.count().over().label("size"),
            repository.times_held(taken.c.id).correlate(taken).scalar_subquery().label("turn"),
        )
        .join(taken, taken.c.id == entry.comparison_id)
        .cte("ranked")
    )
    turned = (ranked.c.place + ranked.c.size - ranked.c.turn % ranked.c.size) % ranked.c.size
    order = func.jsonb_agg(aggregate_order_by(ranked.c.position, turned)).label("shown_order")
    return select(ranked.c.comparison_id, order).group_by(ranked.c.comparison_id).cte("ordered")
