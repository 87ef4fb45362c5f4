"""The job that makes candidates: the sampler as a child, its results taken in while it works."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.catalogue import repository as catalogue
from backend.catalogue.models import Condition, Generator, Project
from backend.generation import (
    demo_tasks,  # noqa: F401  # registers the demo's own handler
    repository,
)
from backend.generation.groups import seed_of
from backend.generation.sampling import Harvest, item_key, write_request
from backend.generation.schemas import MakePayload
from backend.generation.service import COMPARE_KIND, JOB_KIND, put_to_judgment, resolve_generators
from backend.generation.words import child_environment, child_failure, refuse_without_trainer
from backend.jobs.context import JobContext
from backend.jobs.errors import JobFailed
from backend.jobs.registry import job_handler

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Work:
    """What a job has to do, read once at its start; the rows are detached."""

    project: Project
    generators: list[Generator]
    conditions: list[Condition]
    missing: dict[int, list[tuple[Condition, int]]]

    @property
    def total(self) -> int:
        return sum(map(len, self.missing.values()))


@job_handler(COMPARE_KIND, queue="cpu", max_attempts=3)
def put_imported_to_judgment(context: JobContext, payload: dict[str, Any]) -> dict[str, Any]:
    """Makes comparisons of candidates that all came by import."""
    return make_candidates(context, payload)


@job_handler(JOB_KIND, queue="gpu", max_attempts=3)
def make_candidates(context: JobContext, payload: dict[str, Any]) -> dict[str, Any]:
    """Makes what is missing of the wanted images, then the comparisons; started again, it goes on where it was."""
    wanted = MakePayload.model_validate(payload)
    work = _read_work(context, wanted)
    done = 0
    for generator in work.generators:
        missing = work.missing[generator.id]
        if missing:
            _sample(context, work, generator, done)
            done += len(missing)
    with context.transaction() as session:
        project = session.get_one(Project, work.project.id)
        made = put_to_judgment(session, project, wanted, work.generators, work.conditions)
    context.progress(work.total, work.total, "Done")
    shutil.rmtree(_folder(context), ignore_errors=True)
    return {"candidates": work.total, "comparisons": made}


def _read_work(context: JobContext, wanted: MakePayload) -> Work:
    with context.database.reading() as session:
        project = session.get_one(Project, wanted.project_id)
        generators = resolve_generators(session, project.id, wanted)
        conditions = catalogue.first_conditions(session, project.id, split=wanted.split, limit=wanted.condition_limit)
        missing = {generator.id: _missing(session, generator, conditions, wanted.seeds) for generator in generators}
        session.expunge_all()
    return Work(project, generators, conditions, missing)


def _missing(
    session: Any, generator: Generator, conditions: list[Condition], draws: list[int]
) -> list[tuple[Condition, int]]:
    """Condition by condition, so that the first ones can be looked at whole while the others are still made."""
    if generator.base is None:
        return []
    ids = [condition.id for condition in conditions]
    made = repository.candidates_by_condition(session, generator.id, ids)
    known = {(condition_id, seed) for condition_id, rows in made.items() for seed, _ in rows}
    wanted = [(condition, seed_of(condition.external_id, draw)) for condition in conditions for draw in draws]
    return [(condition, seed) for condition, seed in wanted if (condition.id, seed) not in known]


def _folder(context: JobContext) -> Path:
    return context.settings.home.absolute() / "generation" / f"job-{context.job_id}"


def _sample(context: JobContext, work: Work, generator: Generator, done: int) -> None:
    refuse_without_trainer()
    missing = work.missing[generator.id]
    folder = _folder(context) / f"generator-{generator.id}"
    label = f"Sampling with {generator.name}"
    context.progress(done, work.total, f"Starting {generator.name}")
    request = write_request(folder, context.blobs, generator, missing)
    harvest = Harvest(
        context,
        generator,
        folder / "out",
        {item_key(condition.id, seed): (condition, seed) for condition, seed in missing},
        done_before=done,
        total=work.total,
        label=label,
    )
    log = folder / "sampler.log"
    code = context.run_child(
        [sys.executable, "-m", "trainer", "sample", "--request", str(request), "--out", str(harvest.out)],
        cwd=folder,
        env=child_environment(),
        log=log,
        on_poll=harvest.poll,
        poll_seconds=POLL_SECONDS,
    )
    if code != 0:
        raise child_failure(f"Sampling with “{generator.name}”", code, log)
    if harvest.wanted:
        raise JobFailed(
            "samples_missing", f"The sampler ended without {len(harvest.wanted)} of its images.", retry=True
        )
