"""SQL of judgments, their marks, revisions and votes."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, delete, insert, select
from sqlalchemy.orm import Session, selectinload

from backend.accounts.models import Person
from backend.catalogue.models import Candidate, Condition, Criterion, Generator
from backend.judging.answers import Answer, ShownCandidate, VoteValue
from backend.judging.models import (
    Comparison,
    ComparisonKind,
    Judgment,
    JudgmentMark,
    JudgmentRevision,
    Mark,
    Outcome,
    Purpose,
    Vote,
)
from backend.judging.repository import insert_on
from backend.judging.repository_leases import ToAnswer
from backend.judging.schemas import AnswerOut

_FULL = (selectinload(Judgment.marks),)


def judgment_by_key(session: Session, person_id: int, key: str) -> Judgment | None:
    return session.scalar(_fresh().where(Judgment.person_id == person_id, Judgment.idempotency_key == key))


def judgment_of(session: Session, assignment_id: int) -> Judgment | None:
    return session.scalar(_fresh().where(Judgment.assignment_id == assignment_id))


def _fresh() -> Select[tuple[Judgment]]:
    return select(Judgment).options(*_FULL).execution_options(populate_existing=True)


def assignment_of(session: Session, judgment_id: int, person_id: int) -> int | None:
    """The assignment that a judgment of this person answers."""
    return session.scalar(
        select(Judgment.assignment_id).where(Judgment.id == judgment_id, Judgment.person_id == person_id)
    )


def judgments_query(project_id: int, person_id: int | None) -> Select[Any]:
    query = select(Judgment).where(Judgment.project_id == project_id)
    if person_id is not None:
        query = query.where(Judgment.person_id == person_id)
    return query.options(*_FULL, selectinload(Judgment.person))


def judgment_in(session: Session, project_id: int, judgment_id: int) -> Judgment | None:
    """A judgment of the project, with its marks and its person."""
    return session.scalar(judgments_query(project_id, None).where(Judgment.id == judgment_id))


def revisions(session: Session, ids: Sequence[int]) -> dict[int, list[tuple[AnswerOut, datetime]]]:
    """{judgment id: [(what it said before, since when), newest first]}."""
    query = select(JudgmentRevision).where(JudgmentRevision.judgment_id.in_(ids))
    found: dict[int, list[tuple[AnswerOut, datetime]]] = {}
    for row in session.scalars(query.order_by(JudgmentRevision.revision.desc())):
        # Answers stored before there were strengths and regions have none.
        answer = AnswerOut.model_validate({"strength": None, "regions": [], **row.answer})
        found.setdefault(row.judgment_id, []).append((answer, row.created_at))
    return found


def condition_of(session: Session, comparison_id: int) -> int:
    return session.scalars(select(Comparison.condition_id).where(Comparison.id == comparison_id)).one()


def comparison_facts(session: Session, ids: Iterable[int]) -> dict[int, tuple[ComparisonKind, Criterion, str]]:
    """{comparison id: (kind, criterion, prompt)}."""
    query = (
        select(Comparison.id, Comparison.kind, Comparison.criterion, Condition.prompt)
        .join(Condition, Condition.id == Comparison.condition_id)
        .where(Comparison.id.in_(list(ids)))
    )
    return {row.id: (row.kind, row.criterion, row.prompt) for row in session.execute(query)}


def forget_answer(session: Session, judgment_id: int) -> None:
    """Removes the marks and votes of an answer that is being replaced."""
    session.execute(delete(Vote).where(Vote.judgment_id == judgment_id))
    session.execute(delete(JudgmentMark).where(JudgmentMark.judgment_id == judgment_id))


@cache
def _judgment_statement(dialect: str) -> Any:
    table = Judgment.__table__
    return insert_on(dialect, table).on_conflict_do_nothing().returning(table.c.id)


def judgment_values(
    person: Person,
    work: ToAnswer,
    answer: Answer,
    *,
    key: str,
    seconds: float | None,
    agrees: bool | None,
    now: datetime,
) -> dict[str, Any]:
    """The columns of a new judgment but its id."""
    return {
        "assignment_id": work.assignment.id,
        "comparison_id": work.assignment.comparison_id,
        "project_id": work.project_id,
        "person_id": person.id,
        "idempotency_key": key,
        "revision": 1,
        "outcome": answer.outcome.value,
        "skip_reason": answer.skip_reason,
        "comment": answer.comment,
        "strength": answer.strength,
        "seconds": seconds,
        "is_simulated": person.is_simulated,
        "purpose": str(work.assignment.purpose),
        "agrees": agrees,
        "created_at": now,
        "updated_at": now,
    }


def insert_judgment(session: Session, values: dict[str, Any]) -> int | None:
    """Stores a judgment, marks and votes left out; None where its key or its assignment has one already."""
    judgment_id: int | None = session.scalar(_judgment_statement(session.get_bind().dialect.name), values)
    return judgment_id


def write_answer(session: Session, judgment: Judgment, answer: Answer, shown: Sequence[ShownCandidate]) -> None:
    """Stores the answer's marks; those of an earlier answer are forgotten first (`forget_answer`)."""
    if answer.outcome is not Outcome.SKIP:
        session.execute(insert(JudgmentMark.__table__), marks_of(judgment.id, answer, shown))


