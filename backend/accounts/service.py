"""Rules of people, logins, links and tokens. Nothing here commits."""

from datetime import timedelta
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.accounts import passwords, repository
from backend.accounts.access import MAY_INVITE, client_address
from backend.accounts.models import ApiToken, AuditEntry, LoginLink, Person, Role
from backend.accounts.schemas import AccountChange, PersonChange, TokenIn
from backend.accounts.tokens import SHOWN_CHARACTERS, fingerprint, new_api_token, new_secret
from backend.kit.database import utcnow
from backend.kit.errors import Conflict, Gone, Invalid, NotFound

# A printed link is used at once or lost; a day covers "I will do it tomorrow morning".
LINK_LIFETIME = timedelta(hours=24)
FIRST_ADMIN_EMAIL = "admin@localhost"


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


# People


def create_person(
    session: Session,
    actor: Person | None,
    *,
    name: str,
    email: str,
    role: Role = Role.ANNOTATOR,
    password: str | None = None,
    simulated: bool = False,
) -> Person:
    """A new person. Raises Invalid, naming the field, for a weak password or an email that is taken."""
    if password is not None and (sentence := passwords.weakness(password, email=email, name=name)):
        raise Invalid(sentence, errors=[{"field": "password", "message": sentence}])
    person = Person(
        name=name,
        email=email,
        role=role,
        password_hash=passwords.hash_password(password) if password is not None else None,
        is_simulated=simulated,
    )
    _store_with_unique_email(session, person)
    audit(session, actor or person, "person.create", "person", person.id, email=email, role=str(role))
    return person


def _store_with_unique_email(session: Session, person: Person) -> None:
    email = person.email
    try:
        with session.begin_nested():
            session.add(person)
            session.flush()
    except IntegrityError as error:
        sentence = f"Somebody with the email {email} already has an account. Log in with it, or use another address."
        raise Invalid(sentence, errors=[{"field": "email", "message": sentence}]) from error


def get_person(session: Session, person_id: int) -> Person:
    person = repository.person(session, person_id)
    if person is None:
        raise NotFound(f"There is no person with the number {person_id}.")
    return person


def change_person(session: Session, actor: Person | None, person_id: int, change: PersonChange) -> Person:
    """Changes role and activity; open invitations that the person may no longer make end with it.

    Raises Conflict when that would leave nobody who can administer.
    """
    person = get_person(session, person_id)
    admins = repository.lock_active_admins(session)
    role = change.role if change.role is not None else Role(person.role)
    active = change.is_active if change.is_active is not None else person.is_active
    if admins == [person.id] and (role is not Role.ADMIN or not active):
        raise Conflict(f"{person.name} is the only active admin. Make somebody else an admin first.")
    if person.is_simulated and role is not Role.ANNOTATOR:
        raise Conflict("A simulated annotator cannot become a lead or an admin.")
    if role != person.role:
        audit(session, actor, "person.role", "person", person.id, before=str(person.role), after=str(role))
        person.role = role
    if active != person.is_active:
        person.is_active = active
        if not active:
            shut_out(session, person)
        audit(session, actor, "person.reactivate" if active else "person.deactivate", "person", person.id)
    repository.revoke_invitations_of(session, person.id, utcnow(), keep=MAY_INVITE[role] if active else ())
    session.flush()
    return person


def shut_out(session: Session, person: Person) -> None:
    """Ends everything that lets the person in: sessions, login links, API tokens."""
    repository.delete_sessions_of(session, person.id)
    repository.delete_open_links(session, person.id)
    repository.revoke_tokens_of(session, person.id, utcnow())


def change_account(session: Session, person_id: int, change: AccountChange) -> Person:
    """The person's own name, email and language."""
    person = get_person(session, person_id)
    before = person.email
    person.name = change.name
    person.email = change.email
    if change.locale is not None:
        person.locale = change.locale
    _store_with_unique_email(session, person)
    audit(session, person, "account.change", "person", person.id, email_before=before, email=change.email)
    return person


