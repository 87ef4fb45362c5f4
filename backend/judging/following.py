"""The next comparisons, leased in the same step as an answer: what an annotator asks for hundreds of times a day."""

import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from backend.accounts.models import Person, Role
from backend.catalogue.models import Project
from backend.judging import leases, lessons, mixing, repository, repository_following
from backend.judging.leases import MAX_HELD, Claimed, Progress, settings_of
from backend.judging.repository import Servable
from backend.judging.repository_leases import LeasedRow
from backend.judging.repository_standing import Noted
from backend.judging.submission import Taken
from backend.kit.database import utcnow


def claim_after(
    session: Session,
    person: Person,
    taken: Taken,
    *,
    count: int,
    lease_seconds: int,
    holding: Iterable[int] = (),
    now: datetime | None = None,
    chance: random.Random | None = None,
) -> Claimed | None:
    """Up to `count` leases for who has just answered, as `leases.claim` would give them; None where a claim is to say
    what comes next.

    An answer has told most of what a claim asks, so that little is left to do where nothing is out of the ordinary: the
    answer is new, its author may go on, and holds what `holding` names and nothing else. Leases are not renewed here
    (pages renew what they hold every third of their time), and what is left to judge is not counted.
    """
    now, chance = now or utcnow(), chance or random.Random()
    work, noted = taken.work, taken.noted
    settings = settings_of(work.settings)
    if noted is None or noted.paused_at is not None or not _may_go_on(session, person, taken):
        return None
    if settings["paused"] or settings["choice"] == "active":
        return None
    held = repository_following.held(session, work.project_id, person.id)
    if set(held) != {each for each in holding if each != work.assignment.id}:
        return None
    quota = settings["quota"] if noted.quota is None else noted.quota
    room = min(count, MAX_HELD - len(held), MAX_HELD if quota is None else quota - noted.done - len(held))
    of = Servable(work.project_id, person.id)
    rows: list[LeasedRow] = []
    expires = now + timedelta(seconds=lease_seconds)
    while len(rows) < room and (row := _next(session, settings, of, expires=expires, now=now, chance=chance)):
        rows.append(row)
    if count and not rows:
        return None
    return ready(rows, noted)


def ready(rows: list[LeasedRow], noted: Noted) -> Claimed:
    """What follows an answer whose author's counters are these; what is left was not counted."""
    pace = None if noted.seconds_each is None else round(noted.seconds_each, 1)
    return Claimed(rows, [], "ready", Progress(noted.done, noted.skipped, None, False, pace))


def _may_go_on(session: Session, person: Person, taken: Taken) -> bool:
    work = taken.work
    if not work.is_member and person.role != Role.ADMIN:
        return False
    project = Project(id=work.project_id, settings=work.settings)
    return not lessons.must_qualify(session, project, person)


def _next(
    session: Session,
    settings: dict[str, Any],
    of: Servable,
    *,
    expires: datetime,
    now: datetime,
    chance: random.Random,
) -> LeasedRow | None:
    """The next comparison by the rules of `leases.claim`, as far as a single look finds one."""
    mixed = mixing.draw(session, settings, of, chance, lambda: repository_following.has_servable(session, of))
    if mixed is not None:
        row = leases.lease(session, of, mixed.comparison_id, expires=expires, now=now, purpose=mixed.purpose)
        if row is not None:
            return row
    taken = repository_following.take(session, of, chance.random())
    if taken is None:
        return None
    row = leases.lease(session, of, taken, expires=expires, now=now)
    if row is None:
        # Another request of the same person was faster by a hair.
        repository.return_slot(session, taken)
    return row
