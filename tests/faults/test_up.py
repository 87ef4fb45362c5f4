"""`inpaintdpo up` as a person uses it: start, look, stop, start again; and what it refuses in a sentence."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from tests.faults.conftest import REPOSITORY, eventually, is_alive

COMMAND = [sys.executable, "-m", "backend.cli"]


class Up:
    """A running `inpaintdpo up` on a folder of its own."""

    def __init__(self, folder: Path, name: str, environment: dict[str, str]) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*COMMAND, "up"],
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def words(self) -> str:
        return self.log.read_text()

    def wait_until_ready(self) -> str:
        """The address it prints."""

        def is_up() -> bool:
            assert self.process.poll() is None, self.words
            return "InpaintDPO runs at" in self.words

        eventually(is_up, "`up` says where it runs", 180)
        found = re.search(r"runs at (\S+)", self.words)
        assert found
        return found[1]

    def family(self) -> list[int]:
        return [process.pid for process in psutil.Process(self.process.pid).children(recursive=True)]

    def expect_nothing_left(self, family: list[int]) -> None:
        eventually(lambda: not any(is_alive(pid) for pid in family), "every process of the service is gone", 60)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("INPAINTDPO_")}
    ours = {"HOME": str(tmp_path / "home"), "PORT": "0", "DEMO": "false"}
    return inherited | {f"INPAINTDPO_{name}": value for name, value in ours.items()} | {"PYTHONPATH": str(REPOSITORY)}


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Iterator:
    started: list[Up] = []

    def start_one() -> Up:
        started.append(Up(tmp_path, f"up-{len(started)}", environment))
        return started[-1]

    yield start_one
    for up in started:
        up.process.kill()
        up.process.wait()


def refused(arguments: list[str], folder: Path, environment: dict[str, str]) -> str:
    """The one sentence with which the command refuses."""
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode in {1, 2}, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


def test_up_runs_stops_cleanly_and_finds_everything_again(start, tmp_path: Path, environment: dict[str, str]) -> None:
    first = start()
    address = first.wait_until_ready()
    with urlopen(f"{address}/readyz", timeout=30) as answer:
        assert answer.status == 200
    assert re.search(r"Log in as the first admin, once: +http://\S+/login/link/\S+", first.words)
    assert "already runs on" in refused(["up"], tmp_path, environment)
    family = first.family()
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(90) == 0
    first.expect_nothing_left(family)
    assert "Traceback" not in first.words
    assert "WARNING" not in first.words and "ERROR" not in first.words, first.words

    made = (tmp_path / "home" / "inpaintdpo.sqlite").stat().st_ino
    second = start()
    second.wait_until_ready()
    assert (tmp_path / "home" / "inpaintdpo.sqlite").stat().st_ino == made
    web = next(
        child for child in psutil.Process(second.process.pid).children(recursive=True) if "web" in child.cmdline()
    )
    web.kill()
    eventually(lambda: "web ended; starting it again" in second.words, "the crash is told")
    eventually(lambda: second.words.count("web ready") == 2, "the web server is started again")
    family = second.family()
    second.process.kill()
    second.process.wait()
    second.expect_nothing_left(family)


def test_a_taken_port_is_refused_in_a_sentence(tmp_path: Path, environment: dict[str, str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        words = refused(["up", "--port", str(port)], tmp_path, environment)
    assert f"127.0.0.1:{port}" in words and "INPAINTDPO_PORT" in words


def test_a_home_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "INPAINTDPO_HOME" in refused(["up", "--home", str(tmp_path / "file")], tmp_path, environment)


def test_an_unreachable_database_is_refused_in_a_sentence(tmp_path: Path, environment: dict[str, str]) -> None:
    environment["INPAINTDPO_DATABASE_URL"] = "postgresql+psycopg://me:hidden@127.0.0.1:1/none"
    for command in ("up", "migrate"):
        words = refused([command], tmp_path, environment)
        assert "127.0.0.1:1" in words and "hidden" not in words


def test_a_wrong_setting_is_refused_in_a_sentence(tmp_path: Path, environment: dict[str, str]) -> None:
    environment["INPAINTDPO_PORT"] = "eighty"
    assert "INPAINTDPO_PORT" in refused(["up"], tmp_path, environment)
