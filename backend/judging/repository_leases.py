"""SQL of assignments: who holds which comparison, and until when."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Select, String, bindparam, cast, exists, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from backend.accounts.models import Person, Role
from backend.catalogue.models import Candidate, Condition, Criterion, Project, ProjectMember, Subject
from backend.judging.answers import ShownCandidate
from backend.judging.models import (
    Assignment,
    AssignmentState,
    Comparison,
    ComparisonCandidate,
    ComparisonKind,
    Purpose,
)
from backend.judging.models_serving import Standing
from backend.judging.repository import LIVE, insert_on, times_held


class Lease(NamedTuple):
    """The part of an assignment that its holder works with."""

    id: int
    shown_order: list[int]
    lease_expires_at: datetime
    purpose: Purpose = Purpose.REGULAR


class LeasedRow(NamedTuple):
    """An assignment with what its holder may see; `images` are the digests of the candidates by position."""

    assignment: Lease
    comparison_id: int
    kind: ComparisonKind
    criterion: Criterion
    prompt: str
    subject_name: str
    width: int
    height: int
    subject_image: str
    mask: str
    images: list[str]


class Showing(NamedTuple):
    """What is shown of a comparison (as `LeasedRow`), and how many have held it."""

    kind: ComparisonKind
    criterion: Criterion
    prompt: str
    subject_name: str
    width: int
    height: int
    subject_image: str
    mask: str
    images: list[str]
    times_held: int

    @property
    def candidates(self) -> int:
        return len(self.images)


class OwnAssignment(NamedTuple):
    """A person's assignment as it was when it was locked."""

    id: int
    comparison_id: int
    person_id: int
    state: str
    purpose: str
    shown_order: list[int]


class ToAnswer(NamedTuple):
    """An assignment and what its answer needs to know.

    `shown` are the candidates in shown order; `is_member` tells whether its holder works in the project still.
    """

    assignment: OwnAssignment
    project_id: int
    condition_id: int
    kind: ComparisonKind
    criterion: Criterion
    prompt: str
    settings: dict[str, Any]
    is_member: bool
    shown: list[ShownCandidate]


def _shown_columns() -> tuple[Any, ...]:
    """What is shown of a comparison joined with its condition and subject, up to `LeasedRow.images`, still as text."""
    by_position = cast(ComparisonCandidate.position, String) + ":" + Candidate.image_digest
    images = (
        select(func.aggregate_strings(by_position, " "))
        .select_from(ComparisonCandidate)
        .join(Candidate, Candidate.id == ComparisonCandidate.candidate_id)
        .where(ComparisonCandidate.comparison_id == Comparison.id)
    )
    return (
        Comparison.kind,
        Comparison.criterion,
        Condition.prompt,
        Subject.name,
        Condition.width,
        Condition.height,
        func.coalesce(Subject.cutout_digest, Condition.image_digest),
        Condition.mask_digest,
        images.correlate(Comparison).scalar_subquery(),
    )


def in_order(images: str) -> list[str]:
    """The digests of `position:digest …` by position."""
    placed = [each.split(":") for each in images.split()]
    return [digest for _, digest in sorted((int(position), digest) for position, digest in placed)]


@cache
def _showing_statement() -> Select[Any]:
    held = times_held(Comparison.id).correlate(Comparison).scalar_subquery()
    return shown_query().add_columns(held).where(Comparison.id == bindparam("of_comparison"))


def shown_query(*before: Any) -> Select[Any]:
    """What is shown of comparisons, up to `LeasedRow.images`, still as text; the columns `before` come first."""
    return (
        select(*before, *_shown_columns())
        .join_from(Comparison, Condition, Condition.id == Comparison.condition_id)
        .join(Subject, Subject.id == Condition.subject_id)
    )


def showing(session: Session, comparison_id: int) -> Showing:
    *shown, images, held = session.execute(_showing_statement(), {"of_comparison": comparison_id}).one()
    return Showing(*shown, in_order(images), held)


