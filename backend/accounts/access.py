"""Who is asking, and whether they may: the guard of every route and the dependencies that routes name.

`guard` runs before every route of the app. It finds the person (session cookie or bearer token), refuses anonymous
requests to all that is not marked `public`, refuses unsafe requests under a cookie without their CSRF token, and
refuses tokens that lack the scope of the route. A new route is protected without doing anything.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import Dependant

from backend.accounts import csrf, sessions
from backend.accounts.models import Person, Role
from backend.accounts.tokens import SCOPES
from backend.kit.database import Database, get_database
from backend.kit.errors import Forbidden, Unauthenticated
from backend.settings import Settings

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

# Probes of the machine, which know no people.
PUBLIC_PATHS = frozenset({"/healthz", "/readyz"})
RANK = {Role.ANNOTATOR: 0, Role.LEAD: 1, Role.ADMIN: 2}
MAY_INVITE = {Role.ANNOTATOR: (), Role.LEAD: (Role.ANNOTATOR,), Role.ADMIN: tuple(Role)}
# A comparison's images arrive within this after it was claimed; whoever logs out meanwhile has seen them already.
TRUST_SECONDS = 2.0
MOST_REMEMBERED = 10_000
client_address: ContextVar[str] = ContextVar("client_address", default="")


class WrongCredentials(Unauthenticated):
    code = "wrong_token"


@dataclass(frozen=True)
class Identity:
    """A proven person; `scopes` is None under a cookie session, which may do all that its person may."""

    person: Person
    session_id: int | None = None
    scopes: frozenset[str] | None = None

    def allows(self, scope: str) -> bool:
        return self.scopes is None or scope in self.scopes or "admin" in self.scopes


def public(endpoint: Endpoint) -> Endpoint:
    """Marks a route that anonymous people may reach; it is still checked for CSRF."""
    endpoint.is_public = True  # type: ignore[attr-defined]  # functions carry attributes
    return endpoint


def session_cookie(settings: Settings) -> str:
    """The cookie of a login session; the prefix makes browsers insist on Secure, no Domain and Path=/."""
    return "__Host-inpaintdpo" if settings.secure_cookies else "inpaintdpo"


def visitor_cookie(settings: Settings) -> str:
    """The cookie that anonymous forms (login, invitation) bind their CSRF token to."""
    return session_cookie(settings) + "_visitor"


def trusts_recent(endpoint: Endpoint) -> Endpoint:
    """Marks a route that only shows what a page has just been given, and is asked for many times a second: a session
    proven within the last TRUST_SECONDS is not looked up again for it."""
    endpoint.trusts_recent = True  # type: ignore[attr-defined]  # functions carry attributes
    return endpoint


class RecentSessions:
    """Which cookies were proven a moment ago in this process, and whose they are."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Identity]] = {}

    def remember(self, cookie: str, identity: Identity) -> None:
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[cookie] = (time.monotonic(), identity)

    def find(self, cookie: str) -> Identity | None:
        found = self._known.get(cookie)
        return found[1] if found and time.monotonic() - found[0] < TRUST_SECONDS else None


async def identify(request: Request, database: Annotated[Database, Depends(get_database)]) -> Identity | None:
    """The identity a request proves, or None; a bearer token that is wrong is an error, an old cookie is not."""
    recent: RecentSessions = request.app.state.recent_sessions
    cookie = request.cookies.get(session_cookie(request.app.state.settings))
    if cookie and "authorization" not in request.headers:
        endpoint = request.scope.get("endpoint")
        if getattr(endpoint, "trusts_recent", False) and (known := recent.find(cookie)):
            return known
    identity = await run_in_threadpool(_look_up, request, database)
    if cookie and identity and identity.session_id is not None:
        recent.remember(cookie, identity)
    return identity


