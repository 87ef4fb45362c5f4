"""The real services the tests run against: Postgres, Redis and Chromium, found or started.

Each comes from a URL in the environment, else from a binary on the PATH. What is missing raises MissingService with
the sentence that mends it; nothing falls back to less.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

POSTGRES_URL = "INPAINTDPO_TEST_POSTGRES_URL"
REDIS_URL = "INPAINTDPO_TEST_REDIS_URL"
CHROMIUM = "INPAINTDPO_TEST_CHROMIUM"
DEADLINE_SECONDS = 60


class MissingService(RuntimeError):
    """A service the tests need is neither configured nor installed."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find_binary(*names: str, folders: tuple[str, ...] = ()) -> str | None:
    for name in names:
        if found := shutil.which(name):
            return found
        for pattern in folders:
            for path in sorted(Path("/").glob(f"{pattern.lstrip('/')}/{name}"), reverse=True):
                return str(path)
    return None


def missing(what: str, packages: str, variable: str) -> MissingService:
    return MissingService(
        f"The tests need {what}: run script/bootstrap, install it yourself (Debian: apt-get install {packages}), "
        f"set {variable}, or run script/test --embedded for the tests that need no service."
    )


def find_chromium() -> str:
    """Path of a Chromium or Chrome; raises MissingService."""
    found = os.environ.get(CHROMIUM) or find_binary("chromium", "chromium-browser", "google-chrome", "chrome")
    if not found:
        raise missing("a Chromium browser", "chromium", CHROMIUM)
    return found


def _wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"A service for the tests stopped at once:\n{log.read_text()[-2000:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"A service for the tests did not answer on port {port}:\n{log.read_text()[-2000:]}")


def _wait_until_started(url: str) -> None:
    """Postgres listens a moment before it lets anybody in."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _unprivileged() -> dict[str, int | list[int]]:
    """Popen arguments that leave root behind, since Postgres refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    raise MissingService("Postgres refuses to run as root and there is no user “postgres” or “nobody”: add one.")


@contextmanager
def _stopping(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def postgres(*settings: str) -> Iterator[str]:
    """The SQLAlchemy URL of a Postgres server whose user may create databases.

    One that is started here takes `settings` ("fsync=on"); by default it forgets what a crash interrupts.
    """
    if url := os.environ.get(POSTGRES_URL):
        yield url
        return
    folders = ("/usr/lib/postgresql/*/bin",)
    initdb, server = find_binary("initdb", folders=folders), find_binary("postgres", folders=folders)
    if not initdb or not server:
        raise missing("a Postgres server", "postgresql", POSTGRES_URL)
    account = _unprivileged()
    with tempfile.TemporaryDirectory(prefix="inpaintdpo-postgres-", ignore_cleanup_errors=True) as folder:
        if account:
            os.chown(folder, account["user"], account["group"])
        data, log, port = Path(folder) / "data", Path(folder) / "log", free_port()
        command = [initdb, "-D", str(data), "-U", "inpaintdpo", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, **account)
        settings = ("fsync=off", "max_connections=200", "listen_addresses=127.0.0.1", *settings)
        options = [part for setting in settings for part in ("-c", setting)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [server, "-D", str(data), "-p", str(port), "-k", folder, *options],
                stdout=output,
                stderr=output,
                cwd=folder,
                **account,
            )
            with _stopping(process):
                _wait_for_port(port, process, log)
                _wait_until_started(f"postgresql://inpaintdpo@127.0.0.1:{port}/postgres")
                yield f"postgresql+psycopg://inpaintdpo@127.0.0.1:{port}/postgres"


@contextmanager
def redis() -> Iterator[str]:
    """The URL of a Redis server."""
    if url := os.environ.get(REDIS_URL):
        yield url
        return
    server = find_binary("redis-server", "valkey-server")
    if not server:
        raise missing("a Redis server", "redis-server", REDIS_URL)
    with tempfile.TemporaryDirectory(prefix="inpaintdpo-redis-") as folder:
        log, port = Path(folder) / "log", free_port()
        with log.open("wb") as output:
            command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
            process = subprocess.Popen(command, stdout=output, stderr=output)
            with _stopping(process):
                _wait_for_port(port, process, log)
                yield f"redis://127.0.0.1:{port}/0"
