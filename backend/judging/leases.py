"""Who holds which comparison, and for how long."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import md5
from typing import Any, Literal

from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.catalogue.models import Project
from backend.catalogue.schemas import ProjectSettings
from backend.judging import aiming, mixing, repository, repository_leases, repository_matchups, repository_standing
from backend.judging.models import Assignment, AssignmentState, Purpose
from backend.judging.repository import Servable
from backend.judging.repository_leases import Lease, LeasedRow, OwnAssignment
from backend.judging.repository_matchups import Aim
from backend.judging.repository_standing import Situation
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
class Progress:
    """How far a person is: judged, skipped, servable to them now (held ones included), and their usual pace.

    `left` is None where it was not counted.
    """

    done: int
    skipped: int
    left: int | None
    left_is_bound: bool
    seconds_each: float | None


@dataclass(frozen=True)
class Claimed:
    """What a claim gave: leases to show, held ones that are lost, and why there is nothing, if so.

    `needs_aim` asks for the job that looks at the votes and moves active choice.
    """

    rows: list[LeasedRow]
    lost: list[int]
    state: Literal["ready", "finished", "waiting", "empty", "paused", "unqualified"]
    progress: Progress
    reason: str | None = None
    needs_aim: bool = False


_DEFAULTS = ProjectSettings().model_dump()


def judging_settings(project: Project) -> dict[str, Any]:
    """The project's settings (`ProjectSettings`), with their defaults."""
    return settings_of(project.settings)


def settings_of(stored: dict[str, Any] | None) -> dict[str, Any]:
    return {**_DEFAULTS, **(stored or {})}


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
    settings = judging_settings(project)
    expires = now + timedelta(seconds=lease_seconds)
    serves = not settings["paused"]
    mine = _renew_mine(session, project, person, expires) if serves else []
    held = {row.assignment.id for row in mine}
    lost = _lost(session, person, [i for i in holding if i not in held], expires) if serves else []
    situation = _situation(session, settings, project, person, now)
    progress = progress_of(situation, len(mine))
    if not serves or situation.paused:
        return Claimed([], lost, "paused", progress, situation.pause_words or None)
    quota = quota_of(settings, situation)
    named = set(holding)
    fresh = [row for row in mine if row.assignment.id not in named][:count]
    room = min(count - len(fresh), MAX_HELD - len(held))
    within = room
    if quota is not None:
        # Counted under the lock: another window may have taken some since.
        within = min(room, quota - situation.done - len(repository_leases.leased(session, project.id, person.id)))
    of = Servable(project.id, person.id)
    aims = repository_matchups.aims(session, project.id) if settings["choice"] == "active" and within > 0 else []
    for _ in range(within):
        drawn = aiming.draw(aims, chance) if aims else ()
        row = _next(session, settings, of, situation, aims=drawn, expires=expires, now=now, chance=chance)
        if row is None:
            break
        fresh.append(row)
    if fresh or not count:
        return Claimed(fresh, lost, "ready", progress, needs_aim=aiming.is_due(aims, now))
    if quota is not None and within <= 0 < room:
        return Claimed([], lost, "finished", progress, f"You have judged the {quota:,} comparisons asked of you.")
    return Claimed([], lost, _why_nothing(session, project, person), progress)


def _situation(
    session: Session, settings: dict[str, Any], project: Project, person: Person, now: datetime
) -> Situation:
    """Where the person stands, once all leases that ran out have ended; locked where a quota has to hold."""
    found = repository_standing.situation(session, project.id, person.id, now)
    stale = found.any_expired and expire(session, now=now, limit=EXPIRE_AT_CLAIM) > 0
    if quota_of(settings, found) is not None:
        repository_standing.lock_standing(session, project.id, person.id)
        stale = True
    return repository_standing.situation(session, project.id, person.id, now) if stale else found


def quota_of(settings: dict[str, Any], situation: Situation) -> int | None:
    """How many judgments a person may give: their own number before the project's; None for as many as there are."""
    quota: int | None = settings["quota"] if situation.quota is None else situation.quota
    return quota


