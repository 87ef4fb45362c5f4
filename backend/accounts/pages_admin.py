"""Pages about people, invitations, tokens and the audit trail."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from backend.accounts import invitations, repository, service
from backend.accounts.access import MAY_INVITE, AdminPerson, LeadPerson, is_admin
from backend.accounts.models import AuditEntry, Person, Role
from backend.accounts.projects import projects_of
from backend.accounts.schemas import AuditFilter, InvitationIn, PeopleFilter, PersonChange, TokenIn
from backend.accounts.tokens import SCOPES
from backend.kit.database import Database, ReadSession, WriteSession, get_database
from backend.kit.errors import AppError, Invalid
from backend.kit.forms import SubmittedForm, field_errors, read_form
from backend.kit.ids import Id
from backend.kit.pages import render
from backend.kit.paging import Paging

router = APIRouter()
Db = Annotated[Database, Depends(get_database)]

ROLES = {
    Role.ANNOTATOR: "Judges in the projects they are invited to, and sees nothing else.",
    Role.LEAD: "Runs projects: conditions, generators, datasets, training.",
    Role.ADMIN: "Everything, people and settings included.",
}
LIFETIMES = [("30", "30 days"), ("90", "90 days"), ("365", "A year"), ("", "Until it is revoked")]
PEOPLE_NOTICES = {
    "changed": "The change is saved.",
    "password": "The password is set.",
    "invitation": "The invitation no longer works.",
    "token": "The token no longer works.",
}


def absolute(request: Request, path: str) -> str:
    """The address to hand out for a path of this service."""
    base = request.app.state.settings.public_url or str(request.base_url)
    return base.rstrip("/") + path


# People


@router.get("/people")
def people_page(request: Request, _: AdminPerson, session: ReadSession, page: Paging) -> Response:
    wanted, errors = read_form(PeopleFilter, request.query_params)
    people, next_cursor = repository.people_page(session, wanted or PeopleFilter(), page)
    return render(
        request,
        "accounts/people.html",
        people=people,
        next_cursor=next_cursor,
        wanted=request.query_params,
        errors=errors,
        roles=[(role.value, role.value.capitalize()) for role in Role],
    )


def _person_page(request: Request, who: Person, status: int = 200, **context: object) -> Response:
    given: dict[str, object] = {"link": None, "error": None, "notice": None} | context
    return render(request, "accounts/person.html", status=status, who=who, roles=ROLES, **given)


@router.get("/people/{person_id}")
def person_page(request: Request, _: AdminPerson, person_id: Id, session: ReadSession, saved: str = "") -> Response:
    who = service.get_person(session, person_id)
    return _person_page(request, who, notice=PEOPLE_NOTICES.get(saved))


@router.post("/people/{person_id}")
def change_person(request: Request, person: AdminPerson, person_id: Id, database: Db, form: SubmittedForm) -> Response:
    change, errors = read_form(PersonChange, form)
    try:
        if change is None:
            raise Invalid(" ".join(errors.values()))
        with database.transaction() as session:
            service.change_person(session, person, person_id, change)
    except AppError as error:
        with database.reading() as session:
            who = service.get_person(session, person_id)
            return _person_page(request, who, error.status, error=error.detail)
    return RedirectResponse(f"/people/{person_id}?saved=changed", status_code=303)


@router.post("/people/{person_id}/link")
def make_login_link(request: Request, person: AdminPerson, person_id: Id, session: WriteSession) -> Response:
    """For somebody who has forgotten their password: a link that logs them in once."""
    who = service.get_person(session, person_id)
    path = service.make_login_link(session, person, who)
    return _person_page(request, who, link=absolute(request, path))


# Invitations


def _invitations_page(
    request: Request, session: Any, person: Person, page: Any, status: int = 200, **context: object
) -> Response:
    found, next_cursor = repository.invitations_page(session, None if is_admin(person) else person.id, page)
    given: dict[str, object] = {"made": None, "values": {}, "errors": {}, "notice": None} | context
    choices = projects_of(request).choices(session, person)
    return render(
        request,
        "accounts/invitations.html",
        status=status,
        invitations=[(item, invitations.state(item)) for item in found],
        makers=repository.people_names(session, [item.created_by_id for item in found]),
        next_cursor=next_cursor,
        roles={role: ROLES[role] for role in MAY_INVITE[Role(person.role)]},
        projects=choices,
        project_names=dict(choices),
        **given,
    )


@router.get("/invitations")
def invitations_page(
    request: Request, person: LeadPerson, session: ReadSession, page: Paging, saved: str = ""
) -> Response:
    return _invitations_page(request, session, person, page, notice=PEOPLE_NOTICES.get(saved))


@router.post("/invitations")
def create_invitation(
    request: Request, person: LeadPerson, database: Db, page: Paging, form: SubmittedForm
) -> Response:
    wanted, errors = read_form(InvitationIn, form)
    link = None
    if wanted is not None:
        try:
            with database.transaction() as session:
                _, path = invitations.create_invitation(session, person, wanted, projects_of(request))
            link = absolute(request, path)
        except AppError as error:
            errors = field_errors(error)
    with database.reading() as session:
        return _invitations_page(
            request,
            session,
            person,
            page,
            422 if errors else 200,
            made=link,
            values=form if errors else {},
            errors=errors,
        )


@router.post("/invitations/{invitation_id}/revoke")
def revoke_invitation(person: LeadPerson, invitation_id: Id, session: WriteSession) -> Response:
    invitations.revoke_invitation(session, person, invitation_id)
    return RedirectResponse("/invitations?saved=invitation", status_code=303)


# Tokens


def _tokens_page(
    request: Request, session: Any, person: Person, page: Any, status: int = 200, **context: object
) -> Response:
    everyone = is_admin(person) and request.query_params.get("of") == "everyone"
    tokens, next_cursor = repository.tokens_page(session, None if everyone else person.id, page)
    given: dict[str, object] = {"made": None, "values": {}, "errors": {}, "chosen": ["read"], "notice": None} | context
    return render(
        request,
        "accounts/tokens.html",
        status=status,
        tokens=[(token, service.token_state(token)) for token in tokens],
        everyone=everyone,
        next_cursor=next_cursor,
        scopes={name: words for name, words in SCOPES.items() if name != "admin" or is_admin(person)},
        lifetimes=LIFETIMES,
        **given,
    )


@router.get("/tokens")
def tokens_page(request: Request, person: LeadPerson, session: ReadSession, page: Paging, saved: str = "") -> Response:
    return _tokens_page(request, session, person, page, notice=PEOPLE_NOTICES.get(saved))


@router.post("/tokens")
def create_token(request: Request, person: LeadPerson, database: Db, page: Paging, form: SubmittedForm) -> Response:
    values = {"name": form.get("name", ""), "scopes": form.getlist("scopes"), "days": form.get("days", "90")}
    wanted, errors = read_form(TokenIn, values)
    secret = None
    if wanted is not None:
        try:
            with database.transaction() as session:
                _, secret = service.create_token(session, person, wanted)
        except AppError as error:
            errors = field_errors(error)
    with database.reading() as session:
        return _tokens_page(
            request,
            session,
            person,
            page,
            422 if errors else 200,
            made=secret,
            values=values if errors else {},
            errors=errors,
            chosen=values["scopes"] if errors else ["read"],
        )


@router.post("/tokens/{token_id}/revoke")
def revoke_token(person: LeadPerson, token_id: Id, session: WriteSession) -> Response:
    service.revoke_token(session, person, token_id)
    return RedirectResponse("/tokens?saved=token", status_code=303)


# Audit


@router.get("/audit")
def audit_page(request: Request, _: AdminPerson, session: ReadSession, page: Paging) -> Response:
    wanted, errors = read_form(AuditFilter, request.query_params)
    entries, next_cursor = repository.audit_page(session, wanted or AuditFilter(), page)
    return render(
        request,
        "accounts/audit.html",
        entries=[(entry, _details(entry)) for entry in entries],
        next_cursor=next_cursor,
        wanted=request.query_params,
        object_types=[(kind, kind.replace("_", " ")) for kind in repository.audit_object_types(session)],
        errors=errors,
    )


def _details(entry: AuditEntry) -> list[tuple[str, str]]:
    """What is known of an entry besides, in words."""
    return [
        (key.replace("_", " "), ", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for key, value in entry.details.items()
    ]
