"""SQL behind the quality of judgments."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Integer, case, cast, func, select
from sqlalchemy.orm import Session

from backend.judging.models import Comparison, Judgment, Outcome, Purpose, Vote
from backend.judging.models_serving import Standing
from backend.preferences.repository import votes_query
from backend.preferences.schemas import VoteFilter, Who


class AnnotatorRow(NamedTuple):
    """One annotator's judgments of a project, of all criteria."""

    person_id: int
    judgments: int
    skips: int
    edited: int
    first: datetime
    last: datetime


class VoteRow(NamedTuple):
    """One vote with the moment it was given."""

    person_id: int
    condition_id: int
    candidate_a: int
    candidate_b: int
    outcome: str
    a_shown_first: bool
    created_at: datetime


def latest_votes(session: Session, project_id: int, chosen: VoteFilter, most: int) -> list[VoteRow]:
    """The latest votes, newest first."""
    what = (Vote.person_id, Vote.condition_id, Vote.candidate_a, Vote.candidate_b, Vote.outcome, Vote.a_shown_first)
    query = votes_query(project_id, chosen, *what, Judgment.created_at)
    query = query.join(Judgment, Judgment.id == Vote.judgment_id).order_by(Vote.id.desc()).limit(most)
    return [VoteRow(*row) for row in session.execute(query)]


def latest_times(session: Session, project_id: int, who: Who, most: int) -> list[tuple[int, float]]:
    """(person, seconds) of the latest judgments of people; longer than ten minutes was a break and is left out."""
    query = select(Judgment.person_id, Judgment.seconds).where(
        Judgment.project_id == project_id, Judgment.seconds < 600, Judgment.is_simulated.is_(False)
    )
    if who is Who.SIMULATED:
        return []
    return [tuple(row) for row in session.execute(query.order_by(Judgment.id.desc()).limit(most))]


def annotators(session: Session, project_id: int, who: Who) -> list[AnnotatorRow]:
    query = (
        select(
            Judgment.person_id,
            func.count(),
            func.sum(case((Judgment.outcome == Outcome.SKIP, 1), else_=0)),
            func.sum(case((Judgment.revision > 1, 1), else_=0)),
            func.min(Judgment.created_at),
            func.max(Judgment.created_at),
        )
        .where(Judgment.project_id == project_id)
        .group_by(Judgment.person_id)
    )
    if who is not Who.ALL:
        query = query.where(Judgment.is_simulated.is_(who is Who.SIMULATED))
    return [AnnotatorRow(*row) for row in session.execute(query)]


def checks(session: Session, project_id: int, chosen: VoteFilter) -> list[tuple[int, str, int, int]]:
    """(person, "gold" or "repeat", answered as is known or as the first time, answered) under the criterion."""
    query = (
        select(Judgment.person_id, Judgment.purpose, func.sum(cast(Judgment.agrees, Integer)), func.count())
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .where(
            Judgment.project_id == project_id,
            Judgment.purpose.in_((Purpose.GOLD, Purpose.REPEAT)),
            Judgment.agrees.is_not(None),
            Comparison.criterion == chosen.criterion,
        )
        .group_by(Judgment.person_id, Judgment.purpose)
    )
    return [(person, purpose, int(right), total) for person, purpose, right, total in session.execute(query)]


def pauses(session: Session, project_id: int) -> dict[int, str]:
    """Person to why they are paused."""
    query = select(Standing.person_id, Standing.pause_words)
    query = query.where(Standing.project_id == project_id, Standing.paused_at.is_not(None))
    return dict(session.execute(query).all())


def judgments_by_day(session: Session, project_id: int, who: Who, most: int) -> list[tuple[str, int, int]]:
    """(day in UTC as 2026-01-31, judgments of people, of simulated annotators) of the latest days with any."""
    moment: Any = Judgment.created_at
    if session.get_bind().dialect.name == "postgresql":
        moment = func.timezone("UTC", moment)
    day = func.date(moment)
    simulated = func.sum(case((Judgment.is_simulated, 1), else_=0))
    query = select(day, func.count() - simulated, simulated).where(Judgment.project_id == project_id)
    if who is not Who.ALL:
        query = query.where(Judgment.is_simulated.is_(who is Who.SIMULATED))
    rows = session.execute(query.group_by(day).order_by(day.desc()).limit(most))
    return [(str(one), int(people), int(machines)) for one, people, machines in reversed(rows.all())]
