"""No body larger than its address may take is read, whoever sends it."""

import re

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.kit.errors import TooLarge
from backend.kit.web import respond_with_problem


class BodyLimit:
    """Refuses bodies of more than `limit` bytes, or `large_limit` where the whole path matches `large`, with status
    413.

    Forms are read before a route can say who may send them, so the limit stands in front of every route. An announced
    length is refused unread, an unannounced one as soon as it is too long.
    """

    def __init__(self, app: ASGIApp, *, limit: int, large: str, large_limit: int) -> None:
        self.app = app
        self.limit = limit
        self.large = re.compile(large)
        self.large_limit = large_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.large_limit if self.large.fullmatch(scope["path"]) else self.limit
        error = TooLarge(f"This address takes at most {limit >> 20} MB at once: send less, or in several parts.")
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > limit:
            await respond_with_problem(Request(scope), error.problem())(scope, receive, send)
            return
        seen = 0

        async def receive_counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise error
            return message

        await self.app(scope, receive_counted, send)
