"""SQL of the judgments behind a figure."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, or_, select
from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.catalogue.models import Candidate, Condition, Generator
from backend.judging.models import Comparison, Judgment, JudgmentMark, Mark, Vote
from backend.kit.paging import PageRequest, encode_cursor, fetch_page
from backend.preferences.repository import named_conditions
from backend.preferences.schemas import JudgmentFilter, Who

# Judgments that a page looks through: on a million of them, a tenth of a second rather than ten.
LOOKED_AT = 20_000


def judgments_page(
    session: Session, project_id: int, page: PageRequest, wanted: JudgmentFilter
) -> tuple[list[Judgment], str | None]:
    """Judgments, newest first, that had a say about what is wanted.

    A page looks through `LOOKED_AT` judgments at most, so that a rare one costs no more than a common one: it may hold
    fewer than asked for, or none, and still have a cursor that leads on.
    """
    query = select(Judgment).where(Judgment.project_id == project_id)
    if wanted.who is not Who.ALL:
        query = query.where(Judgment.is_simulated.is_(wanted.who is Who.SIMULATED))
    if wanted.person is not None:
        query = query.where(Judgment.person_id == wanted.person)
    if wanted.outcome is not None:
        query = query.where(Judgment.outcome == wanted.outcome)
    if wanted.purpose is not None:
        query = query.where(Judgment.purpose == wanted.purpose)
    named = named_conditions(wanted)
    if wanted.criterion is not None or wanted.condition is not None or named:
        query = query.join(Comparison, Comparison.id == Judgment.comparison_id)
        if wanted.criterion is not None:
            query = query.where(Comparison.criterion == wanted.criterion)
        if wanted.condition is not None:
            query = query.where(Comparison.condition_id == wanted.condition)
    if named:
        query = query.join(Condition, Condition.id == Comparison.condition_id).where(*named)
    for had_a_say in (_votes_wanted(wanted), _marks_wanted(wanted)):
        if had_a_say is not None:
            query = query.where(had_a_say)
    last = None if _few(wanted) else _last_looked_at(session, project_id, page)
    if last is not None:
        query = query.where(Judgment.id > last)
    found, cursor = fetch_page(session, query, Judgment.id, page)
    return found, cursor if cursor or last is None else encode_cursor(last + 1)


def _few(wanted: JudgmentFilter) -> bool:
    """Whether an index leads to all that is wanted and little else."""
    return wanted.condition is not None or wanted.candidate is not None


def _last_looked_at(session: Session, project_id: int, page: PageRequest) -> int | None:
    """The judgment at which a page stops looking; null where it may look through all that are left."""
    query = select(Judgment.id).where(Judgment.project_id == project_id)
    if page.after is not None:
        query = query.where(Judgment.id < page.after)
    return session.scalar(query.order_by(Judgment.id.desc()).offset(LOOKED_AT).limit(1))


def _votes_wanted(wanted: JudgmentFilter) -> ColumnElement[bool] | None:
    if wanted.generator is None and wanted.versus is None:
        return None
    said = select(Vote.id).where(Vote.judgment_id == Judgment.id, Vote.generator_a != Vote.generator_b)
    for generator in (wanted.generator, wanted.versus):
        if generator is not None:
            said = said.where(or_(Vote.generator_a == generator, Vote.generator_b == generator))
    # The offset keeps Postgres from reading all votes there are instead of those of the judgments looked at.
    return said.offset(0).exists()


def _marks_wanted(wanted: JudgmentFilter) -> ColumnElement[bool] | None:
    """Of a judgment: whether it marked the candidate, or one of the generator as losing, for the reason."""
    if wanted.candidate is None and wanted.reason is None and wanted.loser is None:
        return None
    marked = select(JudgmentMark.judgment_id).where(JudgmentMark.judgment_id == Judgment.id)
    if wanted.candidate is not None:
        marked = marked.where(JudgmentMark.candidate_id == wanted.candidate)
    if wanted.loser is not None:
        marked = marked.join(Candidate, Candidate.id == JudgmentMark.candidate_id)
        marked = marked.where(Candidate.generator_id == wanted.loser, JudgmentMark.mark == Mark.LOSE)
    if wanted.reason is not None:
        given = cast(JudgmentMark.reasons, Text).contains(f'"{wanted.reason}"', autoescape=True)
        marked = marked.where(JudgmentMark.mark == Mark.LOSE, given)
    return marked.offset(0).exists()


def judgment_details(session: Session, judgments: Iterable[Judgment]) -> dict[int, list[tuple[Any, ...]]]:
    """Judgment id to (mark, shown position, reasons, candidate, image, generator, its name), in shown order."""
    query = (
        select(
            JudgmentMark.judgment_id,
            JudgmentMark.mark,
            JudgmentMark.shown_position,
            JudgmentMark.reasons,
            Candidate.id,
            Candidate.image_digest,
            Generator.id,
            Generator.name,
        )
        .join(Candidate, Candidate.id == JudgmentMark.candidate_id)
        .join(Generator, Generator.id == Candidate.generator_id)
        .where(JudgmentMark.judgment_id.in_([judgment.id for judgment in judgments]))
        .order_by(JudgmentMark.judgment_id, JudgmentMark.shown_position)
    )
    found: dict[int, list[tuple[Any, ...]]] = {}
    for judgment_id, *detail in session.execute(query):
        found.setdefault(judgment_id, []).append(tuple(detail))
    return found


def comparisons_of(session: Session, judgments: Iterable[Judgment]) -> dict[int, tuple[Comparison, str]]:
    """Comparison id to the comparison and its condition's prompt."""
    query = (
        select(Comparison, Condition.prompt)
        .join(Condition, Condition.id == Comparison.condition_id)
        .where(Comparison.id.in_({judgment.comparison_id for judgment in judgments}))
    )
    return {comparison.id: (comparison, prompt) for comparison, prompt in session.execute(query)}


def people(session: Session, person_ids: Iterable[int]) -> dict[int, Person]:
    return {person.id: person for person in session.scalars(select(Person).where(Person.id.in_(set(person_ids))))}
