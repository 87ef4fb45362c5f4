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

TEMPLATES = Path(__file__).resolve().parents[2] / "frontend_templates"
STATIC = TEMPLATES / "static"


@cache
def _static_version(path: str, _modified: float) -> str:
    return hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:10]


def static_url(path: str) -> str:
    """The URL of a file under static/, with a version that changes with its content."""
    return f"/static/{path}?v={_static_version(path, (STATIC / path).stat().st_mtime)}"


def ago(moment: datetime | None) -> str:
    """How long ago, in words: “just now”, “5 min ago”, “3 h ago”, else the date."""
    if moment is None:
        return "never"
    seconds = (datetime.now(UTC) - moment).total_seconds()
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 86_400:
        return f"{int(seconds // 3600)} h ago"
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
    environment.filters["ago"] = ago
    environment.filters["thousands"] = lambda number: f"{number:,}"
    return environment


ENVIRONMENT = make_environment()


def render(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """The page of `template`; every page also knows `request`, `person` (or None) and `csrf_token`."""
    base = {
        "request": request,
        "person": getattr(request.state, "person", None),
        "csrf_token": getattr(request.state, "csrf_token", ""),
    }
    return HTMLResponse(ENVIRONMENT.get_template(template).render(base | context), status_code=status)
