"""Real worker processes on both sizes of the service, and a watch on what they start."""

import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, text

from backend.jobs.bell import attach_bell
from backend.jobs.celery_app import make_celery, make_ring
from backend.jobs.models import ACTIVE_JOB_STATES, Job
from backend.jobs.service import cancel, enqueue, get_job
from backend.kit.database import Database
from backend.settings import Settings
from tests.faults import handlers  # noqa: F401  # registers the kinds this process enqueues

REPOSITORY = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 180.0
# Short enough for a test to wait for, long enough for a busy machine to renew in time.
LEASE_SECONDS = 10


def eventually(condition: Callable[[], object], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    """Waits until `condition` holds; fails with `what` was awaited."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"Not within {seconds:.0f} s: {what}.")
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass
class WorkerProcess:
    """A real worker of the queue cpu."""

    process: subprocess.Popen[bytes]
    log: Path

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"The worker ended at once:\n{self.log.read_text()}")
        return "worker ready" in self.log.read_text()

    def is_of(self, job: Job) -> bool:
        return bool(job.worker) and str(job.worker).endswith(f"/{self.process.pid}")


@dataclass
class Ground:
    """One size of the service with its workers, and the job under test."""

    folder: Path
    environment: dict[str, str]
    database: Database
    settings: Settings
    workers: list[WorkerProcess] = field(default_factory=list)

    def start_worker(self) -> WorkerProcess:
        log = self.folder / f"worker-{len(self.workers)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "backend.cli", "worker", "--queue", "cpu"],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        worker = WorkerProcess(process, log)
        self.workers.append(worker)
        eventually(worker.is_ready, "the worker is ready")
        return worker

    def enqueue(self, *, steps: int, pause: float = 0.05, ring: bool = True) -> "Task":
        folder = self.folder / f"job-{secrets.token_hex(4)}"
        folder.mkdir()
        if ring:
            attach_bell(self.database, make_ring(make_celery(self.settings)))
        with self.database.transaction() as session:
            payload = {"folder": str(folder), "steps": steps, "pause": pause}
            return Task(self.database, enqueue(session, "fault.steps", payload).id, folder, steps)

    def ring(self, task: "Task", times: int) -> None:
        ring = make_ring(make_celery(self.settings))
        for _ in range(times):
            ring(task.job_id, "cpu")

    def freeze(self, worker: WorkerProcess, task: "Task") -> None:
        """Stops a worker and its child, as a suspended machine would."""
        group = os.getpgid(task.pids[0])
        while True:
            os.killpg(group, signal.SIGSTOP)
            worker.signal(signal.SIGSTOP)
            if self._is_writable():
                return
            worker.signal(signal.SIGCONT)
            os.killpg(group, signal.SIGCONT)
            time.sleep(0.01)

    def _is_writable(self) -> bool:
        """Whoever stops while it writes SQLite's file stops all others, which share its machine; Postgres ends that."""
        if not self.database.is_sqlite:
            return True
        with closing(sqlite3.connect(str(self.database.url.database), timeout=0)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
        return True

    @contextmanager
    def database_away(self) -> Iterator[None]:
        """Postgres lets nobody in to this database, and hangs up on whoever is in."""
        name = self.database.url.database
        server = create_engine(self.database.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
            hang_up = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            connection.execute(text(hang_up), {"name": name})
            try:
                yield
            finally:
                connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
        server.dispose()
        self.database.engine.dispose()

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()


@dataclass
class Task:
    """A job of the tests and the traces its children leave."""

    database: Database
    job_id: int
    folder: Path
    steps: int

    @property
    def job(self) -> Job:
        with self.database.reading() as session:
            return get_job(session, self.job_id)

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def has_stepped(self, steps: int) -> bool:
        return len(self._lines("steps")) >= steps

    @property
    def starts(self) -> int:
        return len(self._lines("starts"))

    @property
    def pids(self) -> list[int]:
        """The children and their helpers, in the order in which they started."""
        return [int(line) for line in self._lines("pids")]

    def is_over(self) -> bool:
        return self.job.state not in ACTIVE_JOB_STATES

    def cancel(self) -> None:
        with self.database.transaction() as session:
            cancel(session, self.job_id)

    def expect_no_orphan(self) -> None:
        eventually(lambda: not any(is_alive(pid) for pid in self.pids), "every child and its helper are gone", 20)

    def expect_whole(self, *, starts: int) -> None:
        """Every step once and in order, by so many starts, no two of them at once, and nothing left running."""
        assert self.job.state == "succeeded", (self.job.state, self.job.error_message)
        assert self._lines("steps") == [str(step) for step in range(self.steps)]
        assert not (self.folder / "overlap").exists()
        assert self.starts == starts
        self.expect_no_orphan()


GROWN = pytest.param("grown", marks=[pytest.mark.postgres, pytest.mark.redis])


@pytest.fixture(params=["embedded", GROWN])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    """The embedded service (SQLite, a folder as broker) and the grown one (Postgres, Redis)."""
    values = {
        "HOME": str(tmp_path / "home"),
        "EXTRA_TASK_MODULES": "tests.faults.handlers",
        "JOB_LEASE_SECONDS": str(LEASE_SECONDS),
        "JOB_POLL_SECONDS": "0.5",
        "BROKER_VISIBILITY_SECONDS": "2",
        "BROKER_PREFIX": f"test-{secrets.token_hex(4)}:",
        "CPU_SLOTS": "1",
        "DEMO": "false",
    }
    if request.param == "grown":
        values["DATABASE_URL"] = request.getfixturevalue("postgres_url")
        values["BROKER_URL"] = request.getfixturevalue("redis_url")
    else:
        values["DATABASE_URL"] = request.getfixturevalue("sqlite_url")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("INPAINTDPO_")}
    environment = inherited | {f"INPAINTDPO_{name}": value for name, value in values.items()}
    environment["PYTHONPATH"] = str(REPOSITORY)
    settings = Settings(_env_file=None, **{name.lower(): value for name, value in values.items()})
    database = Database(settings.resolved_database_url)
    ground = Ground(tmp_path, environment, database, settings)
    yield ground
    ground.close()
    database.dispose()
