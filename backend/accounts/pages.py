"""Pages that let people in, and those of their own account."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from backend.accounts import invitations, login, pages_admin, passwords, repository, service, sessions
from backend.accounts.access import CurrentIdentity, public
from backend.accounts.projects import projects_of
from backend.accounts.schemas import AccountChange, Joining
from backend.accounts.user_agents import browser_name
from backend.kit.database import Database, ReadSession, WriteSession, get_database, utcnow
from backend.kit.errors import AppError, Invalid, TooMany
from backend.kit.forms import SubmittedForm, field_errors, read_form
from backend.kit.ids import Id
from backend.kit.languages import words
from backend.kit.pages import render, speak_to

router = APIRouter()
router.include_router(pages_admin.router)
Db = Annotated[Database, Depends(get_database)]

NOTICES = ("account", "password", "session", "sessions")


def see(path: str) -> RedirectResponse:
    return RedirectResponse(path, status_code=303)


def _welcoming(request: Request, template: str, status: int = 200, **context: object) -> HTMLResponse:
    """A page with a form for somebody who may not be logged in: it brings the cookie its CSRF token belongs to."""
    visitor = login.new_visitor(request)
    response = render(request, template, status=status, **context)
    login.set_visitor_cookie(request, response, visitor)
    return response


@router.get("/login")
@public
def login_page(request: Request, next: str = "/") -> Response:
    if request.state.person is not None:
        return see(login.safe_next(next))
    return _welcoming(request, "accounts/login.html", values={"next": login.safe_next(next)}, errors={})


@router.post("/login")
@public
def log_in(request: Request, database: Db, form: SubmittedForm) -> Response:
    email, password = str(form.get("email", "")), str(form.get("password", ""))
    target = login.safe_next(str(form.get("next", "/")))
    address = request.client.host if request.client else ""
    try:
        person = login.check_password(database, address, email, password)
    except (Invalid, TooMany) as error:
        values = {"email": email, "next": target}
        return _welcoming(request, "accounts/login.html", error.status, values=values, errors={"": error.detail})
    with database.transaction() as session:
        login.renew_hash(session, person, password)
        cookie = login.open_session(session, request, person)
        service.audit(session, person, "login.password", "person", person.id)
    response = see(target)
    login.set_session_cookie(request, response, cookie)
    return response


@router.post("/logout")
@public
def log_out(request: Request, session: WriteSession) -> Response:
    identity = request.state.identity
    if identity is not None and identity.session_id is not None:
        repository.delete_session(session, identity.person.id, identity.session_id)
        service.audit(session, identity.person, "logout", "person", identity.person.id)
    response = see("/login")
    login.clear_cookies(request, response)
    return response


@router.get("/login/link/{secret}")
@public
def login_link_page(request: Request, secret: str, session: ReadSession) -> Response:
    """Shows a button only: programs that open links to preview them must not use the link up."""
    person = service.person_of_link(session, secret)
    return _welcoming(request, "accounts/login_link.html", invited=person, secret=secret)


@router.post("/login/link/{secret}")
@public
def use_login_link(request: Request, secret: str, session: WriteSession) -> Response:
    person = service.use_login_link(session, secret)
    cookie = login.open_session(session, request, person)
    response = see("/")
    login.set_session_cookie(request, response, cookie)
    return response


@router.get("/invite/{secret}")
@public
def invitation_page(request: Request, secret: str, session: ReadSession) -> Response:
    invitation = invitations.open_invitation(session, secret)
    return _welcoming(request, "accounts/invite.html", invitation=invitation, values={}, errors={}, secret=secret)


@router.post("/invite/{secret}")
@public
def accept_invitation(request: Request, secret: str, database: Db, form: SubmittedForm) -> Response:
    projects = projects_of(request)
    if request.state.person is not None:
        with database.transaction() as session:
            return see(invitations.join(session, secret, request.state.person, projects))
    joining, errors = read_form(Joining, form)
    if joining is not None:
        try:
            with database.transaction() as session:
                person, path = invitations.accept(session, secret, joining, projects)
                cookie = login.open_session(session, request, person)
            response = see(path)
            login.set_session_cookie(request, response, cookie)
            return response
        except Invalid as error:
            errors = field_errors(error)
    with database.reading() as session:
        invitation = invitations.open_invitation(session, secret)
        return _welcoming(
            request, "accounts/invite.html", 422, invitation=invitation, values=form, errors=errors, secret=secret
        )


# One's own account


def _account(
    request: Request,
    database: Database,
    status: int = 200,
    *,
    notice: str = "",
    values: object = None,
    errors: dict[str, str] | None = None,
    password_errors: dict[str, str] | None = None,
) -> HTMLResponse:
    identity = request.state.identity
    now = utcnow()
    speak_to(request)
    with database.reading() as session:
        open_sessions = repository.sessions_of(
            session, identity.person.id, now, sessions.idle_limit(request.app.state.settings, now)
        )
        return render(
            request,
            "accounts/account.html",
            status=status,
            sessions=[(row, browser_name(row.user_agent)) for row in open_sessions],
            current=identity.session_id,
            notice=words(f"account.saved_{notice}") if notice in NOTICES else "",
            values=values or {name: getattr(identity.person, name) for name in ("name", "email", "locale")},
            errors=errors or {},
            password_errors=password_errors or {},
            min_length=passwords.MIN_LENGTH,
        )


@router.get("/account")
def account_page(request: Request, _: CurrentIdentity, database: Db, saved: str = "") -> Response:
    return _account(request, database, notice=saved)


@router.post("/account")
def change_account(request: Request, identity: CurrentIdentity, database: Db, form: SubmittedForm) -> Response:
    change, errors = read_form(AccountChange, form)
    if change is not None:
        try:
            with database.transaction() as session:
                service.change_account(session, identity.person.id, change)
            return see("/account?saved=account")
        except Invalid as error:
            errors = field_errors(error)
    return _account(request, database, 422, values=form, errors=errors)


@router.post("/account/password")
def change_password(request: Request, identity: CurrentIdentity, database: Db, form: SubmittedForm) -> Response:
    person = identity.person
    address = request.client.host if request.client else ""
    try:
        if person.password_hash is not None:
            _check_current(database, address, person.email, str(form.get("current", "")))
        if form.get("password") != form.get("again"):
            sentence = "The two do not match. Type the new password twice."
            raise Invalid(sentence, errors=[{"field": "again", "message": sentence}])
        with database.transaction() as session:
            service.set_password(session, person, person.id, str(form.get("password", "")), keep=None)
            cookie = login.open_session(session, request, person)
    except (Invalid, TooMany) as error:
        errors = field_errors(error) if isinstance(error, Invalid) else {"current": error.detail}
        return _account(request, database, error.status, password_errors=errors)
    response = see("/account?saved=password")
    login.set_session_cookie(request, response, cookie)
    return response


def _check_current(database: Database, address: str, email: str, password: str) -> None:
    try:
        login.check_password(database, address, email, password)
    except Invalid:
        sentence = "This is not your present password."
        raise Invalid(sentence, errors=[{"field": "current", "message": sentence}]) from None


@router.post("/account/sessions/{session_id}/end")
def end_session(identity: CurrentIdentity, session_id: Id, session: WriteSession) -> Response:
    try:
        service.end_session(session, identity.person, session_id)
    except AppError:
        return see("/account")
    return see("/account?saved=session")


@router.post("/account/sessions/end-others")
def end_other_sessions(identity: CurrentIdentity, session: WriteSession) -> Response:
    repository.delete_sessions_of(session, identity.person.id, keep=identity.session_id)
    service.audit(session, identity.person, "session.end_others", "person", identity.person.id)
    return see("/account?saved=sessions")
