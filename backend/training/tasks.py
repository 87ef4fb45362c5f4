"""The job that trains: a child process beside its supervisor, which reads what the child publishes."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainer
from backend.datasets.service import materialise
from backend.jobs.context import JobContext
from backend.jobs.errors import JobCancelled, JobFailed, JobHandedBack, LostLease
from backend.jobs.registry import job_handler
from backend.kit.blobs import BlobMissing
from backend.kit.database import utcnow
from backend.training import repository
from backend.training.configs import PARENT_ADAPTER
from backend.training.finishing import finish
from backend.training.ingest import Ingest, log_tail
from backend.training.models import Attempt, Run, RunState
from backend.training.places import Workplace, workplace
from backend.training.service import JOB_KIND, MAX_ATTEMPTS, settle
from backend.training.words import FINAL_EXITS, exit_name, failure_sentence
from trainer.contract.checkpoint import RunFolder, RunResult
from trainer.contract.errors import ExitCode, SnapshotError

POLL_SECONDS = 0.5
# The longest step of a large model and its checkpoint; the trainer ends after them, so that a cancel loses nothing.
CANCEL_GRACE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Start:
    """What an attempt needs to know of its run."""

    run_id: int
    attempt_id: int
    number: int
    config: dict[str, Any]
    parent_digest: str | None
    total_steps: int


@job_handler(JOB_KIND, queue="gpu", max_attempts=MAX_ATTEMPTS, on_settled=settle)
def train_run(context: JobContext, payload: dict[str, Any]) -> dict[str, Any] | None:
    """Trains one run from its last checkpoint on; safe to be started again after any death."""
    run_id = int(payload["run_id"])
    start = begin_attempt(context, run_id)
    if start is None:
        return _earlier_result(context, run_id)
    place = workplace(context.settings.home, run_id)
    place.root.mkdir(parents=True, exist_ok=True)
    ingest = Ingest(
        context, run_id, start.attempt_id, place.out, place.log(start.number), total_steps=start.total_steps
    )
    try:
        _prepare(context, start, place)
        ingest.restore_stream()
        code = _train(context, start, place, ingest)
    except JobCancelled:
        ingest.poll()
        _end_attempt(context, start, place, "cancelled", int(ExitCode.CANCELLED))
        raise
    except JobHandedBack:
        ingest.poll()
        _end_attempt(context, start, place, "handed_back", None)
        raise
    except LostLease:
        raise
    except Exception:
        _end_attempt(context, start, place, "failed", None)
        raise
    if code != ExitCode.FINISHED:
        raise _failure(context, start, place, code)
    answer = finish(context, run_id, start.attempt_id, place.out, log_tail(place.log(start.number)))
    # Its archive is stored; unpacked it would only fill the disk.
    shutil.rmtree(place.snapshot, ignore_errors=True)
    return answer


def begin_attempt(context: JobContext, run_id: int) -> Start | None:
    """Opens an attempt under this job's fence; None where the run has ended or belongs to another job."""
    with context.transaction() as session:
        run = repository.run_for_update(session, run_id)
        if run is None or run.job_id != context.job_id or run.state not in (RunState.QUEUED, RunState.RUNNING):
            return None
        repository.close_open_attempts(session, run_id, "lost")
        run.state = RunState.RUNNING
        run.started_at = run.started_at or utcnow()
        attempt = Attempt(
            run_id=run_id,
            number=repository.next_attempt_number(session, run_id),
            job_id=context.job_id,
            fence=context.fence,
            worker=context.worker,
            started_at=utcnow(),
        )
        session.add(attempt)
        session.flush()
        parent = repository.generator_by_id(session, run.parent_generator_id)
        return Start(
            run_id=run_id,
            attempt_id=attempt.id,
            number=attempt.number,
            config=run.config,
            parent_digest=parent.adapter_digest if parent else None,
            total_steps=run.total_steps,
        )


