"""Rules of accounts that other rooms use."""

from typing import Any

from sqlalchemy.orm import Session

from backend.accounts.access import client_address
from backend.accounts.models import AuditEntry, Person


def audit(
    session: Session, person: Person | None, action: str, object_type: str, object_id: object = "", **details: Any
) -> None:
    """Records in the caller's transaction that `person` (None: the system) did `action` to an object.

    `action` reads ``noun.verb`` ("token.revoke"); `details` must be JSON and hold no secret.
    """
    session.add(
        AuditEntry(
            person_id=person.id if person else None,
            action=action,
            object_type=object_type,
            object_id=str(object_id),
            details=details,
            address=client_address.get(),
        )
    )
