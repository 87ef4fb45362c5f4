"""Annotators over HTTP on Postgres: an answer that brings the next, its images, and again, without thinking time.

    python bench/web.py [--quick] [--comparisons N …] [--annotators N …] [--seconds S]

Two processes of `inpaintdpo web` serve a project seeded with COPY; one client process plays all annotators, half of
them on each server process. A cycle is what the judge screen does for one comparison: send the answer, which leases the
next one in the same request, and fetch both candidates, the subject and the mask of what came; two more wait behind the
one on screen. Afterwards the database is asked how many comparisons hold more judgments
and leases than they want (`over_assigned`) and how many acknowledged answers it does not have (`lost`). Server,
database and load share one machine: `cpu_share` says who used it. What leads look at is timed by `bench/pages.py`.
"""

import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import create_engine, make_url, text

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database
from backend.kit.migrations import migrate
from bench._web_client import Annotator, Tally, run_load
from bench._web_seed import SLUG, Seeded, seed
from tests.services import POSTGRES_URL, postgres

ROOT = Path(__file__).resolve().parents[1]
# Durable as in production; the rest is what any installation of some size sets.
POSTGRES_OPTIONS = ("fsync=on", "synchronous_commit=on", "shared_buffers=512MB", "max_wal_size=4GB")
PICTURES = ("images", "subject", "mask")


@dataclass
class Server:
    """One web process and where it listens."""

    process: subprocess.Popen[bytes]
    port: int


@contextmanager
def web_processes(count: int, environment: dict[str, str], log: Path) -> Iterator[list[Server]]:
    """Processes of `inpaintdpo web`, each on a socket it inherits as from `inpaintdpo up`."""
    servers: list[Server] = []
    try:
        for _ in range(count):
            with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener, log.open("ab") as output:
                servers.append(
                    Server(
                        subprocess.Popen(
                            [sys.executable, "-m", "backend.cli", "web", "--socket", str(listener.fileno())],
                            env=os.environ | environment,
                            pass_fds=[listener.fileno()],
                            stdout=output,
                            stderr=output,
                            cwd=ROOT,
                        ),
                        listener.getsockname()[1],
                    )
                )
        for server in servers:
            _wait_until_ready(server, log)
        yield servers
    finally:
        for server in servers:
            server.process.send_signal(signal.SIGTERM)
        for server in servers:
            try:
                server.process.wait(10)
            except subprocess.TimeoutExpired:
                server.process.kill()


def _wait_until_ready(server: Server, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"A web process did not become ready:\n{log.read_text()[-3000:]}")


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process and of the children it has reaped."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def postgres_cpu(url: str) -> float:
    """Seconds of all server processes of the database, as far as this machine shows them."""
    port = make_url(url).port
    total = 0.0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and "postgres" in (folder / "comm").read_text():
                parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
                command = (Path("/proc") / str(parent) / "cmdline").read_bytes() + (folder / "cmdline").read_bytes()
                if f"\0{port}\0".encode() in command:
                    total += cpu_seconds(int(folder.name))
        except (OSError, ValueError):
            continue
    return total


