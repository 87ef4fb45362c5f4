"""The short way of an answer: one step in one thread and one transaction, in front of the routes.

An annotator's every turn is one of these. It does what the route does, by the same rules and in the same words. A
request that is not plainly right before anything is written goes the long way, which says what is wrong.
"""

import random
import re

from anyio.to_thread import run_sync
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.accounts import csrf, sessions
from backend.accounts.access import Identity, RecentSessions, session_cookie
from backend.judging import answering, repository_turns, turns, views
from backend.judging.answering import Answered
from backend.judging.schemas import AnswerAndNextIn
from backend.judging.shortcut import cookie_of
from backend.judging.tickets import Tickets
from backend.kit.database import Database, utcnow
from backend.kit.errors import AppError
from backend.kit.web import respond_with_problem
from backend.settings import Settings

_PATH = re.compile(r"/api/v1/assignments/(\d{1,18})/judgment")
LARGEST_BODY = 64 << 10


class AnswerShortcut:
    """Takes an answer from a browser whose session, CSRF token, key and body are all in order."""

    def __init__(
        self, app: ASGIApp, *, settings: Settings, database: Database, recent: RecentSessions, tickets: Tickets
    ) -> None:
        self.app = app
        self.settings, self.database, self.recent, self.tickets = settings, database, recent, tickets
        self.cookie = session_cookie(settings).encode() + b"="

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        cookie = cookie_of(scope, self.cookie) if match else None
        key = _key_of_own_request(scope, cookie) if cookie else None
        if match is None or cookie is None or key is None:
            await self.app(scope, receive, send)
            return
        body = await _read(receive)
        try:
            given = AnswerAndNextIn.model_validate_json(body)
            async with self.database.turns():
                response = await run_sync(self._respond, scope, cookie, int(match[1]), key, given)
        except ValidationError:
            response = None
        if response is None:
            await self.app(scope, _again(body, receive), send)
        else:
            await response(scope, receive, send)

    def _respond(
        self, scope: Scope, cookie: str, assignment_id: int, key: str, given: AnswerAndNextIn
    ) -> Response | None:
        """The response, or None for who is not logged in."""
        try:
            answered = self._answer(scope, cookie, assignment_id, key, given)
        except AppError as error:
            return respond_with_problem(Request(scope), error.problem())
        if answered is None:
            return None
        status = 201 if answered.is_new else 200
        return Response(
            answered.out.__pydantic_serializer__.to_json(answered.out), status, media_type="application/json"
        )

    def _answer(
        self, scope: Scope, cookie: str, assignment_id: int, key: str, given: AnswerAndNextIn
    ) -> Answered | None:
        seed = random.getrandbits(64)
        if not self.database.is_sqlite:
            answered = self._take_turn(scope, cookie, assignment_id, key, given, random.Random(seed))
            if answered is not None:
                return answered
        with self.database.transaction() as session:
            found = sessions.session_of(session, cookie, self.settings)
            if found is None or found.last_seen_at < utcnow() - sessions.TOUCH_EVERY:
                # The long way also notes when a session was used.
                return None
            identity = Identity(found.person, session_id=found.id)
            scope.setdefault("state", {})["person"] = identity.person
            answered = answering.answer(
                session,
                identity.person,
                assignment_id,
                key,
                given,
                lease_seconds=self.settings.assignment_lease_seconds,
                tickets=self.tickets,
                # The same dice again: what they said of known answers stands.
                chance=random.Random(seed),
            )
        self.recent.remember(cookie, identity)
        return answered

    def _take_turn(
        self, scope: Scope, cookie: str, assignment_id: int, key: str, given: AnswerAndNextIn, chance: random.Random
    ) -> Answered | None:
        """The answer in two statements, or None, with nothing written, where it takes more."""
        now = utcnow()
        with self.database.single_statements() as session:
            look = repository_turns.look(session, assignment_id, sessions.proof_of(cookie, now, self.settings))
            if look is None or look.last_seen_at < now - sessions.TOUCH_EVERY:
                return None
            identity = Identity(look.person, session_id=look.session_id)
            scope.setdefault("state", {})["person"] = identity.person
            seconds = self.settings.assignment_lease_seconds
            turn = turns.take(session, look, key, given, lease_seconds=seconds, now=now, chance=chance)
        if turn is None:
            return None
        self.recent.remember(cookie, identity)
        return Answered(views.turn_out(turn, look.person.id, self.tickets), is_new=True)


def _key_of_own_request(scope: Scope, cookie: str) -> str | None:
    """The idempotency key of a request that this service's page has sent, if all is as it should be."""
    headers = dict(scope["headers"])
    key = headers.get(b"idempotency-key", b"").decode("latin-1")
    length = headers.get(b"content-length", b"")
    token = headers.get(csrf.HEADER.encode(), b"").decode("latin-1")
    is_ours = headers.get(b"sec-fetch-site") != b"cross-site" and csrf.matches(token, cookie)
    is_json = headers.get(b"content-type", b"").startswith(b"application/json")
    fits = length.isdigit() and int(length) <= LARGEST_BODY
    return key if is_ours and is_json and fits and 8 <= len(key) <= 64 else None


async def _read(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` for who comes after, beginning with the body that was read."""
    unread = [body]

    async def from_the_start() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await receive()

    return from_the_start