@cache
def _insert_statement(dialect: str) -> Any:
    table = Assignment.__table__
    return insert_on(dialect, table).on_conflict_do_nothing().returning(table.c.id)


def insert_lease(
    session: Session,
    *,
    comparison_id: int,
    person_id: int,
    order: list[int],
    now: datetime,
    expires: datetime,
    purpose: Purpose = Purpose.REGULAR,
    propensity: float = 1.0,
) -> int | None:
    """Makes the lease; None where the person has a live assignment of the comparison for this purpose already."""
    values = {
        "comparison_id": comparison_id,
        "person_id": person_id,
        "state": AssignmentState.LEASED.value,
        "purpose": purpose.value,
        "shown_order": order,
        "propensity": propensity,
        "lease_expires_at": expires,
        "ended_at": None,
        "created_at": now,
    }
    return session.scalar(_insert_statement(session.get_bind().dialect.name), values)


@cache
def _leased_statement() -> Select[Any]:
    return (
        select(
            Assignment.id,
            Assignment.shown_order,
            Assignment.lease_expires_at,
            Assignment.purpose,
            Comparison.id,
            *_shown_columns(),
        )
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .join(Condition, Condition.id == Comparison.condition_id)
        .join(Subject, Subject.id == Condition.subject_id)
        .where(Assignment.person_id == bindparam("of_person"))
    )


@cache
def _held_statement() -> Select[Any]:
    return (
        _leased_statement()
        .where(Assignment.state == AssignmentState.LEASED, Comparison.project_id == bindparam("of_project"))
        .order_by(Assignment.id)
    )


def leased(session: Session, project_id: int, person_id: int) -> list[LeasedRow]:
    """The person's leases in the project, oldest first."""
    rows = session.execute(_held_statement(), {"of_person": person_id, "of_project": project_id})
    return [_leased_row(row) for row in rows]


def assignment_row(session: Session, assignment_id: int, person_id: int) -> LeasedRow | None:
    """One assignment of this person, in whatever state."""
    query = _leased_statement().where(Assignment.id == assignment_id)
    row = session.execute(query, {"of_person": person_id}).one_or_none()
    return _leased_row(row) if row else None


def _leased_row(row: Any) -> LeasedRow:
    return LeasedRow(Lease(*row[:4]), *row[4:-1], in_order(row[-1]))


def extend(session: Session, ids: list[int], expires: datetime) -> set[int]:
    """Renews leases and tells which; those that have ended meanwhile stay as they are."""
    renewed = session.scalars(
        update(Assignment)
        .where(Assignment.id.in_(ids), Assignment.state == AssignmentState.LEASED)
        .values(lease_expires_at=expires)
        .returning(Assignment.id)
        .execution_options(synchronize_session=False)
    )
    return set(renewed)


def answering_query() -> Select[Any]:
    """The columns of `to_answer`, of assignments joined with comparison, condition and project."""
    entry = cast(ComparisonCandidate.position, String) + ":" + cast(Candidate.id, String)
    entries = (
        select(func.aggregate_strings(entry + ":" + cast(Candidate.generator_id, String), " "))
        .select_from(ComparisonCandidate)
        .join(Candidate, Candidate.id == ComparisonCandidate.candidate_id)
        .where(ComparisonCandidate.comparison_id == Comparison.id)
        .correlate(Comparison)
    )
    member = exists().where(
        ProjectMember.project_id == Comparison.project_id, ProjectMember.person_id == Assignment.person_id
    )
    return (
        select(
            Assignment.id,
            Assignment.comparison_id,
            Assignment.person_id,
            Assignment.state,
            Assignment.purpose,
            Assignment.shown_order,
            Comparison.project_id,
            Comparison.condition_id,
            Comparison.kind,
            Comparison.criterion,
            Condition.prompt,
            Project.settings,
            member.correlate(Comparison, Assignment),
            entries.scalar_subquery(),
        )
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .join(Condition, Condition.id == Comparison.condition_id)
        .join(Project, Project.id == Comparison.project_id)
        .where(Assignment.id == bindparam("of_assignment"))
    )


