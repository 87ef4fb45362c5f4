"""Projects as the floors below know them: which one may invite to, becoming a member, whose jobs one sees."""

from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.catalogue import repository
from backend.catalogue.models import Project


class InvitedProjects:
    """The catalogue's answer to `backend.accounts.projects.Projects` and `backend.jobs.access.Projects`."""

    def choices(self, session: Session, person: Person) -> list[tuple[int, str]]:
        return [(project.id, project.name) for project in repository.projects_of(session, person)]

    def join(self, session: Session, project_id: int, person_id: int) -> str:
        repository.add_members(session, project_id, [person_id])
        return f"/projects/{session.get_one(Project, project_id).slug}"

    def ids_of_member(self, session: Session, person_id: int) -> list[int]:
        return repository.projects_of_member(session, person_id)
