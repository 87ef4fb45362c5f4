"""`inpaintdpo up`: one command that supervises the web server and the workers of this machine."""

import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import structlog
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from backend.accounts.service import ensure_first_admin
from backend.cli_web import address_of, listen
from backend.generation.demo import ensure_demo
from backend.jobs.health import Check, Level, check_blobs, check_home, short
from backend.jobs.machine import trainer_missing
from backend.jobs.supervise import Child
from backend.kit.database import Database
from backend.kit.migrations import migrate
from backend.settings import Settings
from backend.worker import connect_bell

log = structlog.get_logger()

READY_SECONDS = 120
LOOK_SECONDS = 0.2
# A worker gives its children five seconds and writes their rows; a web server closes its streams in three.
STOP_SECONDS = 25.0
FIRST_RESTART_SECONDS, LONGEST_RESTART_SECONDS = 1.0, 30.0
# Who has run for a minute did start well: the next crash is a new story.
SETTLED_SECONDS = 60.0


class CannotStart(Exception):
    """The service cannot be started as it is configured; the message is for people."""


@contextmanager
def lock_home(home: Path) -> Iterator[None]:
    """Holds HOME for this command, so that two never work on one folder. Raises CannotStart."""
    with (home / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise CannotStart(
                f"`inpaintdpo up` already runs on {home} (process {holder}). Stop that one first, or set "
                "INPAINTDPO_HOME to another folder and INPAINTDPO_PORT to another port."
            ) from None
        _write_holder(lock)
        yield
        lock.truncate(0)


def _write_holder(lock: TextIO) -> None:
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


@dataclass
class Service:
    """One supervised process and what is known of its crashes."""

    name: str
    argv: list[str]
    files: tuple[int, ...] = ()
    child: Child | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    pause: float = field(default=FIRST_RESTART_SECONDS)

    def start(self) -> None:
        self.child = Child(self.argv, cwd=Path.cwd(), files=self.files, grace=STOP_SECONDS)
        self.started_at = time.monotonic()

    def tend(self) -> None:
        """Starts the process anew where it has ended, after a pause that grows with each crash in a row."""
        now = time.monotonic()
        if self.child is None:
            if now >= self.restart_at:
                self.start()
            return
        if not self.child.wait(0):
            return
        if now - self.started_at > SETTLED_SECONDS:
            self.pause = FIRST_RESTART_SECONDS
        log.warning(f"{self.name} ended; starting it again", exit_code=self.child.exit_code, in_seconds=self.pause)
        self.child, self.restart_at = None, now + self.pause
        self.pause = min(LONGEST_RESTART_SECONDS, self.pause * 2)


def prepare(settings: Settings) -> Database:
    """The database at its newest schema. Raises CannotStart with the sentence that mends it."""
    _insist(check_home(settings))
    database = Database(settings.resolved_database_url)
    place = database.url.render_as_string(hide_password=True)
    try:
        migrate(database)
    except SQLAlchemyError as error:
        raise CannotStart(
            f"The database {place} cannot be used: {short(error.__cause__ or error)} Start it or correct "
            "INPAINTDPO_DATABASE_URL; `inpaintdpo doctor` looks at the rest."
        ) from None
    _insist(check_blobs(settings))
    return database


def _insist(check: Check) -> None:
    if check.level is Level.BAD:
        raise CannotStart(f"{check.words} {check.way_out}")


def furnish(settings: Settings, database: Database) -> str | None:
    """Makes the first admin and the demo project where they are missing; the path of a login link, if one is due."""
    connect_bell(settings, database)
    link = _first_link(database)
    ensure_demo(database, settings)
    return link


def _first_link(database: Database) -> str | None:
    try:
        with database.transaction() as session:
            return ensure_first_admin(session)
    except IntegrityError:
        # Another start made the first admin at this very moment.
        with database.transaction() as session:
            return ensure_first_admin(session)


def services_of(listener: socket.socket) -> list[Service]:
    command = [sys.executable, "-m", "backend.cli"]
    services = [
        Service("web", [*command, "web", "--socket", str(listener.fileno())], files=(listener.fileno(),)),
        Service("worker-cpu", [*command, "worker", "--queue", "cpu"]),
    ]
    if not trainer_missing():
        services.append(Service("worker-gpu", [*command, "worker", "--queue", "gpu"]))
    return services


class Supervisor:
    """Runs the services until a signal, and leaves none behind."""

    def __init__(self, services: list[Service]) -> None:
        self.services = services
        self._stop = threading.Event()
        self._signals = 0
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._hear)

    def _hear(self, *_: Any) -> None:
        self._signals += 1
        self._stop.set()

    def start(self) -> None:
        for service in self.services:
            service.start()

    def wait_until_ready(self, listener: socket.socket, settings: Settings) -> None:
        """Waits for /readyz. Raises CannotStart where the web server ends first or takes too long."""
        host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host
        url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/readyz"
        web, deadline = self.services[0], time.monotonic() + READY_SECONDS
        problem = "it did not answer"
        while not self._stop.is_set() and time.monotonic() < deadline:
            if web.child is not None and web.child.wait(0):
                raise CannotStart(
                    f"The web server ended with exit code {web.child.exit_code} before it was ready; "
                    "the lines above say why."
                )
            try:
                with urlopen(url, timeout=5) as answer:
                    if answer.status == 200:
                        return
            except HTTPError as error:
                problem = error.read().decode(errors="replace")
            except (URLError, OSError) as error:
                problem = str(error)
            self._stop.wait(LOOK_SECONDS)
        if not self._stop.is_set():
            raise CannotStart(f"The web server was not ready after {READY_SECONDS} seconds: {problem}")

    def run(self) -> None:
        """Keeps every service alive until a signal comes."""
        while not self._stop.wait(LOOK_SECONDS):
            for service in self.services:
                service.tend()

    @property
    def asked_to_stop(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """First no new requests, then running jobs are handed back. A second signal kills at once."""
        heard, deadline = max(self._signals, 1), time.monotonic() + STOP_SECONDS
        web, workers = self.services[:1], self.services[1:]
        for services in (web, workers):
            children = [service.child for service in services if service.child]
            for child in children:
                child.ask_to_end()
            while not all(child.wait(0) for child in children):
                if time.monotonic() > deadline or self._signals > heard:
                    break
                time.sleep(LOOK_SECONDS / 4)
        for service in self.services:
            if service.child:
                service.child.kill()


def up(settings: Settings, echo: Any) -> None:
    """Runs the whole service on this machine until a signal; `echo` prints a line. Raises CannotStart, AddressTaken."""
    _insist(check_home(settings))
    with lock_home(settings.home.absolute()), closing(listen(settings)) as listener:
        database = prepare(settings)
        try:
            link = furnish(settings, database)
        finally:
            database.dispose()
        supervisor = Supervisor(services_of(listener))
        try:
            supervisor.start()
            supervisor.wait_until_ready(listener, settings)
            if not supervisor.asked_to_stop:
                _greet(settings, address_of(listener, settings), link, echo)
                supervisor.run()
            echo("Stopping: running jobs are handed back.")
        finally:
            supervisor.stop()
        echo("Stopped.")


def _greet(settings: Settings, address: str, link: str | None, echo: Any) -> None:
    echo("")
    echo(f"  InpaintDPO runs at {address}  (data in {settings.home}, stop with Ctrl-C)")
    if link:
        echo(f"  Log in as the first admin, once:  {address}{link}")
    else:
        echo(f"  Log in:  {address}/login")
    if missing := trainer_missing():
        echo(
            f"  No GPU worker: {', '.join(missing)} not installed. Judging and datasets work; training and sampling "
            "wait until `pip install 'inpaintdpo[trainer]'` and a restart."
        )
    echo("")
