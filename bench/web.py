"""Annotators over HTTP on Postgres: an answer that brings the next, its images, and again, without thinking time.

    python bench/web.py [--quick] [--comparisons N …] [--annotators N …] [--seconds S] [--beside FOLDER]

Two processes of `inpaintdpo web` serve a project seeded with COPY; one client process plays all annotators, half of
them on each server process. A cycle is what the judge screen does for one comparison: send the answer, which leases the
next one in the same request, and fetch both candidates, the subject and the mask of what came; two more wait behind the
one on screen. Afterwards the database is asked how many comparisons hold more judgments
and leases than they want (`over_assigned`) and how many acknowledged answers it does not have (`lost`). Server,
database and load share one machine: `cpu_share` says who used it. What leads look at is timed by `bench/pages.py`.

`--beside` names an environment (a folder made by venv) with the packages `label-studio` and `uwsgi`; nginx comes from
the system. The same images, annotators and journey are then played there on the same Postgres, a load at a time.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import URL, create_engine, make_url, text

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.judging import leases
from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database, utcnow
from backend.kit.migrations import migrate
from bench import _label_studio as label_studio
from bench._web_client import Annotator, Tally, Worker, run_load
from bench._web_seed import SLUG, cookies_of, seed
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


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def family_cpu(roots: Sequence[int]) -> float:
    """Seconds of these processes and of all that descend from them, as far as this machine shows them."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = _parent(int(folder.name))
            except (OSError, ValueError):
                continue
    total = 0.0
    for pid in parents:
        above: int | None = pid
        while above is not None and above not in roots:
            above = parents.get(above)
        try:
            total += cpu_seconds(pid) if above is not None else 0.0
        except OSError:
            continue
    return total


def postgres_process(url: str) -> int:
    """The id of the server process that listens on the port of the URL; 0 where this machine does not show it."""
    port = f"\0{make_url(url).port}\0".encode()
    for folder in Path("/proc").iterdir():
        try:
            is_postgres = folder.name.isdigit() and (folder / "comm").read_text().strip() == "postgres"
            if is_postgres and port in (folder / "cmdline").read_bytes():
                return int(folder.name)
        except OSError:
            continue
    return 0


