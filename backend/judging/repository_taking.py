"""An ordinary answer stored in one statement, where the database can (Postgres): with its marks and votes, its
assignment ended, its comparison and its author counted."""

from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Boolean, Integer, Text, bindparam, column, func, insert, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from backend.judging import repository, repository_leases, repository_standing
from backend.judging.models import Judgment, JudgmentMark, Vote
from backend.judging.repository import Counted
from backend.judging.repository_standing import Change, Noted

_MARKS = {
    "candidate_id": BigInteger,
    "mark": Text,
    "shown_position": Integer,
    "reasons": JSONB,
    "regions": JSONB,
}
_VOTES = {
    "candidate_a": BigInteger,
    "candidate_b": BigInteger,
    "generator_a": BigInteger,
    "generator_b": BigInteger,
    "outcome": Text,
    "a_shown_first": Boolean,
}
_OF_JUDGMENT = ("project_id", "person_id", "is_simulated")


class Stored(NamedTuple):
    """What an answer changed; `noted` is None where its author has no counters yet."""

    judgment_id: int
    counted: Counted
    noted: Noted | None


def stores_whole(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


def store(
    session: Session,
    values: dict[str, Any],
    *,
    state: str,
    condition_id: int,
    criterion: str,
    marks: list[dict[str, Any]],
    votes: list[dict[str, Any]],
    change: Change,
) -> Stored | None:
    """Stores a judgment of these `values` (columns); None where its key or its assignment has one already."""
    given = {
        **{f"new_{name}": value for name, value in values.items()},
        "of_assignment": values["assignment_id"],
        "to_state": state,
        "at": values["created_at"],
        "of_comparison": values["comparison_id"],
        "difference": 1,
        "in_condition": condition_id,
        "by_criterion": criterion,
        "all_marks": marks,
        "all_votes": votes,
        **repository_standing.note_values(values["project_id"], values["person_id"], change),
    }
    row = session.execute(_statement(), given).one_or_none()
    if row is None:
        return None
    noted = None if row[3] is None else Noted(*row[3:])
    return Stored(row[0], Counted(row[1], row[2]), noted)


def _rows(parameter: str, columns: dict[str, Any]) -> Any:
    """A parameter's list of objects as a table."""
    function = func.jsonb_to_recordset(bindparam(parameter, type_=JSONB))
    return function.table_valued(*(column(name, kind) for name, kind in columns.items())).render_derived(
        name=f"of_{parameter}", with_types=True
    )


@cache
def _statement() -> Any:
    table = Judgment.__table__
    new = {each.name: bindparam(f"new_{each.name}", type_=each.type) for each in table.columns if each.name != "id"}
    said = repository.insert_on("postgresql", table).values(new).on_conflict_do_nothing().returning(table.c.id)
    judgment = said.cte("said")
    marks, votes = _rows("all_marks", _MARKS), _rows("all_votes", _VOTES)
    marked = insert(JudgmentMark.__table__).from_select(
        ["judgment_id", *_MARKS], select(judgment.c.id, *marks.c).select_from(judgment.join(marks, true()))
    )
    common = [new[name] for name in _OF_JUDGMENT]
    voted = insert(Vote.__table__).from_select(
        ["judgment_id", *_OF_JUDGMENT, "condition_id", "criterion", *_VOTES],
        select(
            judgment.c.id,
            *common,
            bindparam("in_condition", type_=BigInteger),
            bindparam("by_criterion", type_=Vote.__table__.c.criterion.type),
            *votes.c,
        ).select_from(judgment.join(votes, true())),
    )
    counted = repository.count_statement().cte("counted")
    noted = repository_standing.note_statement().cte("noted")
    found = judgment.outerjoin(counted, true()).outerjoin(noted, true())
    return (
        select(judgment.c.id, *counted.c, *noted.c)
        .select_from(found)
        .add_cte(marked.cte("marked"), voted.cte("voted"), repository_leases.state_statement().cte("ended"))
    )
