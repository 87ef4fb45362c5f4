"""Who may open a run: a dependency that resolves `{run_id}` for leads of its project."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from backend.accounts.access import LeadPerson
from backend.catalogue.access import may_see
from backend.catalogue.models import Project
from backend.kit.database import ReadSession
from backend.kit.errors import NotFound
from backend.kit.ids import Id
from backend.training import repository
from backend.training.models import Run


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run and its project, both detached: a rule that changes them loads them in its own session."""

    run: Run
    project: Project


def find_run(session: ReadSession, person: LeadPerson, run_id: Id) -> OpenRun:
    """The run, for a lead of its project. Raises NotFound alike for a run that is not there and one of others."""
    run = repository.run_by_id(session, run_id)
    project = repository.project(session, run.project_id) if run else None
    if run is None or project is None or not may_see(session, person, project):
        raise NotFound(f"There is no run {run_id} among your projects. The runs of a project are listed on its page.")
    session.expunge_all()
    return OpenRun(run, project)


def _open_run(run_id: Id, person: LeadPerson, session: ReadSession) -> OpenRun:
    return find_run(session, person, run_id)


RunForLead = Annotated[OpenRun, Depends(_open_run)]