def milliseconds(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    levels = np.percentile(np.array(values) * 1000, (50, 95, 99))
    return {name: round(float(level), 1) for name, level in zip(("p50", "p95", "p99"), levels, strict=True)}


def measure(
    workers: Sequence[Worker], web: list[int], url: str, seconds: float, warm: float
) -> tuple[dict[str, Any], Tally]:
    """One load; `web` are the processes that serve it."""
    seen: list[dict[str, float]] = []
    database = postgres_process(url)

    def look() -> None:
        seen.append({"web": family_cpu(web), "postgres": family_cpu([database])})

    load_before = os.getloadavg()[0]
    tally = run_load(workers, seconds, warm, look)
    spent = {name: seen[1][name] - seen[0][name] for name in seen[0]} | {"load": tally.cpu_seconds}
    # What a cycle costs, however busy the machine is with other things.
    cost = {name: round(1000 * value / max(1, tally.answered), 2) for name, value in spent.items()}
    steps = ("next", "image", "submit")
    return {
        "annotators": len(workers),
        "cycles_per_second": round(tally.answered / seconds, 1),
        "requests_per_second": round(sum(len(tally.times[step]) for step in steps) / seconds, 1),
        "milliseconds": {step: milliseconds(values) for step, values in tally.times.items()}
        | {"request": milliseconds([t for step in steps for t in tally.times[step]])},
        "errors": tally.errors,
        "ran_dry": tally.ran_dry,
        "cpu_share": {name: round(value / seconds / (os.cpu_count() or 1), 3) for name, value in spent.items()},
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


@contextmanager
def database_of(server: URL, name: str, keep: bool) -> Iterator[tuple[URL, bool]]:
    """The database of this name and whether it is new; it goes again unless it is to be kept."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        there = connection.scalar(text("SELECT count(*) FROM pg_database WHERE datname = :name"), {"name": name})
        if not there:
            connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name), not there
    finally:
        if not keep:
            with engine.connect() as connection:
                connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


def name_of(given: argparse.Namespace, comparisons: int) -> str:
    return f"{given.keep.name if given.keep else f'bench_{os.getpid()}'}_{comparisons}"


def run_size(server: URL, comparisons: int, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seeds one database, loads it, and looks at it afterwards."""
    name = name_of(given, comparisons)
    home = folder / name
    annotators = sum(given.annotators)
    with database_of(server, name, bool(given.keep)) as (address, is_new):
        url = address.render_as_string(hide_password=False)
        began = time.perf_counter()
        database = Database(url)
        if is_new:
            migrate(database)
            seed(
                url,
                LocalBlobs(home / "blobs"),
                comparisons=comparisons,
                annotators=annotators,
                pixels=given.pixels,
            )
        with database.transaction() as session:
            # Nobody holds anything yet, as in a database that is new.
            leases.expire(session, now=utcnow() + timedelta(days=1), limit=sys.maxsize)
        database.dispose()
        seed_seconds = time.perf_counter() - began
        environment = {
            "INPAINTDPO_DATABASE_URL": url,
            "INPAINTDPO_HOME": str(home),
            "INPAINTDPO_DEMO": "false",
            "PYTHONPATH": str(ROOT),
        }
        cookies, loads, keys, first = cookies_of(annotators), [], [], 0
        with web_processes(given.processes, environment, folder / "web.log") as servers:
            pids = [each.process.pid for each in servers]
            for count in given.annotators:
                people = [
                    Annotator(number, cookies[number], servers[number % len(servers)].port, SLUG, PICTURES)
                    for number in range(first, first + count)
                ]
                load, tally = measure(people, pids, url, given.seconds, given.warm)
                loads.append(load)
                keys += tally.keys
                first += count
        return {
            "comparisons": comparisons,
            "seed_seconds": round(seed_seconds, 1),
            "loads": loads,
            **integrity(url, keys),
        }


def run_beside(server: URL, comparisons: int, given: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """The same loads on Label Studio, with as many tasks."""
    installed = label_studio.find(given.beside)
    name = name_of(given, comparisons) + "_beside"
    home = folder / name
    with database_of(server, name, bool(given.keep)) as (address, is_new):
        if is_new:
            people = sum(given.annotators)
            label_studio.prepare(installed, address, home, tasks=comparisons, annotators=people, pixels=given.pixels)
        seeded = json.loads((home / "seeded.json").read_text())
        loads, first = [], 0
        with label_studio.serving(installed, address, home) as (port, pids):
            for count in given.annotators:
                people = [
                    label_studio.Annotator(number, seeded["cookies"][number], port, seeded["project"])
                    for number in range(first, first + count)
                ]
                url = address.render_as_string(hide_password=False)
                loads.append(measure(people, pids, url, given.seconds, given.warm)[0])
                first += count
    return loads


def compared(ours: list[dict[str, Any]], theirs: list[dict[str, Any]] | None) -> dict[str, Any]:
    """The other's loads, with how many times its cycles a second ours are."""
    if theirs is None:
        return {"missing": "name an environment that has it with --beside"}
    ratios = [
        round(our["cycles_per_second"] / their["cycles_per_second"], 1) if their["cycles_per_second"] else None
        for our, their in zip(ours, theirs, strict=True)
    ]
    return {"loads": theirs, "times_its_cycles_per_second": ratios}


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
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help="Environment with label-studio and uwsgi.")
    parser.add_argument("--server", help="SQLAlchemy URL of a Postgres server to use instead of starting one.")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="Keeps files here, and databases of that name on the --server."
    )
    given = parser.parse_args()
    if given.keep and not given.server:
        parser.error("--keep needs a --server, which keeps the databases.")
    given.comparisons = given.comparisons or [5_000 if given.quick else 100_000]
    given.annotators = given.annotators or ([20] if given.quick else [50, 200])
    given.seconds = given.seconds or (5.0 if given.quick else 20.0)
    os.environ.pop(POSTGRES_URL, None)
    if given.server:
        os.environ[POSTGRES_URL] = given.server
    # Who is told to stop takes down what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with postgres(*POSTGRES_OPTIONS) as server_url, tempfile.TemporaryDirectory(prefix="bench-web-") as temporary:
        facts, server, folder = database_facts(server_url), make_url(server_url), given.keep or Path(temporary)
        sizes = [run_size(server, size, given, folder) for size in given.comparisons]
        beside = run_beside(server, given.comparisons[0], given, folder) if given.beside else None
    first = sizes[0]["loads"][0]
    print(
        json.dumps(
            {
                "name": "web",
                "metrics": {
                    "cycles_per_second": first["cycles_per_second"],
                    "p95_milliseconds": first["milliseconds"]["request"].get("p95"),
                    "over_assigned": sum(size["over_assigned"] for size in sizes),
                    "counters_wrong": sum(size["counters_wrong"] for size in sizes),
                    "lost": sum(size["lost"] for size in sizes),
                    "errors": sum(sum(load["errors"].values()) for size in sizes for load in size["loads"]),
                    "sizes": sizes,
                },
                "peer": {"name": "label-studio", **compared(sizes[0]["loads"], beside)},
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
