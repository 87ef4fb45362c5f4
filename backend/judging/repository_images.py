"""SQL of the images on the judge screen: one statement each, since every comparison shows several."""

from functools import cache

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from backend.catalogue.models import Candidate, Condition, Subject
from backend.judging.models import Assignment, Comparison, ComparisonCandidate
from backend.judging.repository import LIVE

_OWN_LIVE = (
    Assignment.id == bindparam("of_assignment"),
    Assignment.person_id == bindparam("of_person"),
    Assignment.state.in_(LIVE),
)


@cache
def _shown_statement(shown_position: int) -> Select[tuple[str]]:
    place = Assignment.shown_order[shown_position].as_integer()
    return (
        select(Candidate.image_digest)
        .select_from(Assignment)
        .join(
            ComparisonCandidate,
            (ComparisonCandidate.comparison_id == Assignment.comparison_id) & (ComparisonCandidate.position == place),
        )
        .join(Candidate, Candidate.id == ComparisonCandidate.candidate_id)
        .where(*_OWN_LIVE)
    )


def shown_digest(session: Session, assignment_id: int, person_id: int, shown_position: int) -> str | None:
    """The blob of the image at a shown position of the person's own live assignment."""
    who = {"of_assignment": assignment_id, "of_person": person_id}
    return session.scalar(_shown_statement(shown_position), who)


@cache
def _condition_statement() -> Select[tuple[str | None, str, str]]:
    return (
        select(Subject.cutout_digest, Condition.image_digest, Condition.mask_digest)
        .select_from(Assignment)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .join(Condition, Condition.id == Comparison.condition_id)
        .join(Subject, Subject.id == Condition.subject_id)
        .where(*_OWN_LIVE)
    )


def condition_digests(session: Session, assignment_id: int, person_id: int) -> tuple[str | None, str, str] | None:
    """(cut-out or None, condition image, mask) of the person's own live assignment."""
    row = session.execute(
        _condition_statement(), {"of_assignment": assignment_id, "of_person": person_id}
    ).one_or_none()
    return (row[0], row[1], row[2]) if row else None
