"""The rules of making candidates."""

from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.accounts.service import audit
from backend.catalogue import repository as catalogue
from backend.catalogue.models import Condition, Generator, Project
from backend.generation import repository
from backend.generation.groups import groups_of, seed_of
from backend.generation.schemas import MakePayload, MakeRequest
from backend.jobs.models import Job
from backend.jobs.service import enqueue
from backend.judging.service import make_comparisons
from backend.kit.errors import Invalid

JOB_KIND = "generation.make"
# The same work where nothing is to be sampled: it needs no GPU worker, and none may be there.
COMPARE_KIND = "generation.compare"


def request_candidates(session: Session, person: Person | None, project: Project, wanted: MakeRequest) -> Job:
    """Enqueues the job that makes what is missing. Raises Invalid naming what cannot be made."""
    generators = resolve_generators(session, project.id, wanted)
    if not catalogue.first_conditions(session, project.id, split=wanted.split, limit=1):
        of_split = f" in {wanted.split}" if wanted.split else ""
        raise Invalid(f"“{project.name}” has no conditions{of_split}: import some first.")
    payload = MakePayload(project_id=project.id, **wanted.model_dump())
    kind = JOB_KIND if any(generator.base for generator in generators) else COMPARE_KIND
    job = enqueue(session, kind, payload.model_dump(mode="json"), project_id=project.id)
    audit(session, person, "generation.request", "job", job.id, generators=wanted.generator_ids)
    return job


def resolve_generators(session: Session, project_id: int, wanted: MakeRequest) -> list[Generator]:
    """The generators asked for; raises Invalid for one that is not there or has nothing to give."""
    generators = repository.generators_in_order(session, project_id, wanted.generator_ids)
    missing = sorted(set(wanted.generator_ids) - {generator.id for generator in generators})
    if missing:
        raise Invalid(f"There is no generator {', '.join(map(str, missing))} in this project.")
    imported = [generator.name for generator in generators if generator.base is None]
    if imported and wanted.comparisons is None:
        names = ", ".join(f"“{name}”" for name in imported)
        raise Invalid(
            f"{names} is known only by imported images and makes no new ones: ask only for comparisons of it."
        )
    return generators


def put_to_judgment(
    session: Session, project: Project, wanted: MakeRequest, generators: list[Generator], conditions: list[Condition]
) -> int:
    """Makes the comparisons asked for of the candidates that are there; returns how many are new."""
    plan = wanted.comparisons
    if plan is None:
        return 0
    ids = [condition.id for condition in conditions]
    made = [_judgeable(session, generator, conditions, wanted.seeds) for generator in generators]
    same_seed = all(generator.base is not None for generator in generators)
    groups = [
        group
        for condition_id in ids
        for group in groups_of(plan.kind, plan.k, [by.get(condition_id, []) for by in made], same_seed=same_seed)
    ]
    return make_comparisons(
        session, project, kind=plan.kind, criterion=plan.criterion, candidate_groups=groups, wanted=plan.wanted
    )


def _judgeable(
    session: Session, generator: Generator, conditions: list[Condition], draws: list[int]
) -> dict[int, list[tuple[int, int]]]:
    """For each condition (draw, candidate) of the wanted draws; of imported images (seed, candidate) of all."""
    found = repository.candidates_by_condition(session, generator.id, [condition.id for condition in conditions])
    if generator.base is None:
        return found
    judgeable = {}
    for condition in conditions:
        by_seed = dict(found.get(condition.id, []))
        seeds = {draw: seed_of(condition.external_id, draw) for draw in sorted(draws)}
        judgeable[condition.id] = [(draw, by_seed[seed]) for draw, seed in seeds.items() if seed in by_seed]
    return judgeable
