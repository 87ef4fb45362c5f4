"""Kinds of jobs that exist only for the tests of the queue."""

from typing import Any

from sqlalchemy.orm import Session

from backend.jobs.context import JobContext
from backend.jobs.errors import JobFailed
from backend.jobs.models import Job
from backend.jobs.registry import job_handler
from backend.jobs.service import enqueue

settled: list[tuple[int, str]] = []


def note_end(session: Session, job: Job) -> None:
    settled.append((job.id, str(job.state)))


@job_handler("test.echo", on_settled=note_end)
def echo(context: JobContext, payload: dict[str, Any]) -> dict[str, Any]:
    context.progress(1, 1, "echoed")
    return {"echo": payload}


@job_handler("test.gpu", queue="gpu")
def gpu(context: JobContext, payload: dict[str, Any]) -> None:
    return None


@job_handler("test.chain")
def chain(context: JobContext, payload: dict[str, Any]) -> None:
    with context.transaction() as session:
        if payload["left"]:
            enqueue(session, "test.chain", {"left": payload["left"] - 1})
        context.progress(payload["left"], None, "inside a transaction")


@job_handler("test.fail", on_settled=note_end)
def fail(context: JobContext, payload: dict[str, Any]) -> None:
    raise JobFailed("no_luck", "There was no luck today: try again tomorrow.")


@job_handler("test.crash", max_attempts=2, on_settled=note_end)
def crash(context: JobContext, payload: dict[str, Any]) -> None:
    raise ZeroDivisionError("one over nothing")


def refuse_end(session: Session, job: Job) -> None:
    raise ValueError("this room cannot bear an end")


@job_handler("test.touchy", on_settled=refuse_end)
def touchy(context: JobContext, payload: dict[str, Any]) -> None:
    return None
