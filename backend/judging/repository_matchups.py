"""SQL of active choice: the generators that meet, how often they have, and which of their comparisons are open."""

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, func, select, update
from sqlalchemy.orm import Session

from backend.catalogue.models import Candidate, Criterion
from backend.judging.models import Comparison, ComparisonState, Vote
from backend.judging.models_serving import Matchup
from backend.judging.repository import CHUNK, upsert
from backend.kit.database import utcnow


class Aim(NamedTuple):
    """A matchup and how it is served: its share of active draws, and the probability with which a claim comes here."""

    id: int
    share: float
    propensity: float
    aimed_at: datetime | None


def generators_of(session: Session, candidate_ids: Iterable[int]) -> dict[int, int]:
    """{candidate: its generator}."""
    ids, found = list(candidate_ids), {}
    for start in range(0, len(ids), CHUNK):
        query = select(Candidate.id, Candidate.generator_id).where(Candidate.id.in_(ids[start : start + CHUNK]))
        found.update({row.id: row.generator_id for row in session.execute(query)})
    return found


def ensure_matchups(
    session: Session, project_id: int, criterion: Criterion, pairs: set[tuple[int, int]]
) -> dict[tuple[int, int], int]:
    """{(generator, generator): matchup}, made where it is missing; the lower id comes first."""
    if not pairs:
        return {}
    common = {"project_id": project_id, "criterion": criterion.value, "share": 0.0, "propensity": 1.0}
    rows = [{**common, "generator_a": a, "generator_b": b, "created_at": utcnow()} for a, b in sorted(pairs)]
    for start in range(0, len(rows), CHUNK // 10):
        session.execute(upsert(session, Matchup).values(rows[start : start + CHUNK // 10]).on_conflict_do_nothing())
    query = select(Matchup.generator_a, Matchup.generator_b, Matchup.id).where(
        Matchup.project_id == project_id, Matchup.criterion == criterion
    )
    return {(row.generator_a, row.generator_b): row.id for row in session.execute(query)}


@cache
def _aims_statement() -> Select[Any]:
    return select(Matchup.id, Matchup.share, Matchup.propensity, Matchup.aimed_at).where(
        Matchup.project_id == bindparam("of_project")
    )


def aims(session: Session, project_id: int) -> list[Aim]:
    return [Aim(*row) for row in session.execute(_aims_statement(), {"of_project": project_id})]


def open_by_matchup(session: Session, project_id: int) -> dict[int | None, int]:
    """The most urgent open comparisons of each matchup; those of no matchup under None."""
    is_open = (
        Comparison.project_id == project_id,
        Comparison.state == ComparisonState.OPEN,
        Comparison.open_slots > 0,
    )
    highest = select(func.max(Comparison.priority)).where(*is_open).scalar_subquery()
    query = (
        select(Comparison.matchup_id, func.count())
        .where(*is_open, Comparison.priority == highest)
        .group_by(Comparison.matchup_id)
    )
    return dict(session.execute(query).all())


def votes_by_generators(session: Session, project_id: int, criterion: str) -> list[tuple[int, int, str, int]]:
    """(generator, generator, outcome, count) of people's and simulated annotators' votes under a criterion."""
    keys = (Vote.generator_a, Vote.generator_b, Vote.outcome)
    query = (
        select(*keys, func.count())
        .where(Vote.project_id == project_id, Vote.criterion == criterion, Vote.generator_a != Vote.generator_b)
        .group_by(*keys)
    )
    return [tuple(row) for row in session.execute(query)]


def write_aim(session: Session, matchup_id: int, share: float, propensity: float, now: datetime) -> None:
    session.execute(
        update(Matchup)
        .where(Matchup.id == matchup_id)
        .values(share=share, propensity=propensity, aimed_at=now)
        .execution_options(synchronize_session=False)
    )
