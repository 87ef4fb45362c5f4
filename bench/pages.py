"""What leads look at, at a million judgments on Postgres: lists, dashboard, leaderboard, quality, yields of thresholds.

    python bench/pages.py [--quick] [--judgments N] [--server URL --keep NAME] [--rounds N]

A project is seeded with COPY: that many judgments, a tenth as many open comparisons. One process of `inpaintdpo web`
answers one request at a time. Of every page: the first look a process ever takes, looks while nothing changes, and
looks each of which follows an answer sent over HTTP, so that everything kept of the votes is out of date. With `--keep`
the database stays on the server and is not seeded again.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine, make_url, text

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.accounts.csrf import token_for
from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database
from backend.kit.migrations import migrate
from bench._web_seed import SLUG, cookies_of, seed
from bench.web import POSTGRES_OPTIONS, ROOT, database_facts, milliseconds, web_processes
from tests.services import POSTGRES_URL, postgres

ANNOTATORS = 50
PROJECT = f"/projects/{SLUG}"
PAGES = (
    f"/api/v1{PROJECT}/judgments?mine=false",
    f"/api/v1{PROJECT}/comparisons?state=open",
    "/",
    PROJECT,
    f"{PROJECT}/judgments",
    f"{PROJECT}/leaderboard",
    f"{PROJECT}/quality",
    f"{PROJECT}/serving",
    f"{PROJECT}/datasets",
    f"{PROJECT}/datasets?threshold=0.6",
)


class Visitor:
    """A browser's part of one HTTP conversation."""

    def __init__(self, port: int, cookie: str) -> None:
        self.port, self.cookie = port, cookie

    def ask(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> bytes:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=json.dumps(body).encode() if body is not None else None,
            headers={
                "cookie": f"inpaintdpo={self.cookie}",
                "accept": "text/html,application/json",
                "content-type": "application/json",
                "x-csrf-token": token_for(self.cookie),
                **headers,
            },
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.read()

    def judge(self) -> None:
        """Claims a comparison and answers it."""
        claimed = json.loads(self.ask(f"/api/v1{PROJECT}/assignments", {"count": 1}))
        number = claimed["items"][0]["id"]
        answer = {"outcome": "choice", "choice": "left", "reasons": ["scale"], "seconds": 3}
        self.ask(f"/api/v1/assignments/{number}/judgment", answer, **{"idempotency-key": f"pages-{number}"})


def time_pages(port: int, cookies: list[str], admin: str, rounds: int) -> dict[str, Any]:
    """Milliseconds of every page: its first look, p50 and p95 while nothing changes, and after an answer each."""
    lead, people = Visitor(port, admin), [Visitor(port, cookie) for cookie in cookies]
    found: dict[str, Any] = {}
    turn = 0

    def look(path: str) -> float:
        began = time.perf_counter()
        lead.ask(path)
        return time.perf_counter() - began

    for path in PAGES:
        first = look(path)
        still = [look(path) for _ in range(rounds)]
        judging = []
        for _ in range(rounds):
            people[turn % len(people)].judge()
            turn += 1
            judging.append(look(path))
        found[path] = {
            "first": round(1000 * first, 1),
            "still": milliseconds(still),
            "while_judging": milliseconds(judging),
        }
    return found


def seeded_database(server: URL, name: str, judgments: int, home: Path) -> str:
    """The URL of the database of this name, filled unless it is there."""
    url = server.set(database=name).render_as_string(hide_password=False)
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        there = connection.scalar(text("SELECT count(*) FROM pg_database WHERE datname = :name"), {"name": name})
        if not there:
            connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    if not there:
        database = Database(url)
        migrate(database)
        database.dispose()
        comparisons = judgments + max(1000, judgments // 10)
        blobs = LocalBlobs(home / "blobs")
        seed(url, blobs, comparisons=comparisons, annotators=ANNOTATORS, judgments=judgments, pixels=64)
    return url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="25,000 judgments, 5 rounds.")
    parser.add_argument("--judgments", type=int, help="Seeded judgments. [1000000]")
    parser.add_argument("--rounds", type=int, help="Looks at a page of each kind. [40]")
    parser.add_argument("--server", help="SQLAlchemy URL of a Postgres server to use instead of starting one.")
    parser.add_argument("--keep", help="Name of the database, which stays there for the next time.")
    given = parser.parse_args()
    given.judgments = given.judgments or (25_000 if given.quick else 1_000_000)
    given.rounds = given.rounds or (5 if given.quick else 40)
    os.environ.pop(POSTGRES_URL, None)
    if given.server:
        os.environ[POSTGRES_URL] = given.server
    with ExitStack() as stack:
        server = make_url(stack.enter_context(postgres(*POSTGRES_OPTIONS)))
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-pages-")))
        facts = database_facts(server.render_as_string(hide_password=False))
        url = seeded_database(server, given.keep or f"bench_pages_{os.getpid()}", given.judgments, home)
        environment = {"INPAINTDPO_DATABASE_URL": url, "INPAINTDPO_HOME": str(home), "INPAINTDPO_DEMO": "false"}
        load = os.getloadavg()[0]
        processes = stack.enter_context(web_processes(1, environment | {"PYTHONPATH": str(ROOT)}, home / "web.log"))
        pages = time_pages(processes[0].port, cookies_of(ANNOTATORS), "admin", given.rounds)
    print(
        json.dumps(
            {
                "name": "pages",
                "metrics": {"judgments": given.judgments, "rounds": given.rounds, "milliseconds": pages},
                "peer": {"name": "label-studio", "missing": "not measured by this script"},
                "machine": {
                    "cpus": os.cpu_count(),
                    "load_before": round(load, 1),
                    "load_after": round(os.getloadavg()[0], 1),
                    "python": platform.python_version(),
                    "postgres": facts,
                },
                "command": " ".join(["python", "bench/pages.py", *sys.argv[1:]]),
            }
        )
    )


if __name__ == "__main__":
    main()
