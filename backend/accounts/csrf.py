"""Synchroniser tokens against forged requests, bound to the cookie of the session (or of the visitor)."""

import hashlib
import hmac

from fastapi import Request

from backend.kit.errors import Forbidden

HEADER = "x-csrf-token"
FIELD = "csrf_token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


class ForgedRequest(Forbidden):
    code, title = "csrf_failed", "This form is out of date"


def token_for(cookie: str) -> str:
    """The token that belongs to a cookie: nobody can make it who cannot read the cookie."""
    return hmac.new(cookie.encode(), b"inpaintdpo csrf", hashlib.sha256).hexdigest()


def matches(token: str | None, cookie: str | None) -> bool:
    """Whether `token` is the one that belongs to `cookie`."""
    return bool(token and cookie and hmac.compare_digest(token.encode(), token_for(cookie).encode()))


async def check(request: Request, cookie: str | None) -> None:
    """Raises `ForgedRequest` unless an unsafe request carries the token of `cookie` in its header or form."""
    if request.headers.get("sec-fetch-site") == "cross-site":
        raise ForgedRequest("Another site sent this request. Open the page here and try again.")
    sent = request.headers.get(HEADER) or await _form_token(request)
    if not matches(sent, cookie):
        raise ForgedRequest(
            "The page was opened before you last logged in, or its form lacks the protection against forged requests. "
            "Load the page again and repeat the last step."
        )


async def _form_token(request: Request) -> str | None:
    if not request.headers.get("content-type", "").startswith(FORM_TYPES):
        return None
    # Starlette remembers the parsed form on the request, so that the route reads it again for free.
    value = (await request.form()).get(FIELD)
    return value if isinstance(value, str) else None
