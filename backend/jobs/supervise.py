"""A child program on a leash: ends with whoever started it, and leaves nothing of its process group behind."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

LEASH = Path(__file__).with_name("leash.py")
# Long enough for a trainer to close its files, short enough that cancelling takes seconds.
GRACE_SECONDS = 5.0
LOOK_SECONDS = 0.05


class Child:
    """A program in a session and process group of its own; leaving the `with` block ends the whole group.

    The thread that makes it must stay alive as long as the child: the kernel ties a child's death notice to the thread.
    Output is appended to `log`, or goes where this process's output goes; `files` are descriptors to hand over.
    """

    def __init__(
        self,
        argv: list[str],
        *,
        cwd: Path,
        env: dict[str, str] | None = None,
        log: Path | None = None,
        files: tuple[int, ...] = (),
        grace: float = GRACE_SECONDS,
    ) -> None:
        self.grace = grace
        leashed = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *argv]
        with ExitStack() as closing:
            output = None
            if log is not None:
                log.parent.mkdir(parents=True, exist_ok=True)
                output = closing.enter_context(log.open("ab"))
            self._process = subprocess.Popen(
                leashed,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                start_new_session=True,
                pass_fds=files,
            )
        self.group = self._process.pid

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def exit_code(self) -> int:
        """The program's exit code, negative where a signal killed it; only after it has ended."""
        if self._process.returncode is None:
            raise RuntimeError("The program has not ended yet.")
        return self._process.returncode

    def wait(self, seconds: float) -> bool:
        """Waits up to `seconds` for the program's end; whether it has ended, with its whole group."""
        deadline = time.monotonic() + seconds
        while not self._has_ended():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(LOOK_SECONDS, left))
        return True

    def ask_to_end(self) -> None:
        """Sends SIGTERM to the group and returns at once."""
        if self._process.returncode is None:
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kills the group at once."""
        if self._process.returncode is None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def end(self) -> None:
        """Asks the group to stop by SIGTERM, and kills what is left after the grace time."""
        if self._process.returncode is not None:
            return
        self.ask_to_end()
        if not self.wait(self.grace):
            self.kill()

    def _has_ended(self) -> bool:
        if self._process.returncode is not None:
            return True
        # Looked at without collecting it: as long as the leader is not collected, its group's number is not given anew.
        if os.waitid(os.P_PID, self.group, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        self._signal(signal.SIGKILL)
        self._process.wait()
        return True

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.group, number)
        except (ProcessLookupError, PermissionError):
            # Only the ended leader is left of the group.
            return
