"""The proof: one turn of the whole loop in a real browser, by the command a user types.

`inpaintdpo up` runs web server and workers; Chromium logs in by the printed link, judges by keys, lets simulated
annotators judge the rest, freezes a dataset, trains on it, and finds the tuned generator above its parent. Once on the
embedded default, once on Postgres and Redis.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.services import free_port

# A part of the demo: enough that what the exact judge says of the tuned generator lies above chance.
CONDITIONS = 120
JUDGED_BY_HAND = 4
# Every wait is for a condition; this only ends a test whose condition never comes.
DEADLINE_SECONDS = 900.0


class Service:
    """`inpaintdpo up` as a process of its own, with its output in a file."""

    def __init__(self, home: Path, extra: dict[str, str]) -> None:
        self.log = home.parent / "up.log"
        self.url = f"http://127.0.0.1:{free_port()}"
        configured = {name: value for name, value in os.environ.items() if not name.startswith("INPAINTDPO_")}
        environment = {
            **configured,
            "INPAINTDPO_HOME": str(home),
            "INPAINTDPO_PORT": self.url.rsplit(":", 1)[1],
            "INPAINTDPO_DEMO_CONDITIONS": str(CONDITIONS),
            **extra,
        }
        with self.log.open("wb") as output:
            command = [sys.executable, "-m", "backend.cli", "up"]
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)

    def login_link(self) -> str:
        return wait_for(lambda: re.search(r"https?://\S+/login/link/\S+", self.output()), "the login link").group()

    def output(self) -> str:
        if self.process.poll() is not None:
            raise AssertionError(f"inpaintdpo up ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
        return self.log.read_text()

    def stop(self) -> list[psutil.Process]:
        """Sends Ctrl-C and returns the processes that outlive the command."""
        family = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        return psutil.wait_procs(family, timeout=5)[1]


def wait_for(probe: Callable[[], Any], what: str) -> Any:
    """The first true answer of `probe`; fails, naming `what`, when none comes."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if answer := probe():
            return answer
        time.sleep(0.5)
    raise AssertionError(f"Waited {DEADLINE_SECONDS:.0f} s for {what}.")


def fetch(page: Page, path: str) -> dict[str, Any]:
    response = page.request.get(path)
    assert response.ok, f"{path} answered {response.status}: {response.text()[:500]}"
    return response.json()


def wait_for_jobs(page: Page) -> None:
    """Until no job is queued or running; a failed one ends the test with its own words."""

    def idle() -> bool:
        jobs = fetch(page, "/api/v1/jobs?limit=200")["items"]
        failed = [f"{job['kind']}: {job['error_message']}" for job in jobs if job["state"] == "failed"]
        assert not failed, failed
        return bool(jobs) and all(job["state"] not in ("queued", "running") for job in jobs)

    wait_for(idle, "all jobs")


@pytest.fixture(params=["embedded", pytest.param("grown", marks=[pytest.mark.postgres, pytest.mark.redis])])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    extra = {}
    if request.param == "grown":
        extra = {
            "INPAINTDPO_DATABASE_URL": request.getfixturevalue("postgres_url"),
            "INPAINTDPO_BROKER_URL": request.getfixturevalue("redis_url").rsplit("/", 1)[0] + "/7",
        }
    service = Service(tmp_path / "home", extra)
    yield service
    if service.process.poll() is None:
        service.stop()


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    page = browser.new_page(base_url=service.url, viewport={"width": 1440, "height": 900})
    page.set_default_timeout(60_000)
    yield page
    page.context.close()


def log_in(page: Page, service: Service) -> None:
    page.goto(service.login_link())
    page.get_by_role("button", name="Log in").click()
    page.goto("/projects/demo")
    expect(page.get_by_role("heading", level=1)).to_have_text("SpatialWorld street & shore")


def judge_by_keys(page: Page) -> None:
    """Marks the first candidates as win and lose (scale), as soon as there are some."""

    def work_is_there() -> bool:
        page.goto("/projects/demo/judge")
        page.locator("body[data-ready], #rest:not([hidden])").first.wait_for()
        return page.locator("body[data-ready]").count() > 0

    wait_for(work_is_there, "the first candidates")
    for _ in range(JUDGED_BY_HAND):
        page.wait_for_selector("body[data-ready]")
        shown = page.locator("body").get_attribute("data-ready")
        several = page.locator("#stage figure").count() > 2
        for key in ["1", "2", "2", "s", "Enter"] if several else ["ArrowLeft", "ArrowLeft"]:
            page.keyboard.press(key)
        page.wait_for_function("shown => document.body.dataset.ready !== shown", arg=shown)


def judgments(page: Page) -> list[dict[str, Any]]:
    return fetch(page, "/api/v1/projects/demo/judgments?limit=200")["items"]


def simulate(page: Page) -> None:
    page.goto("/projects/demo")
    page.get_by_label("Error rate, %").fill("5")
    page.get_by_role("button", name="Let them judge").click()
    wait_for_jobs(page)


def freeze(page: Page) -> int:
    page.goto("/projects/demo/datasets?simulated=yes")
    page.get_by_role("button", name=re.compile(r"Freeze [\d,]+ pairs")).click()
    wait_for_jobs(page)
    snapshot = fetch(page, "/api/v1/projects/demo/snapshots")["items"][0]
    assert snapshot["state"] == "ready"
    return snapshot["id"]


def train(page: Page, snapshot: int) -> dict[str, Any]:
    page.goto(f"/projects/demo/runs/new?snapshot={snapshot}&recipe=spatialworld_demo")
    page.get_by_role("button", name="Start the run").click()
    page.wait_for_url(re.compile(r"/runs/\d+"))
    run_id = page.url.partition("?")[0].rsplit("/", 1)[1]
    expect(page.locator("svg").first).to_be_visible()
    wait_for_jobs(page)
    run = fetch(page, f"/api/v1/runs/{run_id}")
    assert run["state"] == "finished", run
    return run


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_turn_of_the_loop(service: Service, page: Page) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    log_in(page, service)
    judge_by_keys(page)
    wait_for(lambda: len(judgments(page)) == JUDGED_BY_HAND, "the judgments made by hand")
    page.goto("/projects/demo")
    wait_for_jobs(page)
    simulate(page)
    run = train(page, freeze(page))
    simulate(page)

    ratings = {row["generator_id"]: row for row in fetch(page, "/api/v1/projects/demo/ratings")["ratings"]}
    tuned, parent = ratings[run["generator_id"]], ratings[run["parent_generator_id"]]
    assert tuned["rating"] > parent["rating"]
    assert tuned["rational"]["value"] > parent["rational"]["value"]
    page.goto("/projects/demo/leaderboard")
    expect(page.get_by_role("row").nth(1)).to_contain_text(tuned["name"])
    assert not errors
    assert "Traceback" not in service.output()
    assert service.stop() == []
