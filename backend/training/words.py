"""What a person is told of a run's state and of how its trainer ended."""

from trainer.contract.errors import ExitCode

STATE_WORDS = {
    "queued": "Waiting for a worker",
    "running": "Training",
    "finished": "The tuned generator is ready",
    "failed": "An error stopped it",
    "cancelled": "Stopped on request",
}

OUTCOME_WORDS = {
    "running": "running",
    "finished": "finished",
    "failed": "failed",
    "cancelled": "cancelled",
    "handed_back": "handed back by a worker that was stopped",
    "lost": "lost with its worker",
    "killed": "trainer killed",
}

# What to do about each way a trainer ends; what exactly happened comes from the trainer itself.
_WAYS_OUT = {
    ExitCode.FAILED: (
        "The trainer met an error nobody foresaw. The last checkpoint is kept: resume the run, and show an admin the "
        "log if it happens again."
    ),
    ExitCode.CANCELLED: "The trainer was asked to stop by somebody outside this service. Resume the run to go on.",
    ExitCode.BAD_CONFIG: "The settings of this run cannot be used. Start a new run with the named setting changed.",
    ExitCode.BAD_SNAPSHOT: "The dataset cannot be used. Freeze a new snapshot and start a run on it.",
    ExitCode.MODEL_UNAVAILABLE: (
        "The base model or its adapter could not be loaded. Check the generator's base and the worker's access to it, "
        "then resume the run."
    ),
    ExitCode.SELF_CHECK_FAILED: (
        "The check before the first step found that this training could not work, so it was not begun. Change the "
        "named setting and start a new run."
    ),
    ExitCode.DIVERGED: (
        "The training left the numbers in which it means anything. Start a new run with a smaller learning rate or a "
        "smaller β."
    ),
    ExitCode.DISK: (
        "The worker could not write or read the run's files. Free space or mend the folder's rights, then resume the "
        "run."
    ),
}

# Ends that another try on the same files cannot change.
FINAL_EXITS = frozenset(_WAYS_OUT) - {ExitCode.CANCELLED}


def exit_name(code: int) -> str:
    """A stable name of an exit code, for the job's error code."""
    try:
        return f"trainer_{ExitCode(code).name.lower()}"
    except ValueError:
        return "trainer_killed"


def failure_sentence(code: int, message: str) -> str:
    """What happened, in the trainer's own words where it left any, and the way out."""
    try:
        way_out = _WAYS_OUT[ExitCode(code)]
    except (ValueError, KeyError):
        way_out = (
            f"The trainer was killed{f' (signal {-code})' if code < 0 else ''}, most likely because memory ran out. "
            "Use fewer pairs a step or a smaller micro batch, or resume the run on a larger machine."
        )
    lines = [line for line in message.strip().splitlines() if line.strip()]
    said = lines[0].strip() if lines and not message.lstrip().startswith("Traceback") else ""
    if not said:
        return way_out
    return f"{said}{'' if said.endswith(('.', '!', '?')) else '.'} {way_out}"


def duration_words(seconds: float) -> str:
    """“40 s”, “7 min”, “2 h 5 min”."""
    if seconds < 60:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
