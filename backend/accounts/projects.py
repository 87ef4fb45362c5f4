"""What accounts asks of projects, which live on a higher floor: the application hands the answers in."""

from typing import Protocol

from fastapi import Request
from sqlalchemy.orm import Session

from backend.accounts.models import Person


class Projects(Protocol):
    """Projects as far as an invitation needs them."""

    def choices(self, session: Session, person: Person) -> list[tuple[int, str]]:
        """Ids and names of the projects that `person` may invite to."""

    def join(self, session: Session, project_id: int, person_id: int) -> str:
        """Makes the person a member, if they are not; the path of the project's page."""


class NoProjects:
    """A service without projects: invitations lead home."""

    def choices(self, session: Session, person: Person) -> list[tuple[int, str]]:
        return []

    def join(self, session: Session, project_id: int, person_id: int) -> str:
        return "/"


def projects_of(request: Request) -> Projects:
    """What the application knows of projects."""
    return getattr(request.app.state, "projects", NoProjects())
