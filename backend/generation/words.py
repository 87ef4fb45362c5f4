"""Children of this room's jobs: their environment, and what a person is told when one fails."""

import os
from pathlib import Path

import trainer
from backend.jobs.errors import JobFailed
from backend.jobs.machine import trainer_missing
from trainer.contract.errors import ExitCode

INSTALL = "script/bootstrap (or: pip install '.[trainer]')"
_FINAL = {ExitCode.BAD_CONFIG, ExitCode.BAD_SNAPSHOT, ExitCode.MODEL_UNAVAILABLE, ExitCode.DISK}
LOG_TAIL_BYTES = 8_000


def trainer_problem() -> str | None:
    """Why this machine cannot sample or train, with the command that mends it; None where it can."""
    missing = trainer_missing()
    if not missing:
        return None
    return f"The trainer is not installed on this machine ({', '.join(missing)}): run {INSTALL}, then start again."


def refuse_without_trainer() -> None:
    """Raises JobFailed with the command to run where the trainer's packages are not installed."""
    problem = trainer_problem()
    if problem:
        raise JobFailed("trainer_missing", problem)


def child_environment() -> dict[str, str]:
    """The environment of a trainer started in another folder: it finds this package, and its output does not wait."""
    source = str(Path(trainer.__file__).resolve().parents[1])
    paths = [source, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONUNBUFFERED": "1"}


def log_tail(log: Path) -> str:
    """The last lines a child wrote."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace").strip()
    except FileNotFoundError:
        return ""


def child_failure(what: str, code: int, log: Path) -> JobFailed:
    """The failure of a child that ended with `code`, in its own last words; killed ones are tried again."""
    lines = [line.strip() for line in log_tail(log).splitlines() if line.strip()]
    said = f" It said: {lines[-1][:300]}" if lines else ""
    if code < 0 or code not in set(ExitCode):
        words = f"{what} was stopped{f' by signal {-code}' if code < 0 else ''}, most likely for want of memory.{said}"
        return JobFailed("trainer_killed", words, retry=True)
    known = ExitCode(code)
    return JobFailed(f"trainer_{known.name.lower()}", f"{what} failed.{said}", retry=known not in _FINAL)