def marks_of(judgment_id: int, answer: Answer, shown: Sequence[ShownCandidate]) -> list[dict[str, Any]]:
    """The marks of an answer as rows."""
    return [
        {
            "judgment_id": judgment_id,
            "candidate_id": candidate.candidate_id,
            "mark": mark.value,
            "shown_position": position,
            "reasons": list(reasons),
            "regions": list(regions),
        }
        for position, (candidate, (mark, reasons, regions)) in enumerate(zip(shown, answer.marks, strict=True))
    ]


def opinions(session: Session, comparison_id: int) -> list[list[str]]:
    """What each judgment that counts says of each candidate of the comparison."""
    query = (
        select(Judgment.id, Judgment.outcome, JudgmentMark.mark)
        .join(JudgmentMark, JudgmentMark.judgment_id == Judgment.id)
        .where(
            Judgment.comparison_id == comparison_id,
            Judgment.purpose == Purpose.REGULAR,
            Judgment.outcome != Outcome.SKIP,
        )
        .order_by(Judgment.id, JudgmentMark.candidate_id)
    )
    found: dict[int, list[str]] = {}
    for judgment_id, outcome, mark in session.execute(query):
        found.setdefault(judgment_id, []).append(mark if mark == Mark.WIN else f"{outcome} {mark}")
    return list(found.values())


def generators_shown(session: Session, judgment_id: int) -> list[str]:
    """The names of the generators whose images a judgment is about, in shown order."""
    query = (
        select(Generator.name)
        .join(Candidate, Candidate.generator_id == Generator.id)
        .join(JudgmentMark, JudgmentMark.candidate_id == Candidate.id)
        .where(JudgmentMark.judgment_id == judgment_id)
        .order_by(JudgmentMark.shown_position)
    )
    return list(session.scalars(query))


def write_votes(session: Session, judgment: Judgment, votes: Sequence[VoteValue], facts: ToAnswer) -> None:
    """Stores the votes that follow from the answer."""
    if not votes:
        return
    common = {
        "judgment_id": judgment.id,
        "project_id": judgment.project_id,
        "person_id": judgment.person_id,
        "is_simulated": judgment.is_simulated,
        "condition_id": facts.condition_id,
        "criterion": facts.criterion.value,
    }
    session.execute(insert(Vote.__table__), [{**common, **vote_row(vote)} for vote in votes])


def vote_row(vote: VoteValue) -> dict[str, Any]:
    return {**vote._asdict(), "outcome": vote.outcome.value}


def append_revision(session: Session, judgment_id: int, revision: int, answer: dict[str, Any], now: datetime) -> None:
    session.add(JudgmentRevision(judgment_id=judgment_id, revision=revision, answer=answer, created_at=now))
