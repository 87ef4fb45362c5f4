"""The page of a run in a real browser: curves and progress follow the event stream, without a script it still shows."""

import re
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database, utcnow
from backend.training import service
from backend.training import tasks as tasks  # declares the handler
from backend.training.charts import Chart, bounds
from backend.training.models import Run, RunEvent
from tests.backend.training.conftest import World, make_world
from tests.browser.conftest import LogIn

pytestmark = pytest.mark.browser


@pytest.fixture
def world(database: Database, blobs: LocalBlobs, tmp_path: Path) -> World:
    return make_world(database, blobs, tmp_path / "frozen")


@pytest.fixture
def run_url(database: Database, world: World) -> str:
    """The page of a waiting run that has told of two steps."""
    from backend.training import repository
    from backend.training.schemas import RunIn

    with database.transaction() as session:
        project = repository.project(session, world.project_id)
        request = RunIn(snapshot_id=world.snapshot_id, recipe="spatialworld_smoke")
        run_id = service.start_run(session, world.lead, project, request).id
    tell(database, run_id, 0, 1, 0.5)
    tell(database, run_id, 1, 2, 0.25)
    return f"/projects/{world.slug}/runs/{run_id}"


def tell(database: Database, run_id: int, seq: int, step: int, value: float, kind: str = "metrics") -> None:
    """What the worker writes when the trainer reports."""
    with database.transaction() as session:
        body = {"values": {"loss": value, "d_win": -value, "d_lose": value}} if kind == "metrics" else {}
        session.add(RunEvent(run_id=run_id, seq=seq, kind=kind, step=step, time=utcnow(), body=body))
        session.get_one(Run, run_id).step = step


def points(page: Page, chart: str) -> int:
    """How many points the first curve of a chart has."""
    line = page.locator(f'[data-chart="{chart}"] polyline').first
    return len((line.get_attribute("points") or "").split())


def test_curves_follow_the_stream(run_url: str, world: World, database: Database, logged_in: LogIn) -> None:
    page = logged_in(world.lead).new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(run_url)
    steps = page.locator("#standing-steps")
    expect(steps).to_have_text("Step 2 of 6")
    expect(page.locator('[data-chart="drift"] .chart-area')).to_be_visible()
    assert points(page, "drift") == 2
    run_id = int(run_url.rpartition("/")[2])
    tell(database, run_id, 2, 3, 0.75)
    expect(steps).to_have_text("Step 3 of 6")
    expect(page.locator('[data-chart="drift"] .legend b').first).to_have_text("−0.75")
    assert points(page, "drift") == 3
    tell(database, run_id, 3, 2, 0.0, kind="resumed")
    tell(database, run_id, 4, 3, 0.125)
    expect(page.locator('[data-chart="drift"] .legend b').first).to_have_text("−0.125")
    assert points(page, "drift") == 3

    area = page.locator('[data-chart="drift"] .chart-area')
    area.focus()
    page.keyboard.press("Home")
    expect(page.locator('[data-chart="drift"] .legend b').first).to_have_text("−0.5")
    expect(area).to_have_attribute("aria-label", "D_w and D_l: error against the reference at step 1: "
                                   "D_w, winners −0.5, D_l, losers 0.5")  # fmt: skip

    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#standing-words")).to_have_text("Stopped on request")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert problems == []


def test_the_stream_begins_again_after_a_proxys_502(
    run_url: str, world: World, database: Database, logged_in: LogIn
) -> None:
    page = logged_in(world.lead).new_page()
    asked: list[str] = []

    def fail_once(route: Route) -> None:
        name = urlsplit(route.request.url).path.rpartition("/")[2]
        asked.append(name)
        if asked.count(name) == 1:
            route.fulfill(status=502, content_type="text/html", body="<h1>Bad gateway</h1>")
        else:
            route.continue_()

    page.route(re.compile(r"/api/v1/runs/\d+/"), fail_once)
    page.goto(run_url)
    page.wait_for_timeout(11_000)
    tell(database, int(run_url.rpartition("/")[2]), 2, 3, 0.75)
    expect(page.locator("#standing-steps")).to_have_text("Step 3 of 6")
    expect(page.locator('[data-chart="drift"] .legend b').first).to_have_text("−0.75")
    assert asked.count("stream") == 2


def test_the_page_fits_a_phone(run_url: str, world: World, logged_in: LogIn) -> None:
    page = logged_in(world.lead, width=390, height=844).new_page()
    for path in (run_url, "/projects/street/runs", "/projects/street/runs/new", "/projects/street/runs/compare"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path


def test_without_scripts_the_curves_are_there(run_url: str, world: World, browser, live_server, logged_in) -> None:
    cookies = logged_in(world.lead).cookies()
    context: BrowserContext = browser.new_context(base_url=live_server, java_script_enabled=False)
    context.add_cookies(cookies)
    page = context.new_page()
    page.goto(run_url)
    assert page.locator('[data-chart="drift"] polyline').count() == 2
    expect(page.locator('[data-chart="drift"] .legend')).to_contain_text("D_w, winners −0.25")
    context.close()


def test_both_sides_choose_the_samebounds(run_url: str, world: World, logged_in: LogIn) -> None:
    random = Random(7)
    cases = [[random.uniform(-1, 1) * 10 ** random.randint(-5, 4) for _ in range(6)] for _ in range(300)]
    page = logged_in(world.lead).new_page()
    page.goto(run_url)
    drawn = page.evaluate(
        """async (cases) => {
            const { bounds } = await import('/static/js/charts.js');
            return cases.flatMap((values) => [bounds(values, null, null), bounds(values, 0, null)]);
        }""",
        [[abs(value) for value in case] if index % 2 else case for index, case in enumerate(cases)],
    )
    free, floored = Chart("x", "", "", ()), Chart("x", "", "", (), floor=0.0)
    for index, case in enumerate(cases):
        values = [abs(value) for value in case] if index % 2 else case
        assert drawn[2 * index] == pytest.approx(bounds(free, values))
        if index % 2:
            assert drawn[2 * index + 1] == pytest.approx(bounds(floored, values))
