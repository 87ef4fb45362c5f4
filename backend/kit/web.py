"""What every response of the service shares: security headers, problem documents, error pages."""

import uuid
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.kit.errors import AppError, Invalid, Unauthenticated
from backend.kit.languages import translated
from backend.kit.pages import render, speak_to

log = structlog.get_logger()

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class ResponseHeaders:
    """Adds the security headers and a request id to every response; pages are never cached unless they say so."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self.app = app
        headers = SECURITY_HEADERS | ({"strict-transport-security": "max-age=31536000"} if https else {})
        self.headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex[:16]
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                added = [pair for pair in self.headers if pair[0] not in present]
                if b"cache-control" not in present:
                    added.append((b"cache-control", b"no-store"))
                message["headers"] = [*message["headers"], *added, (b"x-request-id", request_id.encode())]
            await send(message)

        await self.app(scope, receive, send_with_headers)


def wants_page(request: Request) -> bool:
    """Whether the client is a browser asking for a page rather than a program asking the API."""
    return not request.url.path.startswith("/api/") and "text/html" in request.headers.get("accept", "")


def _translated_error(error: dict[str, Any]) -> dict[str, Any]:
    return error | {"message": translated(error["message"])} if "message" in error else error


def respond_with_problem(request: Request, problem: dict[str, Any]) -> Response:
    """The problem as a page for people, as a problem document for programs; both in the same words and language."""
    speak_to(request)
    problem = problem | {name: translated(problem[name]) for name in ("title", "detail")}
    if "errors" in problem:
        problem["errors"] = [_translated_error(each) for each in problem["errors"]]
    if wants_page(request):
        return render(request, "error.html", status=problem["status"], problem=problem)
    return JSONResponse(problem, status_code=problem["status"], media_type="application/problem+json")


async def _app_error(request: Request, error: AppError) -> Response:
    if isinstance(error, Unauthenticated) and wants_page(request) and request.method == "GET":
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?{urlencode({'next': target})}", status_code=303)
    return respond_with_problem(request, error.problem())


def _field(location: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in location if part not in {"body", "query", "path", "header"})


async def _validation_error(request: Request, error: RequestValidationError) -> Response:
    errors = [
        {
            "field": ".".join(str(part) for part in item["loc"] if part not in {"body", "query", "path"}),
            "message": item["msg"],
        }
        for item in error.errors()
    ]
    fields = "; ".join(f"{item['field'] or 'body'}: {item['message']}" for item in errors)
    return respond_with_problem(request, Invalid(f"Please correct: {fields}.", errors=errors).problem())


async def _http_error(request: Request, error: HTTPException) -> Response:
    title = HTTPStatus(error.status_code).phrase
    detail = error.detail if error.detail != title else f"There is nothing at {request.url.path}."
    code = title.lower().replace(" ", "_")
    problem = {
        "type": f"urn:inpaintdpo:problem:{code}",
        "title": title,
        "status": error.status_code,
        "detail": detail,
        "code": code,
    }
    response = respond_with_problem(request, problem)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


async def _unexpected_error(request: Request, error: Exception) -> Response:
    request_id = request.scope.get("state", {}).get("request_id", "")
    log.exception("unexpected error", path=request.url.path, exc_info=error)
    problem = {
        "type": "urn:inpaintdpo:problem:internal_error",
        "title": "Something went wrong on our side",
        "status": 500,
        "detail": f"Go back and try again; if it happens again, tell an admin this number: {request_id}.",
        "code": "internal_error",
        "request_id": request_id,
    }
    return respond_with_problem(request, problem)


class CatchUnexpected:
    """Turns an unforeseen exception into the problem answer inside the header middleware, without re-raising it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception as error:
            if scope["type"] != "http" or started:
                raise
            request = Request(scope, receive)
            await (await _unexpected_error(request, error))(scope, receive, send)


def install_web(app: FastAPI, *, https: bool) -> None:
    """Installs the middleware and error handlers on `app`."""
    handlers: dict[Any, Callable[..., Awaitable[Response]]] = {
        AppError: _app_error,
        RequestValidationError: _validation_error,
        HTTPException: _http_error,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    app.add_middleware(CatchUnexpected)
    app.add_middleware(ResponseHeaders, https=https)
