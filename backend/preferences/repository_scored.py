"""SQL behind the scores of all pairs of a project at once, as columns of numbers rather than rows of objects."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import Select, Text, case, cast, func, select, text
from sqlalchemy.orm import Session, aliased

from backend.catalogue.models import Candidate, Condition, Split
from backend.judging.models import Judgment, JudgmentMark, Mark, Vote, VoteOutcome
from backend.preferences.repository import votes_query
from backend.preferences.repository_pairs import marks_query
from backend.preferences.schemas import VoteFilter

Integers = npt.NDArray[np.int64]

# Many times what a million votes need.
ALLOWED_MS = 300_000
A_WINS, B_WINS, TIED, BOTH_BAD = range(4)


class VoteColumns(NamedTuple):
    """Votes [T]; `outcome` is A_WINS, B_WINS, TIED or BOTH_BAD."""

    condition: Integers
    a: Integers
    b: Integers
    outcome: Integers
    person: Integers


class MarkColumns(NamedTuple):
    """Wins and losses marked [M]; `reasons` are places in `kinds`, which holds each list of reasons once, as JSON."""

    candidate: Integers
    is_win: Integers
    person: Integers
    reasons: Integers
    kinds: list[str]


class ConditionColumns(NamedTuple):
    """Conditions [C] by id."""

    id: Integers
    is_held_out: Integers
    subject: Integers


def allow_time(session: Session) -> None:
    """Lets the statements of this transaction take longer than a page's may: they read every vote there is."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SET LOCAL statement_timeout = {ALLOWED_MS}"))


def _columns(session: Session, query: Select[Any]) -> list[Integers]:
    """The columns of a query of whole numbers, each put together by the database and read at once."""
    whole = query.subquery()
    row = session.execute(select(*(_together(session, column) for column in whole.c))).one()
    return [_numbers(listed) for listed in row]


def _together(session: Session, column: Any) -> Any:
    """All values of a column in one text; columns of one query keep the same order of rows."""
    if session.get_bind().dialect.name == "postgresql":
        return cast(func.array_agg(column), Text)
    return func.group_concat(column)


def _numbers(listed: str | None) -> Integers:
    return np.fromstring(listed.strip("{}"), dtype=np.int64, sep=",") if listed else np.zeros(0, dtype=np.int64)


def votes(session: Session, project_id: int, chosen: VoteFilter) -> VoteColumns:
    outcome = case(
        (Vote.outcome == VoteOutcome.A, A_WINS),
        (Vote.outcome == VoteOutcome.B, B_WINS),
        (Vote.outcome == VoteOutcome.TIE, TIED),
        else_=BOTH_BAD,
    )
    columns = (Vote.condition_id, Vote.candidate_a, Vote.candidate_b, outcome, Vote.person_id)
    return VoteColumns(*_columns(session, votes_query(project_id, chosen, *columns)))


def marks(session: Session, project_id: int, chosen: VoteFilter) -> MarkColumns:
    is_win = case((JudgmentMark.mark == Mark.WIN, 1), else_=0)
    columns = (JudgmentMark.candidate_id.label("candidate"), is_win.label("is_win"), Judgment.person_id.label("person"))
    whole = marks_query(project_id, chosen, *columns, cast(JudgmentMark.reasons, Text).label("reasons")).subquery()
    query = select(whole.c.reasons, *(_together(session, whole.c[column.name]) for column in columns))
    rows = session.execute(query.group_by(whole.c.reasons)).all()
    kinds = [row[0] for row in rows]
    parts = [[_numbers(listed) for listed in row[1:]] for row in rows]
    nothing = [np.zeros(0, dtype=np.int64)]
    candidate, won, person = (np.concatenate([*nothing, *(part[place] for part in parts)]) for place in range(3))
    sizes = [len(part[0]) for part in parts]
    return MarkColumns(candidate, won, person, np.repeat(np.arange(len(parts)), sizes), kinds)


def conditions(session: Session, project_id: int) -> ConditionColumns:
    held_out = case((Condition.split == Split.VALIDATION, 1), else_=0)
    query = select(Condition.id, held_out, Condition.subject_id).where(Condition.project_id == project_id)
    return ConditionColumns(*_columns(session, query.order_by(Condition.id)))


def same_images(session: Session, project_id: int) -> set[tuple[int, int]]:
    """Every two candidates (smaller id first) of a condition that are the same picture."""
    other = aliased(Candidate)
    query = (
        select(Candidate.id, other.id)
        .join(
            other,
            (other.condition_id == Candidate.condition_id)
            & (other.image_digest == Candidate.image_digest)
            & (other.id > Candidate.id),
        )
        .where(Candidate.project_id == project_id)
    )
    return {(one, two) for one, two in session.execute(query)}