def progress_of(situation: Situation, held: int) -> Progress:
    seconds = situation.seconds_each
    return Progress(
        done=situation.done,
        skipped=situation.skipped,
        left=situation.servable + held,
        left_is_bound=situation.servable >= repository.LEFT_BOUND,
        seconds_each=None if seconds is None else round(seconds, 1),
    )


def _renew_mine(session: Session, project: Project, person: Person, expires: datetime) -> list[LeasedRow]:
    mine = repository_leases.leased(session, project.id, person.id)
    renewed = repository_leases.extend(session, [row.assignment.id for row in mine], expires) if mine else set()
    return [
        row._replace(assignment=row.assignment._replace(lease_expires_at=expires))
        for row in mine
        if row.assignment.id in renewed
    ]


def _lost(session: Session, person: Person, ids: list[int], expires: datetime) -> list[int]:
    return [assignment_id for assignment_id in ids if not _renewed(session, person, assignment_id, expires)]


def _renewed(session: Session, person: Person, assignment_id: int, expires: datetime) -> bool:
    assignment = repository_leases.lock_assignment(session, assignment_id, person.id)
    if assignment is None or assignment.state != AssignmentState.EXPIRED or not retake(session, assignment):
        return False
    assignment.state, assignment.lease_expires_at, assignment.ended_at = AssignmentState.LEASED, expires, None
    session.flush()
    return True


def _why_nothing(session: Session, project: Project, person: Person) -> Literal["finished", "waiting", "empty"]:
    if repository.has_unfinished(session, project.id, person.id):
        return "waiting"
    return "finished" if repository.has_comparisons(session, project.id) else "empty"


def _next(
    session: Session,
    settings: dict[str, Any],
    of: Servable,
    situation: Situation,
    *,
    aims: Sequence[Aim],
    expires: datetime,
    now: datetime,
    chance: random.Random,
) -> LeasedRow | None:
    """A known or repeated comparison at the project's rates, else the next ordinary one."""
    mixed = mixing.draw(session, settings, of, chance, lambda: situation.servable > 0)
    if mixed is not None:
        row = lease(session, of, mixed.comparison_id, expires=expires, now=now, purpose=mixed.purpose)
        if row is not None:
            return row
    return claim_one(session, of, expires=expires, now=now, chance=chance, aims=aims)


def claim_one(
    session: Session,
    of: Servable,
    *,
    expires: datetime,
    now: datetime,
    chance: random.Random,
    aims: Sequence[Aim] = (),
) -> LeasedRow | None:
    """Takes a slot and makes the lease, or None where nothing is servable to the person.

    By priority, and within it from a random place on, so that annotators spread out without sorting anything. The
    matchups that `aims` names come first, in their order, among the most urgent.
    """
    below: int | None = None
    propensity = {aim.id: aim.propensity for aim in aims}
    while (span := repository.most_urgent(session, of.project_id, below)) is not None:
        pivot = chance.randint(span.lowest, span.highest)
        for matchup_id in (*propensity, None):
            for upwards in (True, False):
                while taken := repository.take_slot(
                    session, of, span.priority, pivot, upwards=upwards, matchup_id=matchup_id
                ):
                    known = propensity.get(matchup_id, 1.0) if matchup_id else 1.0
                    row = lease(session, of, taken, expires=expires, now=now, propensity=known)
                    if row is not None:
                        return row
                    # Another request of the same person was faster by a hair.
                    repository.return_slot(session, taken)
        below, propensity = span.priority, {}
    return None


def lease(
    session: Session,
    of: Servable,
    comparison_id: int,
    *,
    expires: datetime,
    now: datetime,
    purpose: Purpose = Purpose.REGULAR,
    propensity: float = 1.0,
) -> LeasedRow | None:
    """Makes the lease of a comparison whose slot is taken; None where the person has it already."""
    showing = repository_leases.showing(session, comparison_id)
    order = shown_order(comparison_id, showing.candidates, showing.times_held)
    assignment_id = repository_leases.insert_lease(
        session,
        comparison_id=comparison_id,
        person_id=of.person_id,
        order=order,
        now=now,
        expires=expires,
        purpose=purpose,
        propensity=propensity,
    )
    if assignment_id is None:
        return None
    return LeasedRow(Lease(assignment_id, order, expires, purpose), comparison_id, *showing[:9])


