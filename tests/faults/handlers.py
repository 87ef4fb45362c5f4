"""Job handlers that exist only in workers started by the fault tests."""

import sys
from pathlib import Path
from typing import Any

from backend.jobs.context import JobContext
from backend.jobs.errors import JobFailed
from backend.jobs.registry import job_handler

STEPPER = Path(__file__).with_name("stepper.py")


@job_handler("fault.steps", max_attempts=5)
def steps(context: JobContext, payload: dict[str, Any]) -> dict[str, Any]:
    """Runs a child that writes steps to a file in `payload["folder"]`, resuming where the file ends."""
    folder = Path(payload["folder"])
    argv = [sys.executable, str(STEPPER), str(folder), str(payload["steps"]), str(payload["pause"])]

    def poll() -> None:
        done = len((folder / "steps").read_text().splitlines()) if (folder / "steps").exists() else 0
        context.progress(done, payload["steps"], f"step {done}")

    code = context.run_child(argv, cwd=folder, log=folder / "log", on_poll=poll, poll_seconds=0.05)
    if code != 0:
        raise JobFailed("child_died", f"The child ended with {code}.", retry=True)
    return {"worker": context.worker}