def _look_up(request: Request, database: Database) -> Identity | None:
    settings: Settings = request.app.state.settings
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        token = sessions.authenticate_token(database, secret.strip())
        if token is None:
            raise WrongCredentials("The bearer token is unknown, expired or revoked. Make a new one under Tokens.")
        return Identity(token.person, scopes=frozenset(token.scopes))
    cookie = request.cookies.get(session_cookie(settings))
    session = sessions.authenticate_session(database, cookie, settings) if cookie else None
    return Identity(session.person, session_id=session.id) if session else None


async def guard(request: Request, identity: Annotated[Identity | None, Depends(identify)]) -> None:
    """See the module: installed once, as a dependency of the whole app."""
    settings: Settings = request.app.state.settings
    client_address.set(request.client.host if request.client else "")
    endpoint = request.scope.get("endpoint")
    is_public = getattr(endpoint, "is_public", False) or request.url.path in PUBLIC_PATHS
    by_token = identity is not None and identity.scopes is not None
    cookie = request.cookies.get(session_cookie(settings) if identity else visitor_cookie(settings))
    request.state.identity = identity
    request.state.person = identity.person if identity else None
    request.state.csrf_token = csrf.token_for(cookie) if cookie and not by_token else ""
    if identity is None and not is_public:
        raise Unauthenticated("Log in, or send an API token as `Authorization: Bearer …`.")
    if request.method not in csrf.SAFE_METHODS and not by_token:
        await csrf.check(request, cookie)
    if identity is not None and by_token:
        _check_scope(request, identity)


def _check_scope(request: Request, identity: Identity) -> None:
    route = request.scope.get("route")
    scope = _scope_of(getattr(route, "dependant", None))
    if scope is None:
        scope = "read" if request.method in csrf.SAFE_METHODS else "admin"
    if not identity.allows(scope):
        raise Forbidden(f"This token lacks the scope “{scope}”. Make one that has it under Tokens.", scope=scope)


def _scope_of(dependant: Dependant | None) -> str | None:
    """The scope that a route's dependencies ask for, at any depth."""
    for part in dependant.dependencies if dependant else ():
        scope = getattr(part.call, "scope", None) or _scope_of(part)
        if scope:
            return scope
    return None


async def current_identity(request: Request) -> Identity:
    identity: Identity | None = getattr(request.state, "identity", None)
    if identity is None:
        raise Unauthenticated("Log in, or send an API token as `Authorization: Bearer …`.")
    return identity


CurrentIdentity = Annotated[Identity, Depends(current_identity)]


async def current_person(identity: CurrentIdentity) -> Person:
    """The person asking; a detached row, to be read but not changed."""
    return identity.person


def _at_least(role: Role) -> Callable[[Person], Person]:
    async def person_with_role(person: Annotated[Person, Depends(current_person)]) -> Person:
        if RANK[Role(person.role)] < RANK[role]:
            who = "leads and admins" if role is Role.LEAD else "admins"
            raise Forbidden(f"This is for {who}. Ask one of them if you need it.")
        return person

    return person_with_role


CurrentPerson = Annotated[Person, Depends(current_person)]
LeadPerson = Annotated[Person, Depends(_at_least(Role.LEAD))]
AdminPerson = Annotated[Person, Depends(_at_least(Role.ADMIN))]


def is_lead(person: Person) -> bool:
    return RANK[Role(person.role)] >= RANK[Role.LEAD]


def is_admin(person: Person) -> bool:
    return Role(person.role) is Role.ADMIN


def require_scope(scope: str) -> Any:
    """A dependency that lets API tokens with `scope` reach a route: ``dependencies=[require_scope("train")]``.

    Without one, a token needs `read` for GET and `admin` for everything else. Cookie sessions are not asked. It counts
    on the route itself; one on a router is not seen, so that its routes stay closed to all but `admin`.
    """
    if scope not in SCOPES:
        raise ValueError(f"Unknown scope {scope!r}; known are {', '.join(SCOPES)}.")

    async def scope_is_checked_by_the_guard() -> None:
        return None

    scope_is_checked_by_the_guard.scope = scope  # type: ignore[attr-defined]  # read by `_scope_of`
    return Depends(scope_is_checked_by_the_guard)
