"""Who holds which comparison, and for how long."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.catalogue.models import Project
from backend.catalogue.schemas import ProjectSettings
from backend.judging import repository
from backend.judging.models import Assignment, AssignmentState
from backend.judging.repository import LeasedRow, Servable
from backend.kit.database import utcnow
from backend.kit.errors import Conflict, Gone, NotFound

# A browser prefetches a handful; more leases than this on one person only keep comparisons from others.
MAX_HELD = 10
# Leases ended at one claim: enough to keep up, little enough to be unnoticed.
EXPIRE_AT_CLAIM = 50


class LeaseLost(Gone):
    code, title = "lease_lost", "This comparison went to somebody else"


class AlreadyJudged(Conflict):
    code, title = "already_judged", "Already judged"


@dataclass(frozen=True)
class Claimed:
    """What a claim gave: leases to show, held ones that are lost, and why there is nothing, if so."""

    rows: list[LeasedRow]
    lost: list[int]
    state: Literal["ready", "finished", "waiting", "empty", "paused", "unqualified"]


_DEFAULTS = ProjectSettings().model_dump()


def judging_settings(project: Project) -> dict[str, Any]:
    """The project's settings (`ProjectSettings`), with their defaults."""
    return {**_DEFAULTS, **(project.settings or {})}


def claim(
    session: Session,
    project: Project,
    person: Person,
    *,
    count: int,
    lease_seconds: int,
    holding: Iterable[int] = (),
    now: datetime | None = None,
    chance: random.Random | None = None,
) -> Claimed:
    """Leases for the next `count` comparisons that `holding` does not name.

    Leases the person already has but does not name (a reload, a lost response) come first, so that nothing is held
    unseen. Named ones are renewed; those of them that are gone come back as `lost`.
    """
    now = now or utcnow()
    chance = chance or random.Random()
    if judging_settings(project)["paused"]:
        return Claimed([], [], "paused")
    expires = now + timedelta(seconds=lease_seconds)
    mine = repository.leased(session, project.id, person.id)
    for row in mine:
        row.assignment.lease_expires_at = expires
    session.flush()
    held = {row.assignment.id for row in mine}
    lost = [i for i in holding if i not in held and not _renewed(session, person, i, expires)]
    expire(session, now=now, limit=EXPIRE_AT_CLAIM)
    named = set(holding)
    fresh = [row for row in mine if row.assignment.id not in named][:count]
    of = Servable(project.id, person.id)
    room = min(count - len(fresh), MAX_HELD - len(held))
    for _ in range(room):
        assignment_id = claim_one(session, of, expires=expires, now=now, chance=chance)
        if assignment_id is None:
            break
        row = repository.assignment_row(session, assignment_id, person.id)
        assert row is not None
        fresh.append(row)
    return Claimed(fresh, lost, "ready" if fresh or not count else _why_nothing(session, project, person))


def _renewed(session: Session, person: Person, assignment_id: int, expires: datetime) -> bool:
    assignment = repository.lock_assignment(session, assignment_id, person.id)
    if assignment is None or assignment.state != AssignmentState.EXPIRED:
        return False
    if not retake(session, assignment, AssignmentState.LEASED):
        return False
    assignment.lease_expires_at, assignment.ended_at = expires, None
    session.flush()
    return True


def _why_nothing(session: Session, project: Project, person: Person) -> Literal["finished", "waiting", "empty"]:
    if repository.has_unfinished(session, project.id, person.id):
        return "waiting"
    return "finished" if repository.has_comparisons(session, project.id) else "empty"


def claim_one(session: Session, of: Servable, *, expires: datetime, now: datetime, chance: random.Random) -> int | None:
    """Takes a slot and makes the lease; the assignment's id, or None where nothing is servable to the person.

    By priority, and within it from a random place on, so that annotators spread out without sorting anything.
    """
    below: int | None = None
    while (found := repository.next_priority(session, of, below)) is not None:
        priority, lowest, highest = found
        pivot = chance.randint(lowest, highest)
        for upwards in (True, False):
            while (comparison_id := repository.take_slot(session, of, priority, pivot, upwards=upwards)) is not None:
                assignment_id = repository.insert_lease(
                    session,
                    comparison_id=comparison_id,
                    person_id=of.person_id,
                    order=_shown_order(session, comparison_id),
                    now=now,
                    expires=expires,
                )
                if assignment_id is not None:
                    return assignment_id
                # Another request of the same person was faster by a hair.
                repository.return_slot(session, comparison_id)
        below = priority
    return None


def _shown_order(session: Session, comparison_id: int) -> list[int]:
    """A random order, turned by one place each time the comparison is handed out, so that sides balance."""
    order = repository.positions(session, comparison_id)
    random.Random(f"shown order of comparison {comparison_id}").shuffle(order)
    turn = repository.times_assigned(session, comparison_id) % len(order)
    return order[turn:] + order[:turn]


def own_assignment(session: Session, person: Person, assignment_id: int) -> Assignment:
    assignment = repository.lock_assignment(session, assignment_id, person.id)
    if assignment is None:
        raise NotFound("There is no such assignment of yours. Reload the page for the next comparison.")
    return assignment


def retake(session: Session, assignment: Assignment, state: AssignmentState) -> bool:
    """Makes an ended assignment live again if a slot is open and the person has no other; whether it did."""
    if not repository.retake_slot(session, assignment.comparison_id):
        return False
    # The comparison's row is locked from here on, and every lease of it is made under that lock.
    if repository.has_other_live(session, assignment):
        repository.return_slot(session, assignment.comparison_id)
        return False
    assignment.state = state
    session.flush()
    return True


def lease_lost(assignment: Assignment) -> LeaseLost:
    return LeaseLost(
        "Its time ran out while you were away and others have taken it since. Nothing of yours is missing: the next "
        "comparison is waiting.",
        assignment_id=assignment.id,
    )


def renew(
    session: Session, person: Person, assignment_id: int, *, lease_seconds: int, now: datetime | None = None
) -> Assignment:
    """Extends a lease; one that ran out is taken up again while a slot is open, else LeaseLost."""
    now = now or utcnow()
    assignment = own_assignment(session, person, assignment_id)
    if assignment.state in (AssignmentState.SUBMITTED, AssignmentState.SKIPPED):
        raise AlreadyJudged("You have answered this comparison already.", assignment_id=assignment.id)
    if assignment.state != AssignmentState.LEASED and not retake(session, assignment, AssignmentState.LEASED):
        raise lease_lost(assignment)
    assignment.lease_expires_at, assignment.ended_at = now + timedelta(seconds=lease_seconds), None
    session.flush()
    return assignment


def release(session: Session, person: Person, assignment_id: int, *, now: datetime | None = None) -> Assignment:
    """Gives a lease back unanswered. Releasing what is not held changes nothing."""
    assignment = own_assignment(session, person, assignment_id)
    if assignment.state == AssignmentState.LEASED:
        assignment.state, assignment.ended_at = AssignmentState.RELEASED, now or utcnow()
        session.flush()
        repository.return_slot(session, assignment.comparison_id)
    return assignment


def expire(session: Session, *, now: datetime | None = None, limit: int = 1000) -> int:
    """Ends up to `limit` leases that ran out and returns their slots; how many it ended."""
    ended = repository.expire(session, now or utcnow(), limit)
    for comparison_id in sorted(ended):
        repository.return_slot(session, comparison_id, ended[comparison_id])
    return ended.total()
