"""SQL of where annotators stand: counters that change with each answer, and what leads decide about a person."""

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Float,
    Select,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session, aliased

from backend.accounts.models import Person
from backend.catalogue.models import Project, ProjectMember
from backend.judging.models import Assignment
from backend.judging.models_serving import Standing
from backend.judging.repository import Servable, servable_count, upsert
from backend.kit.database import utcnow

# How much the newest answer moves the running mean of seconds, once there are as many.
PACE_MEMORY = 20
# A lunch is no thinking time: of each answer at most so much enters the mean.
LONGEST_SECONDS = 600.0


class Situation(NamedTuple):
    """Where one person stands in a project now; `servable` counts what is servable to them, up to LEFT_BOUND.

    `any_expired` tells whether anybody's lease has run out and was not ended yet.
    """

    servable: int
    any_expired: bool
    done: int
    skipped: int
    seconds_each: float | None
    quota: int | None
    paused: bool
    pause_words: str


class Noted(NamedTuple):
    """A person's counters after an answer, and what leads have decided about them."""

    gold_seen: int
    gold_right: int
    done: int
    skipped: int
    seconds_each: float | None
    quota: int | None
    paused_at: datetime | None


class Change(NamedTuple):
    """What one answer, or a change of one, adds to a standing."""

    done: int = 0
    skipped: int = 0
    gold_seen: int = 0
    gold_right: int = 0
    seconds: float | None = None


@cache
def _situation_statement() -> Select[Any]:
    count, _ = servable_count(Servable(0, 0))
    a = aliased(Assignment, name="a")
    ran_out = a.lease_expires_at < bindparam("of_now", type_=Assignment.lease_expires_at.type)
    mine = and_(Standing.project_id == Project.id, Standing.person_id == bindparam("of_person"))
    return (
        select(
            count,
            exists().where(text("a.state = 'leased'"), ran_out),
            func.coalesce(Standing.done, 0),
            func.coalesce(Standing.skipped, 0),
            Standing.seconds_each,
            Standing.quota,
            Standing.paused_at.is_not(None),
            func.coalesce(Standing.pause_words, ""),
        )
        .select_from(Project)
        .outerjoin(Standing, mine)
        .where(Project.id == bindparam("of_project"))
    )


def situation(session: Session, project_id: int, person_id: int, now: datetime) -> Situation:
    who = {"of_project": project_id, "of_person": person_id, "of_now": now}
    return Situation(*session.execute(_situation_statement(), who).one())


def lock_standing(session: Session, project_id: int, person_id: int) -> None:
    """Makes the person's other requests wait, so that none of them counts what this one is about to take."""
    ensure(session, project_id, person_id)
    mine = (Standing.project_id == project_id, Standing.person_id == person_id)
    session.execute(select(Standing.done).where(*mine).with_for_update())


def ensure(session: Session, project_id: int, person_id: int, **values: Any) -> None:
    """Makes the standing where it is missing; sets `values` in any case."""
    statement = upsert(session, Standing).values(
        project_id=project_id,
        person_id=person_id,
        done=0,
        skipped=0,
        gold_seen=0,
        gold_right=0,
        created_at=utcnow(),
        **({"pause_words": ""} | values),
    )
    keys = ["project_id", "person_id"]
    if values:
        statement = statement.on_conflict_do_update(index_elements=keys, set_=values)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=keys)
    session.execute(statement)


def _clamped(value: ColumnElement[int], most: ColumnElement[int] | None = None) -> ColumnElement[int]:
    upper = [] if most is None else [(value > most, most)]
    return case((value < 0, 0), *upper, else_=value)


@cache
def note_statement() -> Any:
    seconds = cast(bindparam("by_seconds"), Float)
    weight = case((Standing.done < PACE_MEMORY, Standing.done + literal(1)), else_=literal(PACE_MEMORY))
    pace = case(
        (seconds.is_(None), Standing.seconds_each),
        (Standing.seconds_each.is_(None), seconds),
        else_=Standing.seconds_each + (seconds - Standing.seconds_each) / weight,
    )
    seen = _clamped(Standing.gold_seen + bindparam("by_seen"))
    return (
        update(Standing.__table__)
        .where(Standing.project_id == bindparam("of_project"), Standing.person_id == bindparam("of_person"))
        .values(
            done=_clamped(Standing.done + bindparam("by_done")),
            skipped=_clamped(Standing.skipped + bindparam("by_skipped")),
            gold_seen=seen,
            gold_right=_clamped(Standing.gold_right + bindparam("by_right"), seen),
            seconds_each=pace,
        )
        .returning(
            Standing.gold_seen,
            Standing.gold_right,
            Standing.done,
            Standing.skipped,
            Standing.seconds_each,
            Standing.quota,
            Standing.paused_at,
        )
        .execution_options(synchronize_session=False)
    )


def note(session: Session, project_id: int, person_id: int, change: Change) -> Noted:
    """Adds to the person's counters; known answers count since they started or were resumed."""
    values = note_values(project_id, person_id, change)
    row = session.execute(note_statement(), values).one_or_none()
    if row is None:
        ensure(session, project_id, person_id)
        row = session.execute(note_statement(), values).one()
    return Noted(*row)


def note_values(project_id: int, person_id: int, change: Change) -> dict[str, Any]:
    """The parameters of `note_statement`."""
    return {
        "of_project": project_id,
        "of_person": person_id,
        "by_done": change.done,
        "by_skipped": change.skipped,
        "by_seen": change.gold_seen,
        "by_right": change.gold_right,
        "by_seconds": None if change.seconds is None else min(change.seconds, LONGEST_SECONDS),
    }


def set_pause(session: Session, project_id: int, person_id: int, words: str, by_id: int | None) -> None:
    ensure(session, project_id, person_id, paused_at=utcnow(), pause_words=words, paused_by_id=by_id)


def end_pause(session: Session, project_id: int, person_id: int) -> None:
    """Lets the person go on; known answers are counted anew, or the next wrong one would pause them again."""
    cleared = {"paused_at": None, "pause_words": "", "paused_by_id": None, "gold_seen": 0, "gold_right": 0}
    mine = (Standing.project_id == project_id, Standing.person_id == person_id)
    session.execute(update(Standing).where(*mine).values(**cleared).execution_options(synchronize_session=False))


def set_quota(session: Session, project_id: int, person_id: int, quota: int | None) -> None:
    ensure(session, project_id, person_id, quota=quota)


def standings(session: Session, project_id: int) -> list[tuple[Person, Standing | None]]:
    """The project's annotators and whoever has judged in it, with where they stand; by name."""
    member = select(ProjectMember.person_id).where(ProjectMember.project_id == project_id)
    query = (
        select(Person, Standing)
        .outerjoin(Standing, and_(Standing.person_id == Person.id, Standing.project_id == project_id))
        .where(Person.id.in_(member) | Standing.person_id.is_not(None))
        .order_by(Person.name, Person.id)
    )
    return [(person, standing) for person, standing in session.execute(query)]


def known_answers(session: Session, project_id: int, person_id: int) -> tuple[int, int]:
    """(met, given right) of the comparisons whose answer is known."""
    query = select(Standing.gold_seen, Standing.gold_right)
    row = session.execute(query.where(Standing.project_id == project_id, Standing.person_id == person_id)).one_or_none()
    return (row.gold_seen, row.gold_right) if row else (0, 0)
