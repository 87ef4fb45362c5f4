"""An answer over HTTP and what it gives back, the same by whichever way it came in."""

import random
from typing import NamedTuple

from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.judging import following, submission, views
from backend.judging.models import ComparisonKind
from backend.judging.schemas import AnswerAndNextIn, JudgmentAndNextOut
from backend.judging.tickets import Tickets


class Answered(NamedTuple):
    out: JudgmentAndNextOut
    is_new: bool


def answer(
    session: Session,
    person: Person,
    assignment_id: int,
    key: str,
    given: AnswerAndNextIn,
    *,
    lease_seconds: int,
    tickets: Tickets,
    chance: random.Random | None = None,
) -> Answered:
    """Stores the answer and leases what follows, where `given.next` asks for it. Raises as `submission.submit`."""
    taken = submission.submit(session, person, assignment_id, key, given)
    claimed = None
    if given.next is not None:
        claimed = following.claim_after(
            session,
            person,
            taken,
            count=given.next.count,
            holding=given.next.holding,
            lease_seconds=lease_seconds,
            chance=chance,
        )
    out = views.taken_out(taken, claimed, tickets)
    if out.kind == ComparisonKind.ARENA:
        out.revealed = submission.revealed(session, taken.judgment)
    return Answered(out, taken.is_new)