def milliseconds(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    levels = np.percentile(np.array(values) * 1000, (50, 95, 99))
    return {name: round(float(level), 1) for name, level in zip(("p50", "p95", "p99"), levels, strict=True)}


def measure(
    seeded: Seeded, servers: list[Server], url: str, annotators: int, first: int, seconds: float, warm: float
) -> tuple[dict[str, Any], Tally]:
    """One load of `annotators`, whose cookies start at `first`."""
    people = [
        Annotator(number, seeded.cookies[number], servers[number % len(servers)].port, SLUG, PICTURES)
        for number in range(first, first + annotators)
    ]
    before: dict[str, float] = {}

    def used() -> dict[str, float]:
        return {"web": sum(cpu_seconds(s.process.pid) for s in servers), "postgres": postgres_cpu(url)}

    load_before, began = os.getloadavg()[0], time.perf_counter()
    tally = run_load(people, seconds, warm, lambda: before.update(used()))
    spent = {name: value - before[name] for name, value in used().items()}
    measured = time.perf_counter() - began - warm
    share = {name: round(value / measured / (os.cpu_count() or 1), 3) for name, value in spent.items()}
    share["load"] = round(tally.cpu_seconds / measured / (os.cpu_count() or 1), 3)
    # What a cycle costs, however busy the machine is with other things.
    cycles = max(1, tally.answered)
    cost = {name: round(1000 * value / cycles, 2) for name, value in spent.items()}
    cost["load"] = round(1000 * tally.cpu_seconds / cycles, 2)
    return {
        "annotators": annotators,
        "cycles_per_second": round(tally.answered / seconds, 1),
        "requests_per_second": round(sum(len(tally.times[step]) for step in ("next", "image", "submit")) / seconds, 1),
        "milliseconds": {step: milliseconds(values) for step, values in tally.times.items()}
        | {"request": milliseconds([t for step in ("next", "image", "submit") for t in tally.times[step]])},
        "errors": tally.errors,
        "ran_dry": tally.ran_dry,
        "cpu_share": share,
        "cpu_milliseconds_per_cycle": cost | {"all": round(sum(cost.values()), 2)},
        "load_average_before": round(load_before, 2),
        "load_average_after": round(os.getloadavg()[0], 2),
    }, tally


def integrity(url: str, keys: list[str]) -> dict[str, int]:
    """Counted from the database: comparisons with more than they want, and acknowledged answers that are not there."""
    engine = create_engine(url)
    with engine.connect() as connection:
        over = connection.scalar(
            text(
                "SELECT count(*) FROM (SELECT c.id FROM comparisons c JOIN assignments a ON a.comparison_id = c.id "
                "WHERE a.state IN ('leased', 'submitted') AND a.purpose = 'regular' GROUP BY c.id, c.wanted "
                "HAVING count(*) > c.wanted) AS full_up"
            )
        )
        wrong = connection.scalar(
            text(
                "SELECT count(*) FROM comparisons c LEFT JOIN (SELECT comparison_id, count(*) AS held FROM assignments "
                "WHERE state IN ('leased', 'submitted') AND purpose = 'regular' GROUP BY comparison_id) AS a "
                "ON a.comparison_id = c.id WHERE c.open_slots + coalesce(a.held, 0) <> c.wanted"
            )
        )
        stored = set(
            connection.scalars(text("SELECT idempotency_key FROM judgments WHERE idempotency_key LIKE 'bench-%'"))
        )
    engine.dispose()
    return {
        "over_assigned": over or 0,
        "counters_wrong": wrong or 0,
        "lost": len(set(keys) - stored),
        "answers": len(keys),
    }


def run_size(server_url: str, comparisons: int, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seeds one database, loads it, and looks at it afterwards."""
    name = f"bench_{os.getpid()}_{comparisons}"
    server = make_url(server_url)
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = server.set(database=name).render_as_string(hide_password=False)
    try:
        database = Database(url)
        migrate(database)
        database.dispose()
        home = folder / name
        blobs = LocalBlobs(home / "blobs")
        began = time.perf_counter()
        seeded = seed(
            url,
            blobs,
            comparisons=comparisons,
            annotators=sum(given.annotators),
            pixels=given.pixels,
        )
        seed_seconds = time.perf_counter() - began
        environment = {
            "INPAINTDPO_DATABASE_URL": url,
            "INPAINTDPO_HOME": str(home),
            "INPAINTDPO_DEMO": "false",
            "PYTHONPATH": str(ROOT),
        }
        loads, keys, first = [], [], 0
        with web_processes(given.processes, environment, folder / "web.log") as servers:
            for annotators in given.annotators:
                load, tally = measure(seeded, servers, url, annotators, first, given.seconds, given.warm)
                loads.append(load)
                keys += tally.keys
                first += annotators
        return {
            "comparisons": comparisons,
            "seed_seconds": round(seed_seconds, 1),
            "mean_image_bytes": {kind: round(size) for kind, size in seeded.image_bytes.items()},
            "loads": loads,
            **integrity(url, keys),
        }
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


def database_facts(url: str) -> dict[str, str]:
    engine = create_engine(url)
    with engine.connect() as connection:
        names = ("server_version", "fsync", "synchronous_commit", "shared_buffers")
        facts = {name: connection.scalar(text(f"SHOW {name}")) for name in names}
    engine.dispose()
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5,000 comparisons, 20 annotators, 5 seconds.")
    parser.add_argument("--comparisons", type=int, nargs="+", help="One database of each size. [100000]")
    parser.add_argument("--annotators", type=int, nargs="+", help="One load after the other. [50 200]")
    parser.add_argument("--seconds", type=float, help="Measured seconds of each load. [20]")
    parser.add_argument("--warm", type=float, default=4.0, help="Seconds before the measured ones.")
    parser.add_argument("--processes", type=int, default=2, help="Web processes.")
    parser.add_argument("--pixels", type=int, default=512, help="Side of the images.")
    parser.add_argument("--server", help="SQLAlchemy URL of a Postgres server to use instead of starting one.")
    given = parser.parse_args()
    given.comparisons = given.comparisons or [5_000 if given.quick else 100_000]
    given.annotators = given.annotators or ([20] if given.quick else [50, 200])
    given.seconds = given.seconds or (5.0 if given.quick else 20.0)
    os.environ.pop(POSTGRES_URL, None)
    if given.server:
        os.environ[POSTGRES_URL] = given.server
    with postgres(*POSTGRES_OPTIONS) as server_url, tempfile.TemporaryDirectory(prefix="bench-web-") as folder:
        facts = database_facts(server_url)
        sizes = [run_size(server_url, size, given, Path(folder)) for size in given.comparisons]
    first = sizes[0]["loads"][0] if sizes[0]["loads"] else {}
    print(
        json.dumps(
            {
                "name": "web",
                "metrics": {
                    "cycles_per_second": first.get("cycles_per_second"),
                    "p95_milliseconds": first.get("milliseconds", {}).get("request", {}).get("p95"),
                    "over_assigned": sum(size["over_assigned"] for size in sizes),
                    "counters_wrong": sum(size["counters_wrong"] for size in sizes),
                    "lost": sum(size["lost"] for size in sizes),
                    "errors": sum(sum(load["errors"].values()) for size in sizes for load in size["loads"]),
                    "sizes": sizes,
                },
                "peer": {"name": "label-studio", "missing": "not measured by this script"},
                "machine": {
                    "cpus": os.cpu_count(),
                    "load": round(os.getloadavg()[0], 1),
                    "processor": platform.machine(),
                    "python": platform.python_version(),
                    "fastapi": version("fastapi"),
                    "postgres": facts,
                    "web_processes": given.processes,
                },
                "command": " ".join(["python", "bench/web.py", *sys.argv[1:]]),
            }
        )
    )


if __name__ == "__main__":
    main()
