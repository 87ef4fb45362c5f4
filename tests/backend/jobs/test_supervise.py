"""Children on a leash: exit codes, groups, and the deaths of those who hold them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from backend.jobs.supervise import LEASH, Child

PYTHON = sys.executable
STUBBORN = (
    "import signal, time, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "pathlib.Path('up').touch(); time.sleep(600)"
)
# Starts a process that leaves the group's leader, and writes its number when it runs.
WITH_HELPER = (
    "import subprocess, sys, time, pathlib;"
    "helper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "pathlib.Path('helper.part').write_text(str(helper.pid)); pathlib.Path('helper.part').rename('helper');"
)


def eventually(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def run(code: str, folder: Path, **options) -> Child:
    return Child([PYTHON, "-c", code], cwd=folder, log=folder / "log", **options)


def wait_for(path: Path) -> str:
    eventually(path.exists)
    return path.read_text()


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_the_exit_code_is_the_programs(tmp_path: Path, code: int) -> None:
    with run(f"import sys; sys.exit({code})", tmp_path) as child:
        assert child.wait(60)
        assert child.exit_code == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_deadly_signal_is_told(tmp_path: Path, number: signal.Signals) -> None:
    with run(f"import os; os.kill(os.getpid(), {int(number)})", tmp_path) as child:
        assert child.wait(60)
        assert child.exit_code == -number


def test_a_program_that_is_not_there_says_so_in_its_log(tmp_path: Path) -> None:
    with Child([str(tmp_path / "nothing")], cwd=tmp_path, log=tmp_path / "log") as child:
        assert child.wait(60)
        assert child.exit_code == 127
    assert "Cannot start" in (tmp_path / "log").read_text()


def test_output_goes_to_the_log_and_the_environment_is_the_given_one(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['WORD']); print('and this', file=sys.stderr)"
    with run(code, tmp_path, env={"WORD": "hello"}) as child:
        assert child.wait(60)
        assert child.exit_code == 0
    assert sorted((tmp_path / "log").read_text().split("\n")[:2]) == ["and this", "hello"]


def test_leaving_the_block_stops_the_program(tmp_path: Path) -> None:
    with run("import pathlib, time; pathlib.Path('up').touch(); time.sleep(600)", tmp_path) as child:
        wait_for(tmp_path / "up")
    assert child.exit_code == -signal.SIGTERM


def test_who_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    with run(STUBBORN, tmp_path, grace=0.3) as child:
        wait_for(tmp_path / "up")
    assert child.exit_code == -signal.SIGKILL


def test_nothing_of_the_group_is_left_when_the_program_ends(tmp_path: Path) -> None:
    with run(WITH_HELPER, tmp_path) as child:
        helper = int(wait_for(tmp_path / "helper"))
        assert child.wait(60)
        assert child.exit_code == 0
    eventually(lambda: not is_alive(helper))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death at once")
def test_the_whole_group_dies_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from backend.jobs.supervise import Child;"
        f"child = Child([sys.executable, '-c', {WITH_HELPER + 'time.sleep(600)'!r}], cwd=Path({str(tmp_path)!r}));"
        "print(child.group, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([PYTHON, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    leash = psutil.Process(int(parent.stdout.readline()))
    helper = int(wait_for(tmp_path / "helper"))
    family = [leash.pid, *(process.pid for process in leash.children(recursive=True)), helper]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not any(is_alive(pid) for pid in family))


def test_a_leash_whose_parent_is_already_gone_starts_nothing(tmp_path: Path) -> None:
    """The race: the parent died between fork and the kernel's promise to tell."""
    marker = tmp_path / "started"
    argv = [PYTHON, "-I", "-S", str(LEASH), "1", PYTHON, "-c", f"open({str(marker)!r}, 'w')"]
    leash = subprocess.run(argv, start_new_session=True, timeout=60, check=False)
    assert leash.returncode == -signal.SIGKILL
    assert not marker.exists()


def test_a_killed_leash_takes_the_program_with_it(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, time; pathlib.Path('p').write_text(str(os.getpid()));"
        "pathlib.Path('p').rename('pid'); time.sleep(600)"
    )
    with run(code, tmp_path) as child:
        program = int(wait_for(tmp_path / "pid"))
        os.kill(child.group, signal.SIGKILL)
        assert child.wait(60)
        assert child.exit_code == -signal.SIGKILL
    eventually(lambda: not is_alive(program))