def set_password(session: Session, actor: Person | None, person_id: int, password: str, *, keep: int | None) -> Person:
    """Sets a new password and ends all sessions but `keep`, and all open login links."""
    person = get_person(session, person_id)
    if person.is_simulated:
        raise Conflict("A simulated annotator cannot log in and has no password.")
    if sentence := passwords.weakness(password, email=person.email, name=person.name):
        raise Invalid(sentence, errors=[{"field": "password", "message": sentence}])
    person.password_hash = passwords.hash_password(password)
    repository.delete_sessions_of(session, person.id, keep=keep)
    repository.delete_open_links(session, person.id)
    audit(session, actor, "person.password", "person", person.id)
    session.flush()
    return person


# One-time login links


def make_login_link(session: Session, actor: Person | None, person: Person) -> str:
    """The path of a link that logs `person` in once; earlier links that were not used stop working."""
    if person.is_simulated or not person.is_active:
        raise Conflict(f"{person.name} cannot log in, so there is no login link for them.")
    repository.delete_open_links(session, person.id)
    secret = new_secret()
    session.add(LoginLink(token_hash=fingerprint(secret), person_id=person.id, expires_at=utcnow() + LINK_LIFETIME))
    audit(session, actor, "login_link.create", "person", person.id)
    session.flush()
    return f"/login/link/{secret}"


def use_login_link(session: Session, secret: str) -> Person:
    """The person of a link, which stops working with this. Raises Gone when it is over."""
    person_id = repository.use_link(session, fingerprint(secret), utcnow())
    person = repository.person(session, person_id) if person_id is not None else None
    if person is None or not person.is_active:
        raise link_is_over()
    audit(session, person, "login.link", "person", person.id)
    return person


def person_of_link(session: Session, secret: str) -> Person:
    """Whom an open link would log in, without using it. Raises Gone when it is over."""
    link = repository.open_link(session, fingerprint(secret), utcnow())
    if link is None:
        raise link_is_over()
    return get_person(session, link.person_id)


def link_is_over() -> Gone:
    return Gone(
        "This login link has been used or has expired: each works once, for a day. Log in with your password, "
        "start the service again for a new first link, or run `inpaintdpo user link EMAIL`."
    )


def ensure_first_admin(session: Session) -> str | None:
    """The path of a fresh login link for the first admin; None once an admin has set a password.

    Creates that admin, without any password, where there is none.
    """
    if repository.admin_with_password(session) is not None:
        return None
    admin = repository.first_admin(session)
    if admin is None:
        admin = create_person(session, None, name="Admin", email=FIRST_ADMIN_EMAIL, role=Role.ADMIN)
    return make_login_link(session, None, admin)


# API tokens


def create_token(session: Session, person: Person, wanted: TokenIn) -> tuple[ApiToken, str]:
    """A new token of `person` and its secret, which is stored nowhere."""
    if "admin" in wanted.scopes and person.role != Role.ADMIN:
        sentence = "Only an admin's token can have the scope “admin”."
        raise Invalid(sentence, errors=[{"field": "scopes", "message": sentence}])
    secret = new_api_token()
    now = utcnow()
    token = ApiToken(
        token_hash=fingerprint(secret),
        prefix=secret[:SHOWN_CHARACTERS],
        name=wanted.name,
        person_id=person.id,
        scopes=list(wanted.scopes),
        expires_at=now + timedelta(days=wanted.days) if wanted.days else None,
    )
    session.add(token)
    session.flush()
    audit(session, person, "token.create", "token", token.id, name=wanted.name, scopes=list(wanted.scopes))
    return token, secret


def revoke_token(session: Session, person: Person, token_id: int) -> ApiToken:
    """Ends a token, one's own or as an admin anybody's; revoking twice changes nothing."""
    token = repository.token(session, token_id)
    if token is None or (token.person_id != person.id and person.role != Role.ADMIN):
        raise NotFound(f"You have no token with the number {token_id}.")
    if token.revoked_at is None:
        token.revoked_at = utcnow()
        audit(session, person, "token.revoke", "token", token.id, name=token.name)
        session.flush()
    return token


def end_session(session: Session, person: Person, session_id: int) -> None:
    """Ends one of the person's own sessions."""
    if not repository.delete_session(session, person.id, session_id):
        raise NotFound("That session has already ended.")
    audit(session, person, "session.end", "session", session_id)


def token_state(token: ApiToken) -> str:
    """active, expired or revoked."""
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= utcnow() else "active"
