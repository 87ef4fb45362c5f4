"""SQL of the comparison that follows an answer."""

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from backend.judging import repository
from backend.judging.models import Assignment, AssignmentState, Comparison
from backend.judging.repository import Servable


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


def take(session: Session, of: Servable, die: float) -> int | None:
    """Takes a slot of one of the most urgent comparisons; None where none lies behind the place that `die` (0 to 1)
    points at, which says nothing about others."""
    span = repository.most_urgent(session, of.project_id)
    if span is None:
        return None
    pivot = span.lowest + int(die * (span.highest - span.lowest + 1))
    return repository.take_slot(session, of, span.priority, pivot, upwards=True)
