"""A turn: an annotator's ordinary answer and the lease of what comes next, in two statements (Postgres).

It says what `submission.submit` and `following.claim_after` say of the same answer. Whatever is out of the ordinary is
left to them, before anything is written.
"""

import random
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.accounts.models import Role
from backend.judging import following, repository_answers, repository_turns, submission
from backend.judging.answers import Answer, read_answer, votes_of
from backend.judging.leases import MAX_HELD, Claimed, settings_of
from backend.judging.models import AssignmentState, ComparisonKind, Outcome, Purpose
from backend.judging.repository_leases import ToAnswer
from backend.judging.repository_standing import Change, Noted
from backend.judging.repository_turns import Following, Look
from backend.judging.schemas import AnswerAndNextIn


class Turn(NamedTuple):
    """A new answer as it is stored (`values` are its judgment's columns), and what follows it, if anything."""

    judgment_id: int
    values: dict[str, Any]
    answer: Answer
    work: ToAnswer
    noted: Noted
    claimed: Claimed | None


def take(
    session: Session,
    look: Look,
    key: str,
    given: AnswerAndNextIn,
    *,
    lease_seconds: int,
    now: datetime,
    chance: random.Random,
) -> Turn | None:
    """Stores the answer and leases what follows; None, with nothing written, where this takes more than two statements.

    Raises Invalid where the answer cannot be one. `chance` is asked in the order in which `following` asks it.
    """
    work, person, wanted_next = look.work, look.person, given.next
    if wanted_next is None or not _is_ordinary(look, given, chance):
        return None
    answer = read_answer(given, work.kind, len(work.shown), submission.policy_for(person, work))
    values = repository_answers.judgment_values(
        person, work, answer, key=key, seconds=given.seconds, agrees=None, now=now
    )
    others = [each for each in wanted_next.holding if each != work.assignment.id]
    expires = now + timedelta(seconds=lease_seconds)
    try:
        stepped = repository_turns.step(
            session,
            values,
            condition_id=work.condition_id,
            criterion=work.criterion.value,
            marks=repository_answers.marks_of(0, answer, work.shown),
            votes=[repository_answers.vote_row(vote) for vote in votes_of(answer, work.shown)],
            change=Change(done=1, seconds=given.seconds),
            following=Following(others, chance.random(), expires),
        )
    except IntegrityError:
        session.rollback()
        return None
    if stepped is None:
        return None
    claimed = None if stepped.row is None else following.ready([stepped.row], stepped.noted)
    return Turn(stepped.judgment_id, values, answer, work, stepped.noted, claimed)


def _is_ordinary(look: Look, given: AnswerAndNextIn, chance: random.Random) -> bool:
    """Whether nothing but this answer decides what follows from it."""
    work, settings = look.work, settings_of(look.work.settings)
    is_first_look = work.assignment.state == AssignmentState.LEASED and work.assignment.purpose == Purpose.REGULAR
    may_go_on = work.is_member and look.has_standing and look.paused_at is None and not settings["paused"]
    needs_more = (
        given.outcome is Outcome.SKIP
        or work.kind is ComparisonKind.ARENA
        or settings["most_judgments_per_comparison"] > look.wanted
        or settings["choice"] == "active"
        or settings["quota"] is not None
        or look.quota is not None
        or (settings["qualification_required"] and look.person.role == Role.ANNOTATOR)
    )
    wants_one = given.next is not None and given.next.count == 1 and len(given.next.holding) < MAX_HELD
    return (
        is_first_look
        and may_go_on
        and not needs_more
        and wants_one
        and chance.random() >= settings["gold_rate"] + settings["repeat_rate"]
    )