@cache
def _answering_statement() -> Select[Any]:
    mine = Assignment.person_id == bindparam("of_person")
    return answering_query().where(mine).with_for_update(of=Assignment)


def lock_to_answer(session: Session, assignment_id: int, person_id: int) -> ToAnswer | None:
    """The person's assignment, locked, with what an answer needs; None where it is not theirs."""
    who = {"of_assignment": assignment_id, "of_person": person_id}
    row = session.execute(_answering_statement(), who).one_or_none()
    return None if row is None else to_answer(row)


def to_answer(row: Sequence[Any]) -> ToAnswer:
    """A row of `answering_query`."""
    assignment = OwnAssignment(*row[:6])
    project_id, condition_id, kind, criterion, prompt, settings, is_member, entries = row[6:]
    placed = {place: ShownCandidate(*who) for place, *who in (map(int, each.split(":")) for each in entries.split())}
    shown = [placed[place] for place in assignment.shown_order]
    kind, criterion = ComparisonKind(kind), Criterion(criterion)
    return ToAnswer(assignment, project_id, condition_id, kind, criterion, prompt, settings or {}, is_member, shown)


def set_state(session: Session, assignment_id: int, state: AssignmentState, ended_at: datetime | None) -> None:
    """Puts an assignment that the transaction has locked into a state."""
    session.execute(state_statement(), {"of_assignment": assignment_id, "to_state": state.value, "at": ended_at})


@cache
def state_statement() -> Any:
    table = Assignment.__table__
    return (
        update(table)
        .where(table.c.id == bindparam("of_assignment"))
        .values(state=bindparam("to_state"), ended_at=bindparam("at"))
    )


def lock_assignment(session: Session, assignment_id: int, person_id: int) -> Assignment | None:
    """The person's assignment, locked until the transaction ends; None where it is not theirs."""
    query = (
        select(Assignment)
        .where(Assignment.id == assignment_id, Assignment.person_id == person_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return session.scalar(query)


def may_work(session: Session, assignment: Assignment | OwnAssignment) -> bool:
    """Whether the assignment's person is not paused in its project, and a member of it or an admin. Locks nothing."""
    person_id = assignment.person_id
    paused = exists().where(
        Standing.project_id == Comparison.project_id, Standing.person_id == person_id, Standing.paused_at.is_not(None)
    )
    member = exists().where(ProjectMember.project_id == Comparison.project_id, ProjectMember.person_id == person_id)
    admin = exists().where(Person.id == person_id, Person.role == Role.ADMIN)
    query = select(~paused & (member | admin)).where(Comparison.id == assignment.comparison_id)
    return bool(session.scalar(query))


def has_other_live(session: Session, assignment: Assignment | OwnAssignment) -> bool:
    """Whether the person has another live assignment of the same comparison for the same purpose."""
    other = exists().where(
        Assignment.comparison_id == assignment.comparison_id,
        Assignment.person_id == assignment.person_id,
        Assignment.purpose == assignment.purpose,
        Assignment.id != assignment.id,
        Assignment.state.in_(LIVE),
    )
    return bool(session.scalar(select(other)))


def lease_again(session: Session, assignment_id: int) -> bool:
    """Makes an ended assignment a lease; False where its person has another live one of it for the same purpose."""
    try:
        # Another window may be making the other one right now: the index decides.
        with session.begin_nested():
            set_state(session, assignment_id, AssignmentState.LEASED, None)
    except IntegrityError:
        return False
    return True


def expire(session: Session, now: datetime, limit: int) -> tuple[int, Counter[int]]:
    """Ends leases that ran out; how many, and how many slots each comparison gets back."""
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
        .returning(Assignment.comparison_id, Assignment.purpose)
        .execution_options(synchronize_session=False)
    )
    ended = session.execute(statement).all()
    return len(ended), Counter(comparison for comparison, purpose in ended if purpose == Purpose.REGULAR)
