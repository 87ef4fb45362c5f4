"""The judge screen as a page: for real work and for rounds of lessons alike."""

from fastapi import Request
from fastapi.responses import HTMLResponse

from backend.catalogue.models import Project
from backend.judging.guidelines import render_guidelines
from backend.judging.leases import judging_settings
from backend.kit.pages import render, speak_to

# The settings that the screen works by; the others are none of an annotator's business.
SCREEN_RULES = (
    "reasons",
    "send_when_complete",
    "allow_incomplete",
    "best_worst",
    "ask_strength",
    "mark_regions",
    "reveal_after_vote",
    "break_minutes",
)


def judge_screen(request: Request, project: Project, *, assignment: int | None = None, round: str = "") -> HTMLResponse:
    """The screen; with `assignment` an answer of one's own to change; `round` is "", "practice" or "test"."""
    speak_to(request)
    settings = judging_settings(project)
    return render(
        request,
        "judging/judge.html",
        project=project,
        guidelines=render_guidelines(project.guidelines),
        rules={name: settings[name] for name in SCREEN_RULES},
        lease_seconds=request.app.state.settings.assignment_lease_seconds,
        assignment=assignment,
        round=round,
    )
