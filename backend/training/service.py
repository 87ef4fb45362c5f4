"""Rules of training: starting, cancelling and resuming runs; what of a run is shown."""

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.accounts.service import audit
from backend.catalogue.models import Generator, Project
from backend.catalogue.service import freeze
from backend.datasets.models import Snapshot, SnapshotState
from backend.jobs.models import Job, JobState
from backend.jobs.service import cancel, enqueue
from backend.kit.database import utcnow
from backend.kit.errors import Conflict, Invalid
from backend.training import repository
from backend.training.configs import build_config
from backend.training.models import ACTIVE_RUN_STATES, Run, RunState
from backend.training.schemas import RunIn
from trainer.contract.config import RunConfig

JOB_KIND = "training.run"
# A worker that dies takes an attempt with it: enough for a run of days on borrowed machines, few enough that a
# training that kills its machine is given up.
MAX_ATTEMPTS = 5


def run_url(project: Project, run: Run) -> str:
    return f"/projects/{project.slug}/runs/{run.id}"


def start_run(session: Session, person: Person | None, project: Project, request: RunIn) -> Run:
    """A new run and the job that trains it.

    Raises Invalid naming the field for a snapshot, generator, recipe or override that cannot be used, and Conflict
    where the same config already trains on this snapshot or the name is taken.
    """
    snapshot = _usable_snapshot(session, project, request.snapshot_id)
    parent = _usable_parent(session, project, request.parent_generator_id)
    config = build_config(request.recipe, request.overrides, parent)
    run = _insert_run(session, project, snapshot, parent, request, config, person)
    freeze(session, [parent])
    job = enqueue(
        session,
        JOB_KIND,
        {"run_id": run.id},
        project_id=project.id,
        dedupe_key=f"{JOB_KIND}:{run.id}",
        max_attempts=MAX_ATTEMPTS,
    )
    run.job_id = job.id
    audit(session, person, "run.start", "run", run.id, snapshot=snapshot.id, recipe=run.recipe)
    return run


def _usable_snapshot(session: Session, project: Project, snapshot_id: int) -> Snapshot:
    snapshot = repository.snapshot_by_id(session, snapshot_id)
    if snapshot is None or snapshot.project_id != project.id:
        raise invalid("snapshot_id", f"There is no snapshot {snapshot_id} in this project. Choose one under Datasets.")
    if snapshot.state == SnapshotState.BUILDING:
        raise invalid("snapshot_id", f"The snapshot “{snapshot.name}” is still being built. Wait for it to be ready.")
    if snapshot.state == SnapshotState.FAILED:
        raise invalid("snapshot_id", f"The snapshot “{snapshot.name}” could not be built. Freeze a new one.")
    if snapshot.counts.get("train_pairs") == 0:
        raise invalid(
            "snapshot_id",
            f"The snapshot “{snapshot.name}” holds no pairs to train on. Collect more judgments or choose with a "
            "lower threshold, then freeze a new one.",
        )
    return snapshot


def _usable_parent(session: Session, project: Project, generator_id: int | None) -> Generator:
    field = "parent_generator_id"
    if generator_id is None:
        found = repository.tunable_generators(session, project.id)
        if not found:
            raise invalid(field, "This project has no generator with a base pipeline, so there is nothing to tune.")
        return found[0]
    parent = repository.generator_by_id(session, generator_id)
    if parent is None or parent.project_id != project.id:
        raise invalid(field, f"There is no generator {generator_id} in this project. Choose one under Generators.")
    if parent.base is None:
        raise invalid(
            field,
            f"“{parent.name}” is known only by its imported images. Choose a generator that has a base pipeline.",
        )
    return parent


def invalid(field: str, message: str) -> Invalid:
    """A refusal that a form shows beside `field`."""
    return Invalid(message, errors=[{"field": field, "message": message}])


def _insert_run(
    session: Session,
    project: Project,
    snapshot: Snapshot,
    parent: Generator,
    request: RunIn,
    config: RunConfig,
    person: Person | None,
) -> Run:
    number = repository.count_runs(session, project.id) + 1
    while True:
        run = Run(
            project_id=project.id,
            snapshot_id=snapshot.id,
            snapshot=snapshot,
            parent_generator_id=parent.id,
            name=request.name or f"run {number}",
            recipe=request.recipe,
            config=config.model_dump(mode="json"),
            config_hash=config.config_hash(),
            total_steps=config.training.steps,
            created_by_id=person.id if person else None,
        )
        try:
            with session.begin_nested():
                session.add(run)
            return run
        except IntegrityError:
            active = repository.active_run(session, snapshot.id, run.config_hash)
            if active is not None:
                raise already_running(project, active) from None
            if repository.run_named(session, project.id, run.name) is None:
                raise
            if request.name:
                raise Conflict(
                    f"There is a run named “{request.name}” already. Choose another name.",
                    errors=[{"field": "name", "message": f"There is a run named “{request.name}” already."}],
                ) from None
            number += 1


def already_running(project: Project, active: Run) -> Conflict:
    """The refusal of a training that is under way already, with a link to it."""
    url = run_url(project, active)
    return Conflict(
        f"“{active.name}” trains on this snapshot with exactly these settings already. Watch it at {url}, or change "
        "a setting (another seed is enough).",
        run_id=active.id,
        url=url,
    )


def cancel_run(session: Session, person: Person | None, run: Run) -> Run:
    """Asks the run to stop: at once while it waits, at its next step (after a checkpoint) while it trains.

    Raises Conflict where it has ended.
    """
    if run.state not in ACTIVE_RUN_STATES or run.job_id is None:
        raise Conflict(f"“{run.name}” has ended ({run.state}), so there is nothing to cancel.")
    # The job's row is locked before the run's, as the worker does it, so that the two never wait for each other.
    cancel(session, run.job_id)
    session.refresh(run)
    audit(session, person, "run.cancel", "run", run.id)
    return run


def resume_run(session: Session, person: Person | None, project: Project, run: Run) -> Run:
    """A new job that goes on from the run's last checkpoint. Raises Conflict where that cannot be."""
    run = repository.run_for_update(session, run.id) or run
    if run.state not in (RunState.CANCELLED, RunState.FAILED):
        raise Conflict(f"“{run.name}” is {run.state}: only a cancelled or failed run can be resumed.")
    active = repository.active_run(session, run.snapshot_id, run.config_hash)
    if active is not None:
        raise already_running(project, active)
    run.state, run.failure, run.finished_at = RunState.QUEUED, None, None
    job = enqueue(
        session,
        JOB_KIND,
        {"run_id": run.id},
        project_id=project.id,
        dedupe_key=f"{JOB_KIND}:{run.id}",
        max_attempts=MAX_ATTEMPTS,
    )
    run.job_id = job.id
    audit(session, person, "run.resume", "run", run.id)
    return run


def settle(session: Session, job: Job) -> None:
    """Carries the end of a run's job over to the run, whoever ended it; a finished run stays finished."""
    run = repository.run_for_update(session, job.payload["run_id"])
    if run is None or run.job_id != job.id or run.state not in ACTIVE_RUN_STATES:
        return
    run.finished_at = utcnow()
    if job.state == JobState.CANCELLED:
        run.state = RunState.CANCELLED
    else:
        run.state = RunState.FAILED
        run.failure = job.error_message or "The job ended without saying why. Resume the run, or ask an admin to look."
    outcome = "lost" if job.error_code == "worker_lost" else str(run.state)
    repository.close_open_attempts(session, run.id, outcome)
