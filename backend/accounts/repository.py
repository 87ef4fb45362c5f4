"""All SQL of accounts."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.orm import Session

from backend.accounts.models import ApiToken, AuditEntry, Invitation, LoginLink, LoginSession, Person, Role
from backend.accounts.schemas import AuditFilter, PeopleFilter
from backend.kit.paging import PageRequest, fetch_page

# People


def person_by_email(session: Session, email: str) -> Person | None:
    return session.scalar(select(Person).where(func.lower(Person.email) == email.lower()))


def person(session: Session, person_id: int) -> Person | None:
    return session.get(Person, person_id)


def set_password_hash(session: Session, person_id: int, before: str, after: str) -> None:
    """Replaces a stored hash, unless somebody has set another password meanwhile."""
    query = update(Person).where(Person.id == person_id, Person.password_hash == before)
    session.execute(query.values(password_hash=after))


def people_page(session: Session, wanted: PeopleFilter, page: PageRequest) -> tuple[list[Person], str | None]:
    query = select(Person)
    if wanted.q:
        pattern = f"%{_escaped(wanted.q.lower())}%"
        query = query.where(
            or_(func.lower(Person.email).like(pattern, escape="\\"), func.lower(Person.name).like(pattern, escape="\\"))
        )
    if wanted.role:
        query = query.where(Person.role == wanted.role)
    if wanted.kind == "simulated":
        query = query.where(Person.is_simulated)
    elif wanted.kind == "real":
        query = query.where(~Person.is_simulated)
    elif wanted.kind == "inactive":
        query = query.where(~Person.is_active)
    return fetch_page(session, query, Person.id, page)


def lock_active_admins(session: Session) -> list[int]:
    """Ids of all active admins, their rows locked, so that two demotions cannot each leave the other as the last."""
    query = (
        select(Person.id)
        .where(Person.role == Role.ADMIN, Person.is_active, ~Person.is_simulated)
        .order_by(Person.id)
        .with_for_update()
    )
    return list(session.scalars(query))


def admin_with_password(session: Session) -> int | None:
    query = select(Person.id).where(Person.role == Role.ADMIN, Person.is_active, Person.password_hash.is_not(None))
    return session.scalar(query.limit(1))


def first_admin(session: Session) -> Person | None:
    query = select(Person).where(Person.role == Role.ADMIN, Person.is_active, ~Person.is_simulated)
    return session.scalar(query.order_by(Person.id).limit(1))


# Sessions


# What proves a session, of sessions joined with their people; the parameters are those of `proof`.
LIVE = (
    LoginSession.token_hash == bindparam("by_token_hash"),
    LoginSession.expires_at > bindparam("by_now", type_=LoginSession.expires_at.type),
    LoginSession.last_seen_at > bindparam("by_seen_after", type_=LoginSession.last_seen_at.type),
    Person.is_active,
)


def proof(token_hash: str, now: datetime, seen_after: datetime) -> dict[str, Any]:
    return {"by_token_hash": token_hash, "by_now": now, "by_seen_after": seen_after}


def live_session(session: Session, proven_by: dict[str, Any]) -> LoginSession | None:
    return session.scalar(select(LoginSession).join(Person).where(*LIVE), proven_by)


def sessions_of(session: Session, person_id: int, now: datetime, seen_after: datetime) -> Sequence[LoginSession]:
    query = select(LoginSession).where(
        LoginSession.person_id == person_id, LoginSession.expires_at > now, LoginSession.last_seen_at > seen_after
    )
    return session.scalars(query.order_by(LoginSession.last_seen_at.desc(), LoginSession.id.desc())).all()


def touch_session(session: Session, session_id: int, now: datetime) -> None:
    session.execute(update(LoginSession).where(LoginSession.id == session_id).values(last_seen_at=now))


def delete_session(session: Session, person_id: int, session_id: int) -> bool:
    query = delete(LoginSession).where(LoginSession.id == session_id, LoginSession.person_id == person_id)
    return session.execute(query).rowcount == 1


def delete_session_by_hash(session: Session, token_hash: str) -> None:
    session.execute(delete(LoginSession).where(LoginSession.token_hash == token_hash))


def delete_sessions_of(session: Session, person_id: int, keep: int | None = None) -> int:
    query = delete(LoginSession).where(LoginSession.person_id == person_id)
    if keep is not None:
        query = query.where(LoginSession.id != keep)
    return session.execute(query).rowcount


def delete_dead_sessions(session: Session, now: datetime, seen_before: datetime) -> int:
    query = delete(LoginSession).where(or_(LoginSession.expires_at <= now, LoginSession.last_seen_at <= seen_before))
    return session.execute(query).rowcount


# Login links


def open_link(session: Session, token_hash: str, now: datetime) -> LoginLink | None:
    query = (
        select(LoginLink)
        .join(Person)
        .where(
            LoginLink.token_hash == token_hash,
            LoginLink.used_at.is_(None),
            LoginLink.expires_at > now,
            Person.is_active,
        )
    )
    return session.scalar(query)


def use_link(session: Session, token_hash: str, now: datetime) -> int | None:
    """Marks an open link as used; the id of its person, None when somebody else was first or it is over."""
    query = (
        update(LoginLink)
        .where(LoginLink.token_hash == token_hash, LoginLink.used_at.is_(None), LoginLink.expires_at > now)
        .values(used_at=now)
        .returning(LoginLink.person_id)
    )
    return session.scalar(query)


def delete_open_links(session: Session, person_id: int) -> None:
    session.execute(delete(LoginLink).where(LoginLink.person_id == person_id, LoginLink.used_at.is_(None)))


# Invitations


def invitation(session: Session, invitation_id: int) -> Invitation | None:
    return session.get(Invitation, invitation_id)


def _is_open(now: datetime) -> ColumnElement[bool]:
    return and_(Invitation.revoked_at.is_(None), Invitation.expires_at > now, Invitation.uses < Invitation.max_uses)


def open_invitation(session: Session, token_hash: str, now: datetime) -> Invitation | None:
    return session.scalar(select(Invitation).where(Invitation.token_hash == token_hash, _is_open(now)))


def use_invitation(session: Session, token_hash: str, now: datetime) -> int | None:
    """Takes one of the places of an open invitation in one statement; its id, None when there is none left."""
    query = (
        update(Invitation)
        .where(Invitation.token_hash == token_hash, _is_open(now))
        .values(uses=Invitation.uses + 1)
        .returning(Invitation.id)
    )
    return session.scalar(query)


def revoke_invitations_of(session: Session, person_id: int, now: datetime, *, keep: Collection[Role]) -> int:
    """Ends the open invitations that a person made, but for those that give a role of `keep`."""
    query = update(Invitation).where(Invitation.created_by_id == person_id, Invitation.role.not_in(keep), _is_open(now))
    return session.execute(query.values(revoked_at=now)).rowcount


def invitations_page(
    session: Session, created_by_id: int | None, page: PageRequest
) -> tuple[list[Invitation], str | None]:
    query = select(Invitation)
    if created_by_id is not None:
        query = query.where(Invitation.created_by_id == created_by_id)
    return fetch_page(session, query, Invitation.id, page)


def people_names(session: Session, ids: Sequence[int]) -> dict[int, str]:
    return {row.id: row.name for row in session.execute(select(Person.id, Person.name).where(Person.id.in_(ids)))}


# API tokens


def live_token(session: Session, token_hash: str, now: datetime) -> ApiToken | None:
    query = (
        select(ApiToken)
        .join(Person)
        .where(
            ApiToken.token_hash == token_hash,
            ApiToken.revoked_at.is_(None),
            or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now),
            Person.is_active,
        )
    )
    return session.scalar(query)


def touch_token(session: Session, token_id: int, now: datetime) -> None:
    session.execute(update(ApiToken).where(ApiToken.id == token_id).values(last_used_at=now))


def token(session: Session, token_id: int) -> ApiToken | None:
    return session.get(ApiToken, token_id)


def tokens_page(session: Session, person_id: int | None, page: PageRequest) -> tuple[list[ApiToken], str | None]:
    query = select(ApiToken)
    if person_id is not None:
        query = query.where(ApiToken.person_id == person_id)
    return fetch_page(session, query, ApiToken.id, page)


def revoke_tokens_of(session: Session, person_id: int, now: datetime) -> int:
    query = update(ApiToken).where(ApiToken.person_id == person_id, ApiToken.revoked_at.is_(None))
    return session.execute(query.values(revoked_at=now)).rowcount


# Audit


def audit_page(session: Session, wanted: AuditFilter, page: PageRequest) -> tuple[list[AuditEntry], str | None]:
    query = select(AuditEntry)
    if wanted.action:
        query = query.where(AuditEntry.action.like(_escaped(wanted.action) + "%", escape="\\"))
    if wanted.person:
        query = query.where(
            AuditEntry.person_id.in_(select(Person.id).where(func.lower(Person.email) == wanted.person.lower()))
        )
    if wanted.object_type:
        query = query.where(AuditEntry.object_type == wanted.object_type)
    if wanted.object_id:
        query = query.where(AuditEntry.object_id == wanted.object_id)
    if wanted.since:
        query = query.where(AuditEntry.created_at >= wanted.since_moment)
    if wanted.until:
        query = query.where(AuditEntry.created_at < wanted.until_moment)
    return fetch_page(session, query, AuditEntry.id, page)


def audit_object_types(session: Session) -> Sequence[str]:
    return session.scalars(select(AuditEntry.object_type).distinct().order_by(AuditEntry.object_type)).all()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
