"""Who may open a project: dependencies that resolve `{slug}` to a project the person at hand may use.

The project comes detached: its columns can be read anywhere, but a rule that changes it loads it in its own session.
"""

from typing import Annotated

from fastapi import Depends, Path

from backend.accounts.access import CurrentPerson
from backend.accounts.models import Person, Role
from backend.catalogue import repository
from backend.catalogue.models import Project
from backend.kit.database import Database, ReadSession, get_database
from backend.kit.errors import Forbidden, NotFound

Slug = Annotated[str, Path(max_length=60, description="The project's short name in URLs.")]


def may_see(session: ReadSession, person: Person, project: Project) -> bool:
    """Whether `person` works in `project`: admins in all of them, others where they are members."""
    return person.role == Role.ADMIN or repository.is_member(session, project.id, person.id)


def _project_for_member(
    slug: Slug, person: CurrentPerson, database: Annotated[Database, Depends(get_database)]
) -> Project:
    with database.looking_up() as session:
        project = repository.project_seen_by(session, slug, person)
        session.expunge_all()
    # One answer for "not there" and "not yours": whether a project exists is not everybody's to know.
    if project is None:
        raise NotFound(f"There is no project “{slug}” among yours. Ask its lead to add you, or check the address.")
    return project


ProjectForMember = Annotated[Project, Depends(_project_for_member)]


async def _project_for_lead(project: ProjectForMember, person: CurrentPerson) -> Project:
    if person.role not in (Role.LEAD, Role.ADMIN):
        raise Forbidden("Only leads and admins can open this part of a project.")
    return project


ProjectForLead = Annotated[Project, Depends(_project_for_lead)]
