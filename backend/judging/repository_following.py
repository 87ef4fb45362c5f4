"""SQL of the comparison that follows an answer."""

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Float, Select, bindparam, cast, func, select, text
from sqlalchemy.orm import Session, aliased

from backend.judging import repository, repository_leases
from backend.judging.models import Assignment, AssignmentState, Comparison
from backend.judging.repository import Servable
from backend.judging.repository_leases import Showing


class Found(NamedTuple):
    """A comparison of which a slot was taken."""

    comparison_id: int
    showing: Showing


def held(session: Session, project_id: int, person_id: int) -> dict[int, datetime]:
    """{assignment id: until when} of the person's leases in the project."""
    rows = session.execute(_ids_held_statement(), {"of_person": person_id, "of_project": project_id})
    return {row[0]: row[1] for row in rows}


@cache
def _ids_held_statement() -> Select[Any]:
    return (
        select(Assignment.id, Assignment.lease_expires_at)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .where(
            Assignment.person_id == bindparam("of_person"),
            Assignment.state == AssignmentState.LEASED,
            Comparison.project_id == bindparam("of_project"),
        )
    )


def has_servable(session: Session, of: Servable) -> bool:
    """Whether there is ordinary work for the person."""
    count, who = repository.servable_count(of)
    return bool(session.scalar(select(count), who))


def take_and_show(session: Session, of: Servable, die: float) -> Found | None:
    """Takes a slot of one of the most urgent comparisons and tells what it shows; None where none lies behind the place
    that `die` (0 to 1) points at, which says nothing about others.

    One statement on Postgres, where what it finds it locks, and what others have locked it passes over.
    """
    if session.get_bind().dialect.name == "postgresql":
        who = {"of_project": of.project_id, "of_person": of.person_id, "of_die": die}
        row = session.execute(_take_and_show_statement(), who).one_or_none()
        return Found(row[0], repository_leases.showing_of(row[1:])) if row else None
    span = repository.most_urgent(session, of.project_id)
    if span is None:
        return None
    pivot = span.lowest + int(die * (span.highest - span.lowest + 1))
    taken = repository.take_slot(session, of, span.priority, pivot, upwards=True)
    return Found(taken, repository_leases.showing(session, taken)) if taken else None


def _open(name: str) -> Any:
    """An alias of comparisons for one project's open ones, and the conditions, literal as in the partial index."""
    c = aliased(Comparison, name=name)
    # The alias is one of those below.
    open_here = text(f"{name}.open_slots > 0 AND {name}.state = 'open'")
    return c, (c.project_id == bindparam("of_project"), open_here)


def _edge(name: str, priority: Any, *, last: bool) -> Any:
    c, here = _open(name)
    query = select(c.id).where(*here, c.priority == priority).order_by(c.id.desc() if last else c.id).limit(1)
    return query.scalar_subquery()


@cache
def _take_and_show_statement() -> Any:
    top, here = _open("top")
    urgent = select(top.priority).where(*here).order_by(top.priority.desc()).limit(1).scalar_subquery()
    lowest, highest = _edge("first", urgent, last=False), _edge("last", urgent, last=True)
    pivot = lowest + cast(func.floor(bindparam("of_die", type_=Float) * (highest - lowest + 1)), BigInteger)
    c, _ = _open("c")
    place = select(c.id).where(*repository.servable_to(c), c.priority == urgent, c.id >= pivot)
    found = place.order_by(c.id).limit(1).with_for_update(skip_locked=True, of=c).scalar_subquery()
    table = Comparison.__table__
    taken = (
        table.update()
        .where(table.c.id == found, table.c.open_slots > 0)
        .values(open_slots=table.c.open_slots - 1)
        .returning(table.c.id)
        .cte("taken")
    )
    shown: Select[Any] = repository_leases.showing_query().where(Comparison.id == taken.c.id)
    return shown.with_only_columns(taken.c.id, *shown.selected_columns)