def _earlier_result(context: JobContext, run_id: int) -> dict[str, Any] | None:
    """The answer of a job whose run needs nothing more: it finished just before its worker was lost."""
    with context.database.reading() as session:
        run = repository.run_by_id(session, run_id)
        if run is None or run.state != RunState.FINISHED:
            return None
        return {"run_id": run.id, "generator_id": run.generator_id, "adapter": run.adapter_digest}


def _prepare(context: JobContext, start: Start, place: Workplace) -> None:
    """Lays out the dataset, the config and the parent's adapter."""
    context.progress(0, start.total_steps, "Laying out the dataset")
    with context.database.reading() as session:
        run = session.get_one(Run, start.run_id)
        snapshot = run.snapshot
        session.expunge_all()
    try:
        materialise(context.blobs, snapshot, place.snapshot)
    except SnapshotError as error:
        raise JobFailed("snapshot_damaged", f"{error.message} Freeze a new snapshot and start a run on it.") from error
    except BlobMissing as error:
        raise JobFailed(
            "snapshot_missing", f"The archive of “{snapshot.name}” is no longer stored. Freeze a new snapshot."
        ) from error
    if start.parent_digest:
        adapter = place.root / PARENT_ADAPTER.format(digest=start.parent_digest)
        if not adapter.exists():
            adapter.parent.mkdir(parents=True, exist_ok=True)
            staged = adapter.with_suffix(".part")
            context.blobs.fetch(start.parent_digest, staged)
            staged.replace(adapter)
    place.config.write_text(json.dumps(start.config, indent=1), encoding="utf-8")
    place.out.cancel.unlink(missing_ok=True)
    context.check()


def _train(context: JobContext, start: Start, place: Workplace, ingest: Ingest) -> int:
    """Runs the trainer to its end and returns its exit code; a result that is there already is not made again."""
    result = read_result(place.out)
    if result is not None and result.state == "finished":
        ingest.poll()
        return int(ExitCode.FINISHED)
    place.out.result.unlink(missing_ok=True)
    context.progress(0, start.total_steps, "Starting the trainer")
    return context.run_child(
        [
            sys.executable, "-m", "trainer", "train", "--snapshot", str(place.snapshot), "--config", str(place.config),
            "--out", str(place.out.root), "--resume", "auto",
        ],
        cwd=place.root,
        env=_environment(os.environ),
        log=place.log(start.number),
        on_poll=ingest.poll,
        poll_seconds=POLL_SECONDS,
        cancel_grace=CANCEL_GRACE_SECONDS,
    )  # fmt: skip


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The child's environment: the package must be found from another working folder, and output must not wait."""
    source = str(Path(trainer.__file__).resolve().parents[1])
    paths = [source, *filter(None, inherited.get("PYTHONPATH", "").split(os.pathsep))]
    return {**inherited, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONUNBUFFERED": "1"}


def _failure(context: JobContext, start: Start, place: Workplace, code: int) -> JobFailed:
    """The end of an attempt whose trainer did not finish; a killed one is tried again."""
    result = read_result(place.out)
    said = result.message if result is not None and result.exit_code == code else ""
    final = code in FINAL_EXITS
    _end_attempt(context, start, place, "failed" if final else "killed", code)
    return JobFailed(exit_name(code), failure_sentence(code, said), retry=not final)


def _end_attempt(context: JobContext, start: Start, place: Workplace, outcome: str, code: int | None) -> None:
    with context.transaction() as session:
        attempt = session.get_one(Attempt, start.attempt_id)
        attempt.outcome, attempt.exit_code, attempt.ended_at = outcome, code, utcnow()
        attempt.log_tail = log_tail(place.log(start.number))


def read_result(folder: RunFolder) -> RunResult | None:
    """The trainer's own account of how it ended; None where there is none that can be read."""
    try:
        return RunResult.model_validate_json(folder.result.read_bytes())
    except (OSError, ValueError):
        return None
