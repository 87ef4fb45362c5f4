"""What follows a finished training: the adapter, the tuned generator, and its first meeting with its parent."""

from typing import Any

from sqlalchemy.orm import Session

from backend.catalogue.blobs import BlobFact, remember_blobs
from backend.catalogue.models import Criterion, Generator, Split
from backend.jobs.context import JobContext
from backend.jobs.errors import JobFailed
from backend.jobs.service import enqueue
from backend.kit.database import utcnow
from backend.training import repository
from backend.training.models import Attempt, Run, RunState
from trainer.contract.checkpoint import LORA_FILE, RunFolder, RunResult

SAFETENSORS = "application/octet-stream"
GENERATION_KIND = "generation.make"
# Three images each of every held-out condition by child and parent, every pair judged blind by one person: a first
# answer to "is it better?"; more judgments are asked for where the intervals still overlap.
ARENA_SEEDS = (1000, 1001, 1002)
# Enough for a standard error of 3.5 points; large projects would wait for hours for more.
ARENA_CONDITIONS = 200
ARENA_WANTED = 1


def finish(context: JobContext, run_id: int, attempt_id: int, folder: RunFolder, tail: str) -> dict[str, Any]:
    """Publishes a finished training in one transaction and returns the job's result."""
    result = RunResult.model_validate_json(folder.result.read_bytes())
    weights = folder.root / (result.adapter or "adapter") / LORA_FILE
    if not weights.is_file():
        folder.result.unlink()
        raise JobFailed(
            "adapter_missing",
            "The trainer finished without leaving its adapter. Resume the run, which writes it again.",
        )
    digest = context.blobs.put_file(weights)
    with context.transaction() as session:
        run = session.get_one(Run, run_id)
        remember_blobs(session, [BlobFact(digest, SAFETENSORS, weights.stat().st_size)])
        parent = session.get_one(Generator, run.parent_generator_id)
        child = _tuned_generator(session, run, parent, digest)
        run.adapter_digest, run.generator_id = digest, child.id
        run.state, run.finished_at, run.failure = RunState.FINISHED, utcnow(), None
        run.step = result.step
        run.result = result.model_dump(mode="json")
        repository.keep_only(session, run_id, [step for step, _ in folder.published_checkpoints()])
        attempt = session.get_one(Attempt, attempt_id)
        attempt.outcome, attempt.exit_code, attempt.ended_at, attempt.log_tail = "finished", 0, utcnow(), tail
        job = _meet_parent(session, run, child, parent)
        return {"run_id": run_id, "generator_id": child.id, "adapter": digest, "generation_job_id": job}


def _tuned_generator(session: Session, run: Run, parent: Generator, digest: str) -> Generator:
    wanted = f"{parent.name[:90]} · {run.name}"[:120]
    name, number = wanted, 2
    while repository.generator_named(session, run.project_id, name) is not None:
        name, number = f"{wanted[:112]} ({number})", number + 1
    child = Generator(
        project_id=run.project_id,
        name=name,
        base=parent.base,
        adapter_digest=digest,
        sampler=parent.sampler,
        parent_id=parent.id,
        run_id=run.id,
        # Its weights are those of its run from the first: nothing about it may change any more.
        is_frozen=True,
    )
    session.add(child)
    session.flush()
    return child


def _meet_parent(session: Session, run: Run, child: Generator, parent: Generator) -> int:
    """Asks for images of the held-out conditions by both, and for blind comparisons of them."""
    job = enqueue(
        session,
        GENERATION_KIND,
        {
            "project_id": run.project_id,
            "generator_ids": [child.id, parent.id],
            "split": Split.VALIDATION.value,
            "condition_limit": ARENA_CONDITIONS,
            "seeds": list(ARENA_SEEDS),
            "comparisons": {
                "kind": "arena",
                "criterion": Criterion.SPATIAL_RATIONALITY.value,
                "wanted": ARENA_WANTED,
                "k": 2,
            },
        },
        project_id=run.project_id,
        dedupe_key=f"{GENERATION_KIND}:run:{run.id}",
    )
    return job.id
