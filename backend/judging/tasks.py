"""Job handlers of judging."""

from typing import Any

from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.accounts.service import audit
from backend.catalogue.models import Project
from backend.jobs.context import JobContext
from backend.jobs.errors import JobFailed
from backend.jobs.models import Job
from backend.jobs.registry import job_handler
from backend.jobs.service import enqueue
from backend.judging import aiming, leases, repository_simulation, simulate
from backend.judging.schemas import SimulateIn

SIMULATE = "judging.simulate"
AIM = "judging.aim"


@job_handler(SIMULATE, queue="cpu", max_attempts=3)
def run_simulation(context: JobContext, payload: dict[str, Any]) -> dict[str, Any]:
    """Lets simulated annotators judge in batches until nothing is left or enough is judged.

    A retry goes on where the last batch was committed, so `judgments` may then be exceeded by what that attempt did.
    """
    wish = SimulateIn.model_validate({key: value for key, value in payload.items() if key != "project_id"})
    behaviour = simulate.Behaviour(wish.error_rate, wish.side_bias)
    with context.transaction() as session:
        project = session.get(Project, payload["project_id"])
        if project is None:
            raise JobFailed("project_missing", f"Project {payload['project_id']} is no longer there.")
        people = simulate.ensure_annotators(session, project, behaviour, wish.annotators)
        leases.expire(session)
        open_slots = repository_simulation.open_slots(session, project.id)
    total = min(wish.judgments or open_slots, open_slots)
    judged = 0
    while wish.judgments is None or judged < wish.judgments:
        context.check()
        size = min(simulate.BATCH, wish.judgments - judged) if wish.judgments else simulate.BATCH
        with context.transaction() as session:
            done = simulate.judge_batch(
                session, project, people, behaviour, count=size, criterion=wish.criterion, seed=wish.seed
            )
        judged += done
        context.progress(judged, max(total, judged), f"{judged:,} judgments by {len(people)} simulated annotators")
        if done < size:
            break
    return {"judgments": judged, "annotators": len(people)}


def start_simulation(session: Session, project: Project, person: Person, wish: SimulateIn) -> Job:
    """Puts a simulation into the queue; one that is waiting or running is left alone and returned."""
    payload = {"project_id": project.id, **wish.model_dump(mode="json")}
    job = enqueue(session, SIMULATE, payload, project_id=project.id, dedupe_key=f"simulate-{project.id}")
    audit(session, person, "judging.simulate", "project", project.id, **wish.model_dump(mode="json"))
    return job


@job_handler(AIM, queue="cpu", max_attempts=2)
def aim_at_matchups(context: JobContext, payload: dict[str, Any]) -> dict[str, Any]:
    """Looks at the votes of a project with active choice and says which generators should meet next."""
    with context.transaction() as session:
        project = session.get(Project, payload["project_id"])
        if project is None:
            raise JobFailed("project_missing", f"Project {payload['project_id']} is no longer there.")
        return {"matchups": aiming.aim(session, project, leases.judging_settings(project))}


def start_aiming(session: Session, project_id: int) -> Job:
    """Asks for a look at the votes; one that waits or runs is enough."""
    return enqueue(session, AIM, {"project_id": project_id}, project_id=project_id, dedupe_key=f"aim-{project_id}")
