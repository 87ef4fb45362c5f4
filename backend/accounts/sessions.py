"""Sessions of browsers and tokens of programs, from the secret a request carries to the row that proves it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from backend.accounts import repository
from backend.accounts.models import ApiToken, LoginSession, Person
from backend.accounts.tokens import fingerprint, new_secret
from backend.kit.database import Database, utcnow
from backend.settings import Settings

# However busy a browser stays, two weeks after the password was typed it is asked for again.
ABSOLUTE_LIFETIME = timedelta(days=14)
# Times of use are for people to read; a write on every request would buy nothing.
TOUCH_EVERY = timedelta(minutes=5)


def idle_limit(settings: Settings, now: datetime) -> datetime:
    """Sessions last seen before this are over."""
    return now - timedelta(hours=settings.login_session_hours)


def start_session(session: Session, person: Person, user_agent: str) -> str:
    """Stores a new session of `person` and returns its cookie value, which is known to nobody else."""
    secret = new_secret()
    now = utcnow()
    session.add(
        LoginSession(
            token_hash=fingerprint(secret),
            person_id=person.id,
            last_seen_at=now,
            expires_at=now + ABSOLUTE_LIFETIME,
            user_agent=user_agent[:300],
        )
    )
    session.flush()
    return secret


def authenticate_session(database: Database, cookie: str, settings: Settings) -> LoginSession | None:
    """The live session of a cookie; None when it is unknown, idle for too long, expired, or its person inactive."""
    now = utcnow()
    with database.looking_up() as session:
        found = session_of(session, cookie, settings)
        session.expunge_all()
    if found is not None and found.last_seen_at < now - TOUCH_EVERY:
        session_id = found.id
        _note_use(database, lambda session: repository.touch_session(session, session_id, now))
    return found


def session_of(session: Session, cookie: str, settings: Settings) -> LoginSession | None:
    """As `authenticate_session`, within the caller's transaction and without noting the time of use."""
    return repository.live_session(session, proof_of(cookie, utcnow(), settings))


def proof_of(cookie: str, now: datetime, settings: Settings) -> dict[str, Any]:
    """What `repository.LIVE` asks for."""
    return repository.proof(fingerprint(cookie), now, idle_limit(settings, now))


def authenticate_token(database: Database, secret: str) -> ApiToken | None:
    """The live API token of a secret; None when it is unknown, expired, revoked, or its person inactive."""
    now = utcnow()
    with database.looking_up() as session:
        found = repository.live_token(session, fingerprint(secret), now)
        session.expunge_all()
    if found is not None and (found.last_used_at is None or found.last_used_at < now - TOUCH_EVERY):
        token_id = found.id
        _note_use(database, lambda session: repository.touch_token(session, token_id, now))
    return found


def _note_use(database: Database, write: Callable[[Session], None]) -> None:
    try:
        with database.transaction() as session:
            write(session)
    except OperationalError:
        # A lock held for long must not turn a page into an error for the sake of a time stamp.
        return
