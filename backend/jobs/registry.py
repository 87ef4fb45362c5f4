"""Which function does which kind of job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backend.jobs.errors import UnknownJobKind

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from backend.jobs.context import JobContext
    from backend.jobs.models import Job

QUEUES = ("cpu", "gpu")

Handler = Callable[["JobContext", dict[str, Any]], dict[str, Any] | None]
Settled = Callable[["Session", "Job"], None]


@dataclass(frozen=True)
class JobKind:
    """One kind of job: its queue, how often it may be tried, who does it and who hears of its end."""

    name: str
    queue: str
    max_attempts: int
    handler: Handler
    on_settled: Settled | None = None


_kinds: dict[str, JobKind] = {}


def job_handler(
    kind: str, *, queue: str = "cpu", max_attempts: int = 3, on_settled: Settled | None = None
) -> Callable[[Handler], Handler]:
    """Declares the decorated function as the handler of jobs of `kind`.

    The dict it returns becomes the job's result. `on_settled(session, job)` runs in the transaction that ends the job
    (succeeded, failed or cancelled), whoever ends it: the worker, the reaper, or a person who cancels it while it
    still waits. It is the place to carry the job's end over to the row the job worked for.

    Raises ValueError for an unknown queue or a kind that another function already handles.
    """
    if queue not in QUEUES:
        raise ValueError(f"Job kind “{kind}” names the queue “{queue}”: there are {' and '.join(QUEUES)}.")

    def register(handler: Handler) -> Handler:
        known = _kinds.get(kind)
        if known and (known.handler.__module__, known.handler.__qualname__) != (
            handler.__module__,
            handler.__qualname__,
        ):
            raise ValueError(
                f"Job kind “{kind}” has two handlers: {known.handler.__module__}.{known.handler.__qualname__} and "
                f"{handler.__module__}.{handler.__qualname__}. Give one of them another kind."
            )
        _kinds[kind] = JobKind(kind, queue, max_attempts, handler, on_settled)
        return handler

    return register


def find_kind(kind: str) -> JobKind | None:
    return _kinds.get(kind)


def get_kind(kind: str) -> JobKind:
    """The registered kind; raises UnknownJobKind."""
    found = _kinds.get(kind)
    if found is None:
        raise UnknownJobKind(kind)
    return found


def kinds() -> list[JobKind]:
    return sorted(_kinds.values(), key=lambda kind: kind.name)
