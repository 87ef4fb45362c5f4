"""HTML pages from Jinja2 templates."""

import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context, select_autoescape
from jinja2.runtime import Context
from markupsafe import Markup

from backend.kit.languages import choose, current, languages, part, speak, translated, words

TEMPLATES = Path(__file__).resolve().parents[2] / "frontend_templates"
STATIC = TEMPLATES / "static"


@cache
def _static_version(path: str, _modified: float) -> str:
    return hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:10]


def static_url(path: str) -> str:
    """The URL of a file under static/, with a version that changes with its content."""
    return f"/static/{path}?v={_static_version(path, (STATIC / path).stat().st_mtime)}"


def ago(moment: datetime | None) -> str:
    """How long ago, in words of the page's language: “just now”, “5 min ago”, “3 h ago”, else the date."""
    if moment is None:
        return words("time.never")
    seconds = (datetime.now(UTC) - moment).total_seconds()
    if seconds < 60:
        return words("time.now")
    if seconds < 3600:
        return words("time.minutes", count=int(seconds // 60))
    if seconds < 86_400:
        return words("time.hours", count=int(seconds // 3600))
    return moment.strftime("%Y-%m-%d")


@pass_context
def csrf_input(context: Context) -> Markup:
    """The hidden field that every posting form needs."""
    return Markup('<input type="hidden" name="csrf_token" value="{}">').format(context.get("csrf_token", ""))


def make_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["static"] = static_url
    environment.globals["csrf_input"] = csrf_input
    environment.globals["say"] = words
    environment.globals["words_of"] = part
    environment.globals["language"] = current
    environment.globals["languages"] = languages
    environment.filters["ago"] = ago
    environment.filters["translated"] = translated
    environment.filters["thousands"] = lambda number: f"{number:,}"
    return environment


ENVIRONMENT = make_environment()


def speak_to(request: Request) -> None:
    """Chooses the language of an answer: the person's own setting, else what their browser asks for."""
    wanted = getattr(getattr(request.state, "person", None), "locale", "")
    speak(choose(wanted, request.headers.get("accept-language", "")))


def render(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """The page of `template`; every page also knows `request`, `person` (or None) and `csrf_token`.

    Its language is that of the request, as `speak_to` finds it.
    """
    speak_to(request)
    base = {
        "request": request,
        "person": getattr(request.state, "person", None),
        "csrf_token": getattr(request.state, "csrf_token", ""),
    }
    return HTMLResponse(ENVIRONMENT.get_template(template).render(base | context), status_code=status)
