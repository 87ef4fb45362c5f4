"""SQL of the room that only it needs; the rest is the catalogue's."""

from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.catalogue.models import Candidate, Generator
from backend.jobs.models import ACTIVE_JOB_STATES, Job
from backend.judging.models import JudgmentMark


def generators_in_order(session: Session, project_id: int, ids: Iterable[int]) -> list[Generator]:
    """The generators of these ids that belong to the project, in the order asked for."""
    wanted = list(ids)
    query = select(Generator).where(Generator.project_id == project_id, Generator.id.in_(wanted))
    found = {row.id: row for row in session.scalars(query)}
    return [found[key] for key in wanted if key in found]


def judgments_by_candidate(session: Session, candidate_ids: Iterable[int]) -> dict[int, dict[str, int]]:
    """How often each candidate was marked win, lose or neither."""
    query = (
        select(JudgmentMark.candidate_id, JudgmentMark.mark, func.count())
        .where(JudgmentMark.candidate_id.in_(list(candidate_ids)))
        .group_by(JudgmentMark.candidate_id, JudgmentMark.mark)
    )
    found: dict[int, dict[str, int]] = {}
    for candidate_id, mark, count in session.execute(query):
        found.setdefault(candidate_id, {})[str(mark)] = count
    return found


def active_jobs(session: Session, project_id: int, kinds: Iterable[str]) -> list[Job]:
    query = select(Job).where(Job.project_id == project_id, Job.kind.in_(list(kinds)), Job.state.in_(ACTIVE_JOB_STATES))
    return list(session.scalars(query.order_by(Job.id)))


def last_job(session: Session, project_id: int, kinds: Iterable[str]) -> Job | None:
    query = select(Job).where(Job.project_id == project_id, Job.kind.in_(list(kinds)))
    return session.scalar(query.order_by(Job.id.desc()).limit(1))


def candidates_by_condition(
    session: Session, generator_id: int, condition_ids: Iterable[int]
) -> dict[int, list[tuple[int, int]]]:
    """For each condition the (seed, candidate id) of a generator, by seed."""
    found: dict[int, list[tuple[int, int]]] = {}
    wanted = set(condition_ids)
    query = select(Candidate.condition_id, Candidate.seed, Candidate.id).where(Candidate.generator_id == generator_id)
    for condition_id, seed, candidate_id in session.execute(query.order_by(Candidate.condition_id, Candidate.seed)):
        if condition_id in wanted:
            found.setdefault(condition_id, []).append((seed, candidate_id))
    return found
