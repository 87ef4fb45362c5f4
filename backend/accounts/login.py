"""Logging in and out: what a browser sends, and the cookies it gets back."""

from datetime import timedelta

from fastapi import Request, Response
from sqlalchemy.orm import Session

from backend.accounts import csrf, passwords, repository, sessions
from backend.accounts.access import session_cookie, visitor_cookie
from backend.accounts.models import Person
from backend.accounts.service import audit
from backend.accounts.throttle import Throttle
from backend.accounts.tokens import fingerprint, new_secret
from backend.kit.database import Database, utcnow
from backend.kit.errors import Invalid
from backend.settings import Settings

throttle = Throttle()
WRONG = "The email or the password is wrong. Check both; capital letters matter in the password."


def check_password(database: Database, address: str, email: str, password: str) -> Person:
    """The person who proves to be that by their password.

    The slow hash is reckoned outside any transaction, and for unknown people too. Raises Invalid when it does not fit
    and TooMany after many failures.
    """
    throttle.check(address, email)
    with database.reading() as session:
        person = repository.person_by_email(session, email.strip())
        session.expunge_all()
    fits = passwords.verify(person.password_hash if person else None, password[: passwords.MAX_LENGTH + 1])
    if person is None or not fits or not person.is_active:
        throttle.failed(address, email)
        with database.transaction() as session:
            # What was typed as an email may be somebody's password: only the person it belongs to is recorded.
            audit(session, None, "login.failed", "person", person.id if person else "")
        raise Invalid(WRONG, errors=[{"field": "", "message": WRONG}])
    throttle.succeeded(address, email)
    return person


def renew_hash(session: Session, person: Person, password: str) -> None:
    """Hashes the password anew when the parameters have changed since it was stored."""
    if person.password_hash and passwords.needs_rehash(person.password_hash):
        repository.set_password_hash(session, person.id, person.password_hash, passwords.hash_password(password))


def open_session(session: Session, request: Request, person: Person) -> str:
    """A new session for this browser in place of any it had; the cookie's value."""
    settings: Settings = request.app.state.settings
    old = request.cookies.get(session_cookie(settings))
    if old:
        repository.delete_session_by_hash(session, fingerprint(old))
    now = utcnow()
    repository.delete_dead_sessions(session, now, sessions.idle_limit(settings, now))
    return sessions.start_session(session, person, request.headers.get("user-agent", ""))


def set_session_cookie(request: Request, response: Response, value: str) -> None:
    settings: Settings = request.app.state.settings
    _set(request, response, session_cookie(settings), value, sessions.ABSOLUTE_LIFETIME)
    _clear(request, response, visitor_cookie(settings))


def clear_cookies(request: Request, response: Response) -> None:
    settings: Settings = request.app.state.settings
    _clear(request, response, session_cookie(settings))
    _clear(request, response, visitor_cookie(settings))


def _clear(request: Request, response: Response, name: str) -> None:
    secure = request.app.state.settings.secure_cookies
    response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="lax")


def new_visitor(request: Request) -> str | None:
    """A cookie value for somebody who is not logged in and has none yet; also puts its CSRF token on the request."""
    settings: Settings = request.app.state.settings
    if request.state.person is not None or request.cookies.get(visitor_cookie(settings)):
        return None
    value = new_secret()
    request.state.csrf_token = csrf.token_for(value)
    return value


def set_visitor_cookie(request: Request, response: Response, value: str | None) -> None:
    if value is not None:
        _set(request, response, visitor_cookie(request.app.state.settings), value)


def _set(request: Request, response: Response, name: str, value: str, lifetime: timedelta | None = None) -> None:
    secure = request.app.state.settings.secure_cookies
    max_age = int(lifetime.total_seconds()) if lifetime else None
    response.set_cookie(name, value, max_age=max_age, httponly=True, secure=secure, samesite="lax", path="/")


def safe_next(target: str) -> str:
    """A path of this service to go on to; home for anything else, so that no link can lead elsewhere through us."""
    plain = target.startswith("/") and not target.startswith(("//", "/\\"))
    if not plain or any(ord(sign) < 32 for sign in target) or "\\" in target:
        return "/"
    return target if target.split("?")[0] not in {"/login", "/logout"} else "/"
