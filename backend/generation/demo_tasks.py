"""The job that fills the demo project: conditions from SpatialWorld, its generator, the first candidates."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from backend.catalogue import repository as catalogue
from backend.catalogue.importing import run_import
from backend.catalogue.models import Criterion, Generator, Project, Split
from backend.catalogue.schemas import GeneratorCreate, SamplerIn
from backend.catalogue.service import add_guideline_image, create_generator
from backend.catalogue.sources import FolderSource
from backend.generation.demo import GENERATOR, SEED_KIND, guidelines
from backend.generation.schemas import ComparisonPlan, MakePayload
from backend.generation.service import JOB_KIND
from backend.generation.words import child_environment, child_failure, refuse_without_trainer
from backend.jobs.context import JobContext
from backend.jobs.errors import JobFailed
from backend.jobs.registry import job_handler
from backend.jobs.service import enqueue
from backend.judging.models import ComparisonKind

WORLD = "trainer.spatialworld"
SEED = 7
FIRST_CONDITIONS, FIRST_SEEDS = 24, 4
SEEDS = 8
# Four images fit one screen at a size at which the horizon is seen at a glance.
GROUP = 4
SAMPLER = SamplerIn(steps=16, guidance=1.0)


@job_handler(SEED_KIND, queue="cpu", max_attempts=3)
def seed_demo(context: JobContext, payload: dict[str, Any]) -> dict[str, Any]:
    """Draws conditions, imports them by the ordinary import, and asks for candidates in two lots; safe to repeat.

    Drawing needs no torch. Where one machine does everything and has no trainer, the job fails at the end with the
    command that installs it; the next start after that goes on here.
    """
    project_id = int(payload["project_id"])
    folder = context.settings.home.absolute() / "generation" / f"job-{context.job_id}"
    folder.mkdir(parents=True, exist_ok=True)
    context.progress(0, 4, "Drawing subjects and canvases")
    _draw(
        context,
        folder,
        [WORLD, "conditions", "--count", str(context.settings.demo_conditions), "--seed", str(SEED), "--split", "both"],
        "conditions",
    )
    context.progress(1, 4, "Drawing examples for the guidelines")
    _draw(context, folder, [f"{WORLD}.examples", "--seed", str(SEED)], "examples")
    context.progress(2, 4, "Importing the conditions")
    report = run_import(
        context.database,
        context.blobs,
        project_id,
        FolderSource(folder / "conditions"),
        person=None,
        max_image_bytes=context.settings.max_upload_mb << 20,
    )
    if not report.ok:
        raise JobFailed("demo_import", f"{report.summary()} {report.problems[0].text()}")
    context.progress(3, 4, "Asking for the first candidates")
    with context.transaction() as session:
        project = catalogue.project_for_update(session, project_id)
        _illustrate(session, context, project, folder / "examples")
        generator = _generator(session, project)
    if context.settings.embedded:
        refuse_without_trainer()
    with context.transaction() as session:
        jobs = _ask_for_candidates(session, project, generator)
    context.progress(4, 4, "Done")
    shutil.rmtree(folder, ignore_errors=True)
    return {"conditions": report.counts["conditions"], "jobs": jobs}


def _draw(context: JobContext, folder: Path, arguments: list[str], name: str) -> None:
    log = folder / f"{name}.log"
    argv = [sys.executable, "-m", *arguments, "--out", str(folder / name)]
    code = context.run_child(argv, cwd=folder, env=child_environment(), log=log)
    if code != 0:
        raise child_failure(f"Drawing the demo's {name}", code, log)


def _illustrate(session: Session, context: JobContext, project: Project, folder: Path) -> None:
    """Puts pictures of the three hallucinations into the guidelines; rendered by the world, not sampled."""
    images: dict[str, list[str]] = {}
    for line in (folder / "examples.jsonl").read_text(encoding="utf-8").splitlines():
        example = json.loads(line)
        data = (folder / example["image"]).read_bytes()
        digest = add_guideline_image(session, context.blobs, project.id, data)
        images.setdefault(example["plan"], []).append(digest)
    project.guidelines = guidelines(images)


def _generator(session: Session, project: Project) -> Generator:
    known = catalogue.generator_by_name(session, project.id, GENERATOR)
    wanted = GeneratorCreate(name=GENERATOR, base="spatialworld", sampler=SAMPLER)
    return known or create_generator(session, None, project, wanted)


def _ask_for_candidates(session: Session, project: Project, generator: Generator) -> list[int]:
    """A small lot first, in both kinds of comparison, so that judging begins within minutes; then all the rest."""
    lots = [
        ("first", Split.TRAIN, FIRST_CONDITIONS, FIRST_SEEDS, ComparisonKind.WIN_LOSE),
        ("pairs", Split.TRAIN, FIRST_CONDITIONS, FIRST_SEEDS, ComparisonKind.PAIRWISE),
        # Held-out subjects are judged too: a run is checked on their pairs and never trained on them.
        ("rest", None, None, SEEDS, ComparisonKind.WIN_LOSE),
    ]
    jobs = []
    for name, split, limit, seeds, kind in lots:
        payload = MakePayload(
            project_id=project.id,
            generator_ids=[generator.id],
            split=split,
            condition_limit=limit,
            seeds=list(range(seeds)),
            comparisons=ComparisonPlan(kind=kind, criterion=Criterion.SPATIAL_RATIONALITY, k=GROUP),
        )
        job = enqueue(
            session,
            JOB_KIND,
            payload.model_dump(mode="json"),
            project_id=project.id,
            dedupe_key=f"demo:{project.id}:{name}",
            priority=1 if name != "rest" else 0,
        )
        jobs.append(job.id)
    return jobs
