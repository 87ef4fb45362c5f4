"""How a handler may end other than by returning."""

from backend.kit.errors import AppError


class JobFailed(Exception):
    """The job cannot succeed: `code` is stable, `message` tells a person what happened and the way out.

    It is final unless `retry` is set; then it is tried again, with a growing pause, up to the kind's `max_attempts`.
    """

    def __init__(self, code: str, message: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.code, self.message, self.retry = code, message, retry


class JobCancelled(Exception):
    """A person cancelled the job and the handler has stopped what it was doing."""


class JobHandedBack(Exception):
    """The worker is stopping: the job goes back to its queue and no attempt is spent."""


class LostLease(Exception):
    """The job belongs to another worker now; this one may write nothing for it any more."""


class UnknownJobKind(AppError):
    status, code, title = 500, "unknown_job_kind", "Nobody can do this work"

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"No handler is registered for jobs of kind “{kind}”: the module of tasks that declares it was not loaded "
            "in this process. Add it to backend/worker.py, or name it in INPAINTDPO_EXTRA_TASK_MODULES."
        )
