"""A small program between a worker and its child, run as `python leash.py PARENT_PID PROGRAM ARGUMENT…`.

It leads the child's process group and outlives neither side: when the worker dies, even by SIGKILL, the kernel wakes it
and it kills the whole group; when the program ends, it ends in the same way. It stands in a process of its own because
code between fork and exec is unsafe in a worker with many threads, and because PR_SET_PDEATHSIG reaches only one
process and not its descendants. Nothing of the service is imported, so that it starts in milliseconds.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
CANNOT_START = 127
# The kernel's notice makes this needless on Linux; elsewhere a look at the parent once a second does its work.
LOOK_SECONDS = 1.0


def die_with_parent(signal_number: int) -> None:
    """Asks the kernel for a signal at the parent's death, where it can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def kill_group() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)


def start(argv: list[str]) -> int:
    leash = os.getpid()
    child = os.fork()
    if child:
        return child
    die_with_parent(signal.SIGKILL)
    if os.getppid() != leash:
        os._exit(CANNOT_START)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        os.write(2, f"Cannot start {argv[0]}: {error.strerror}.\n".encode())
    os._exit(CANNOT_START)


def end_like(status: int) -> None:
    """Ends this process as the child did: with its exit code or by the signal that killed it."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def main() -> None:
    parent, argv = int(sys.argv[1]), sys.argv[2:]
    # Held back, so that none is missed between two looks; SIGTERM to the group is for the program, which decides.
    awaited = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    die_with_parent(signal.SIGTERM)
    # The parent may have died before the kernel knew what we want of it.
    if os.getppid() != parent:
        kill_group()
    child = start(argv)
    while True:
        if hasattr(signal, "sigtimedwait"):
            signal.sigtimedwait(awaited, LOOK_SECONDS)
        if os.getppid() != parent:
            kill_group()
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            end_like(status)


if __name__ == "__main__":
    main()
