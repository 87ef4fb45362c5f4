"""REST of accounts: who I am, people, invitations, tokens, sessions, the audit trail."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.accounts import invitations, repository, service, sessions
from backend.accounts.access import AdminPerson, CurrentIdentity, LeadPerson, is_admin, require_scope
from backend.accounts.pages_admin import absolute
from backend.accounts.projects import projects_of
from backend.accounts.schemas import (
    AuditFilter,
    AuditOut,
    InvitationIn,
    InvitationMade,
    InvitationOut,
    Me,
    OwnChange,
    PeopleFilter,
    PersonChange,
    PersonOut,
    SessionOut,
    TokenIn,
    TokenMade,
    TokenOut,
)
from backend.kit.database import ReadSession, WriteSession, utcnow
from backend.kit.errors import Forbidden
from backend.kit.ids import Id
from backend.kit.paging import Page, Paging

router = APIRouter(tags=["accounts"])


def _me(request: Request, identity: CurrentIdentity, name: str | None = None) -> Me:
    me = Me.model_validate(
        {
            **PersonOut.model_validate(identity.person).model_dump(),
            "scopes": sorted(identity.scopes) if identity.scopes is not None else None,
            "csrf_token": request.state.csrf_token or None,
        }
    )
    return me.model_copy(update={"name": name}) if name else me


@router.get("/me")
def read_me(request: Request, identity: CurrentIdentity) -> Me:
    """The person asking. A page whose form went stale while its reader logged in again finds its CSRF token here."""
    return _me(request, identity)


@router.patch("/me")
def change_me(request: Request, identity: CurrentIdentity, change: OwnChange, session: WriteSession) -> Me:
    person = service.get_person(session, identity.person.id)
    person.name = change.name
    service.audit(session, person, "account.change", "person", person.id)
    return _me(request, identity, change.name)


# People


@router.get("/people")
def list_people(
    _: AdminPerson, session: ReadSession, page: Paging, wanted: Annotated[PeopleFilter, Query()]
) -> Page[PersonOut]:
    people, next_cursor = repository.people_page(session, wanted, page)
    return Page(items=[PersonOut.model_validate(person) for person in people], next_cursor=next_cursor)


@router.get("/people/{person_id}")
def read_person(_: AdminPerson, person_id: Id, session: ReadSession) -> PersonOut:
    return PersonOut.model_validate(service.get_person(session, person_id))


@router.patch("/people/{person_id}", dependencies=[require_scope("admin")])
def change_person(person: AdminPerson, person_id: Id, change: PersonChange, session: WriteSession) -> PersonOut:
    """Changes role or activity; deactivating ends all sessions, links, tokens and invitations."""
    return PersonOut.model_validate(service.change_person(session, person, person_id, change))


# Invitations


@router.get("/invitations")
def list_invitations(person: LeadPerson, session: ReadSession, page: Paging) -> Page[InvitationOut]:
    """One's own invitations; an admin's list has everybody's."""
    found, next_cursor = repository.invitations_page(session, None if is_admin(person) else person.id, page)
    return Page(items=[InvitationOut.model_validate(item) for item in found], next_cursor=next_cursor)


@router.post("/invitations", status_code=201, dependencies=[require_scope("admin")])
def create_invitation(
    request: Request, person: LeadPerson, wanted: InvitationIn, session: WriteSession
) -> InvitationMade:
    """Makes an invitation; its link is in this answer and nowhere else."""
    invitation, path = invitations.create_invitation(session, person, wanted, projects_of(request))
    shown = InvitationOut.model_validate(invitation).model_dump()
    return InvitationMade(**shown, link=absolute(request, path))


@router.delete("/invitations/{invitation_id}", status_code=204, dependencies=[require_scope("admin")])
def revoke_invitation(person: LeadPerson, invitation_id: Id, session: WriteSession) -> Response:
    invitations.revoke_invitation(session, person, invitation_id)
    return Response(status_code=204)


# Tokens


@router.get("/tokens")
def list_tokens(person: LeadPerson, session: ReadSession, page: Paging, everyone: bool = False) -> Page[TokenOut]:
    """One's own tokens; with `everyone`, for admins, all."""
    if everyone and not is_admin(person):
        raise Forbidden("Only admins can list everybody's tokens: leave `everyone` away for your own.")
    tokens, next_cursor = repository.tokens_page(session, None if everyone else person.id, page)
    return Page(items=[TokenOut.model_validate(token) for token in tokens], next_cursor=next_cursor)


@router.post("/tokens", status_code=201, dependencies=[require_scope("admin")])
def create_token(person: LeadPerson, wanted: TokenIn, session: WriteSession) -> TokenMade:
    """Makes a token; its secret is in this answer and nowhere else."""
    token, secret = service.create_token(session, person, wanted)
    return TokenMade(**TokenOut.model_validate(token).model_dump(), token=secret)


@router.delete("/tokens/{token_id}", status_code=204, dependencies=[require_scope("admin")])
def revoke_token(person: LeadPerson, token_id: Id, session: WriteSession) -> Response:
    service.revoke_token(session, person, token_id)
    return Response(status_code=204)


# Sessions


@router.get("/sessions")
def list_sessions(request: Request, identity: CurrentIdentity, session: ReadSession) -> Page[SessionOut]:
    """One's own open sessions, the latest used first."""
    now = utcnow()
    limit = sessions.idle_limit(request.app.state.settings, now)
    rows = repository.sessions_of(session, identity.person.id, now, limit)
    items = [
        SessionOut.model_validate(row).model_copy(update={"current": row.id == identity.session_id}) for row in rows
    ]
    return Page(items=items, next_cursor=None)


@router.delete("/sessions/{session_id}", status_code=204)
def end_session(identity: CurrentIdentity, session_id: Id, session: WriteSession) -> Response:
    service.end_session(session, identity.person, session_id)
    return Response(status_code=204)


# Audit


@router.get("/audit")
def list_audit(
    _: AdminPerson, session: ReadSession, page: Paging, wanted: Annotated[AuditFilter, Query()]
) -> Page[AuditOut]:
    """Who did what, newest first; `action` is a prefix ("token." finds all about tokens), `person` an email."""
    entries, next_cursor = repository.audit_page(session, wanted, page)
    return Page(items=[AuditOut.model_validate(entry) for entry in entries], next_cursor=next_cursor)
