"""Invitation links: a role, perhaps a project, and a number of people who may use it."""

from datetime import timedelta

from sqlalchemy.orm import Session

from backend.accounts import repository
from backend.accounts.access import MAY_INVITE
from backend.accounts.models import Invitation, Person, Role
from backend.accounts.projects import Projects
from backend.accounts.schemas import InvitationIn, Joining
from backend.accounts.service import audit, create_person
from backend.accounts.tokens import fingerprint, new_secret
from backend.kit.database import utcnow
from backend.kit.errors import Forbidden, Gone, Invalid, NotFound


def create_invitation(
    session: Session, person: Person, wanted: InvitationIn, projects: Projects
) -> tuple[Invitation, str]:
    """A new invitation and the path of its link, which is stored nowhere. Leads invite annotators to their projects."""
    if wanted.role not in MAY_INVITE[Role(person.role)]:
        sentence = "Leads can invite annotators, and admins everybody: ask an admin for this invitation."
        raise Forbidden(sentence, errors=[{"field": "role", "message": sentence}])
    choices = dict(projects.choices(session, person))
    if wanted.project_id is not None and wanted.project_id not in choices:
        sentence = "Choose one of your projects."
        raise Invalid(sentence, errors=[{"field": "project_id", "message": sentence}])
    secret = new_secret()
    invitation = Invitation(
        token_hash=fingerprint(secret),
        role=wanted.role,
        note=wanted.note,
        project_id=wanted.project_id,
        max_uses=wanted.max_uses,
        expires_at=utcnow() + timedelta(days=wanted.days),
        created_by_id=person.id,
    )
    session.add(invitation)
    session.flush()
    audit(
        session, person, "invitation.create", "invitation", invitation.id, role=str(wanted.role), uses=wanted.max_uses
    )
    return invitation, f"/invite/{secret}"


def revoke_invitation(session: Session, person: Person, invitation_id: int) -> Invitation:
    invitation = repository.invitation(session, invitation_id)
    if invitation is None or (person.role != Role.ADMIN and invitation.created_by_id != person.id):
        raise NotFound(f"You made no invitation with the number {invitation_id}.")
    if invitation.revoked_at is None:
        invitation.revoked_at = utcnow()
        audit(session, person, "invitation.revoke", "invitation", invitation.id)
        session.flush()
    return invitation


def open_invitation(session: Session, secret: str) -> Invitation:
    """The invitation of a link. Raises Gone when it is used up, revoked or too old."""
    invitation = repository.open_invitation(session, fingerprint(secret), utcnow())
    if invitation is None:
        raise _is_over()
    return invitation


def accept(session: Session, secret: str, joining: Joining, projects: Projects) -> tuple[Person, str]:
    """Makes the account of an invited person; they and the path they land on.

    The place is taken first, in one guarded statement; whatever fails afterwards rolls it back.
    """
    invitation = _take_place(session, secret)
    person = create_person(
        session, None, name=joining.name, email=joining.email, role=Role(invitation.role), password=joining.password
    )
    return person, _welcome(session, invitation, person, projects)


def join(session: Session, secret: str, person: Person, projects: Projects) -> str:
    """Somebody who has an account joins the invitation's project; their role stays as it is."""
    invitation = _take_place(session, secret)
    if invitation.project_id is None:
        raise Invalid("You already have an account, and this invitation leads to no project.")
    return _welcome(session, invitation, person, projects)


def state(invitation: Invitation) -> str:
    """open, used up, expired or revoked."""
    if invitation.revoked_at is not None:
        return "revoked"
    if invitation.uses >= invitation.max_uses:
        return "used up"
    return "expired" if invitation.expires_at <= utcnow() else "open"


def _take_place(session: Session, secret: str) -> Invitation:
    invitation_id = repository.use_invitation(session, fingerprint(secret), utcnow())
    invitation = repository.invitation(session, invitation_id) if invitation_id is not None else None
    if invitation is None:
        raise _is_over()
    return invitation


def _welcome(session: Session, invitation: Invitation, person: Person, projects: Projects) -> str:
    audit(session, person, "invitation.accept", "invitation", invitation.id)
    if invitation.project_id is None:
        return "/"
    return projects.join(session, invitation.project_id, person.id)


def _is_over() -> Gone:
    return Gone(
        "This invitation has been used up, has been withdrawn or is too old. Ask whoever sent it for a new link; "
        "if you already made your account with it, log in."
    )
