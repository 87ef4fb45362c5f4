"""Who may see which jobs: leads those of their projects, admins all.

Accounts and projects stand on higher floors: the accounts' guard leaves the person on the request, the application
hands in what is asked of projects.
"""

from collections.abc import Collection
from typing import Annotated, Protocol

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from backend.jobs import repository
from backend.jobs.models import Job
from backend.kit.database import Database, get_database
from backend.kit.errors import Forbidden, NotFound
from backend.kit.ids import Id


class Projects(Protocol):
    """Projects as far as jobs need them."""

    def ids_of_member(self, session: Session, person_id: int) -> Collection[int]:
        """The projects that the person is a member of."""


def _require(request: Request, *roles: str) -> None:
    person = getattr(request.state, "person", None)
    if person is None or str(person.role) not in roles:
        raise Forbidden(f"This is for {' and '.join(f'{role}s' for role in roles)}. Ask one of them if you need it.")


def require_lead(request: Request) -> None:
    """Refuses everybody but leads and admins."""
    _require(request, "lead", "admin")


def require_admin(request: Request) -> None:
    """Refuses everybody but admins."""
    _require(request, "admin")


ForLeads = Annotated[None, Depends(require_lead)]
ForAdmins = Annotated[None, Depends(require_admin)]


def _seen_projects(
    request: Request, _: ForLeads, database: Annotated[Database, Depends(get_database)]
) -> Collection[int] | None:
    """The projects whose jobs the person sees; None for all, and for the jobs of none."""
    person = request.state.person
    if str(person.role) == "admin":
        return None
    projects: Projects = request.app.state.projects
    with database.looking_up() as session:
        return projects.ids_of_member(session, person.id)


SeenProjects = Annotated[Collection[int] | None, Depends(_seen_projects)]


def _seen_job(job_id: Id, seen: SeenProjects, database: Annotated[Database, Depends(get_database)]) -> Job:
    """The job, detached. Raises NotFound alike for a job that is not there and one of others."""
    with database.looking_up() as session:
        job = repository.get(session, job_id)
        session.expunge_all()
    if job is None or (seen is not None and job.project_id not in seen):
        raise NotFound(f"There is no job {job_id} among those of your projects. The list is at /jobs.")
    return job


SeenJob = Annotated[Job, Depends(_seen_job)]


def may_start_jobs() -> None:
    """Marks a route for API tokens that may start trainings; the accounts' guard reads the mark and checks it."""


may_start_jobs.scope = "train"  # type: ignore[attr-defined]  # functions carry attributes
