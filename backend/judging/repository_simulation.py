"""SQL that only simulated annotators need."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.accounts.models import Person, Role
from backend.catalogue.models import Candidate, ProjectMember, Verdict
from backend.judging.models import Comparison, ComparisonCandidate, ComparisonState, Judgment
from backend.judging.repository import upsert
from backend.kit.database import utcnow


class KnownVerdict(NamedTuple):
    """What an exact judge says: the margin is positive where rational, in units of the binding rule's tolerance."""

    rational: bool
    reasons: tuple[str, ...]
    margin: float


def ensure_simulated_person(session: Session, project_id: int, email: str, name: str) -> Person:
    """The simulated annotator with this address, a member of the project."""
    now = utcnow()
    values = {
        "email": email,
        "name": name,
        "role": Role.ANNOTATOR.value,
        "is_active": True,
        "is_simulated": True,
        "locale": "en",
        "created_at": now,
    }
    session.execute(upsert(session, Person).values(values).on_conflict_do_nothing())
    person = session.scalars(select(Person).where(func.lower(Person.email) == email.lower())).one()
    member = {"project_id": project_id, "person_id": person.id, "created_at": now}
    session.execute(upsert(session, ProjectMember).values(member).on_conflict_do_nothing())
    return person


def verdicts_shown(session: Session, comparison_id: int, shown_order: Sequence[int]) -> list[KnownVerdict]:
    """The verdicts of a comparison's candidates from left to right; of several judges the first by name counts."""
    query = (
        select(ComparisonCandidate.position, Verdict.rational, Verdict.reasons, Verdict.margin)
        .join(Candidate, Candidate.id == ComparisonCandidate.candidate_id)
        .join(Verdict, Verdict.candidate_id == Candidate.id)
        .where(ComparisonCandidate.comparison_id == comparison_id, Verdict.rational.is_not(None))
        .order_by(Verdict.judge.desc())
    )
    known = {
        row.position: KnownVerdict(bool(row.rational), tuple(row.reasons), row.margin) for row in session.execute(query)
    }
    return [known[position] for position in shown_order]


def known_verdicts(session: Session, comparison_id: int, candidates: int) -> list[KnownVerdict] | None:
    """The verdicts of all of a comparison's candidates in the order of its entries; None where one is missing."""
    try:
        return verdicts_shown(session, comparison_id, range(candidates))
    except KeyError:
        return None


def count_judgments(session: Session, project_id: int) -> int:
    """All judgments of the project; makes each batch's draws differ from those of the batch before."""
    return session.scalar(select(func.count()).select_from(Judgment).where(Judgment.project_id == project_id)) or 0


def open_slots(session: Session, project_id: int) -> int:
    """Slots that are open now, an upper bound of what a simulation can judge."""
    query = select(func.coalesce(func.sum(Comparison.open_slots), 0)).where(
        Comparison.project_id == project_id, Comparison.state == ComparisonState.OPEN
    )
    return int(session.scalar(query) or 0)
