"""Who may see jobs. Accounts stand on a higher floor: their guard leaves the person on the request."""

from typing import Annotated

from fastapi import Depends, Request

from backend.kit.errors import Forbidden


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


def may_start_jobs() -> None:
    """Marks a route for API tokens that may start trainings; the accounts' guard reads the mark and checks it."""


may_start_jobs.scope = "train"  # type: ignore[attr-defined]  # functions carry attributes