def shown_order(comparison_id: int, candidates: int, times_held: int) -> list[int]:
    """An order as good as random, turned by one place for each who has held the comparison, so that sides balance.

    `repository_turns` says the same in SQL.
    """
    order = sorted(range(candidates), key=lambda place: md5(f"{comparison_id}:{place}".encode()).hexdigest())
    turn = times_held % candidates
    return order[turn:] + order[:turn]


def own_assignment(session: Session, person: Person, assignment_id: int) -> Assignment:
    assignment = repository_leases.lock_assignment(session, assignment_id, person.id)
    if assignment is None:
        raise no_such_assignment()
    return assignment


def no_such_assignment() -> NotFound:
    return NotFound("There is no such assignment of yours. Reload the page for the next comparison.")


def retake(session: Session, assignment: Assignment | OwnAssignment) -> bool:
    """Makes an ended assignment a lease again if a slot is open and the person has no other of it; whether it did.

    Who is paused, or works in the project no more, takes nothing up: what they held is others'.
    """
    if not repository_leases.may_work(session, assignment):
        return False
    takes_slot = assignment.purpose == Purpose.REGULAR
    if not takes_slot:
        # Their other requests first: one that waits for this lease must not hold what this one needs at its end.
        project_id = repository.facts(session, assignment.comparison_id).project_id
        repository_standing.lock_standing(session, project_id, assignment.person_id)
    elif not repository.retake_slot(session, assignment.comparison_id):
        return False
    # A look first: whoever extends another one right now may wait for what is held here. What comes between, the index
    # decides.
    has_other = repository_leases.has_other_live(session, assignment)
    retaken = not has_other and repository_leases.lease_again(session, assignment.id)
    if takes_slot and not retaken:
        repository.return_slot(session, assignment.comparison_id)
    return retaken


def lease_lost(assignment: Assignment | OwnAssignment) -> LeaseLost:
    return LeaseLost(
        "Its time ran out while you were away and others have taken it since. Nothing of yours is missing: the next "
        "comparison is waiting.",
        assignment_id=assignment.id,
    )


def renew(
    session: Session, person: Person, assignment_id: int, *, lease_seconds: int, now: datetime | None = None
) -> Assignment:
    """Extends a lease; one that ran out is taken up again while a slot is open to its person, else LeaseLost."""
    now = now or utcnow()
    assignment = own_assignment(session, person, assignment_id)
    if assignment.state in (AssignmentState.SUBMITTED, AssignmentState.SKIPPED):
        raise AlreadyJudged("You have answered this comparison already.", assignment_id=assignment.id)
    if assignment.state != AssignmentState.LEASED and not retake(session, assignment):
        raise lease_lost(assignment)
    assignment.state = AssignmentState.LEASED
    assignment.lease_expires_at, assignment.ended_at = now + timedelta(seconds=lease_seconds), None
    session.flush()
    return assignment


def release(session: Session, person: Person, assignment_id: int, *, now: datetime | None = None) -> Assignment:
    """Gives a lease back unanswered. Releasing what is not held changes nothing."""
    assignment = own_assignment(session, person, assignment_id)
    if assignment.state == AssignmentState.LEASED:
        assignment.state, assignment.ended_at = AssignmentState.RELEASED, now or utcnow()
        session.flush()
        if assignment.purpose == Purpose.REGULAR:
            repository.return_slot(session, assignment.comparison_id)
    return assignment


def expire(session: Session, *, now: datetime | None = None, limit: int = 1000) -> int:
    """Ends up to `limit` leases that ran out and returns their slots; how many it ended."""
    ended, slots = repository_leases.expire(session, now or utcnow(), limit)
    for comparison_id in sorted(slots):
        repository.return_slot(session, comparison_id, slots[comparison_id])
    return ended
