"""The REST interface described for people and for programs."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from backend.accounts.access import LeadPerson
from backend.kit.pages import render

router = APIRouter()


@router.get("/api/v1/openapi.json")
def openapi_document(request: Request, _: LeadPerson) -> dict[str, Any]:
    """The OpenAPI document, for programs that make clients of it."""
    return request.app.openapi()


@router.get("/reference")
def reference_page(request: Request, _: LeadPerson) -> HTMLResponse:
    """What can be asked of /api/v1, by room."""
    rooms: dict[str, list[dict[str, Any]]] = {}
    for path, methods in request.app.openapi()["paths"].items():
        for method, operation in methods.items():
            names = [parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"]
            entry = {
                "method": method.upper(),
                "path": path,
                "words": operation.get("description") or operation.get("summary", ""),
                "parameters": names,
            }
            rooms.setdefault((operation.get("tags") or ["other"])[0], []).append(entry)
    return render(request, "overview/reference.html", rooms=rooms)
