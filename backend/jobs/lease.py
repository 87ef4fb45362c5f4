"""Keeps the lease of one running job, and tells its handler what the table says."""

import threading
import time

import structlog
from sqlalchemy.exc import SQLAlchemyError

from backend.jobs import repository
from backend.jobs.context import JobContext
from backend.jobs.errors import LostLease

log = structlog.get_logger()

# How often the row is looked at: the time a cancellation takes to be seen.
WATCH_SECONDS = 0.5


class LeaseKeeper:
    """A thread that renews a job's lease while the `with` block runs.

    Where the database cannot be reached before the lease runs out, the job is taken for lost a little earlier than
    others may claim it, so that two workers never run it at once. On SQLite that cannot be: who cannot write the file
    shares the machine with everybody else who waits for it.
    """

    def __init__(self, context: JobContext) -> None:
        self.context = context
        self.lease_seconds = context.settings.job_lease_seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{context.job_id}", daemon=True)

    def __enter__(self) -> "LeaseKeeper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(timeout=self.lease_seconds)

    def _keep(self) -> None:
        renewed_at = time.monotonic()
        pause = min(WATCH_SECONDS, self.lease_seconds / 8)
        while not self._done.wait(pause):
            asked_at = time.monotonic()
            try:
                is_due = asked_at - renewed_at >= self.lease_seconds / 3
                cancel = self._renew() if is_due else self._watch()
                if cancel is not None:
                    self.context.flush_progress()
            except LostLease:
                cancel = None
            except SQLAlchemyError as error:
                if self._may_be_lost(renewed_at):
                    log.warning("database unreachable until the lease ran out", job_id=self.context.job_id)
                    self.context.signals.lost.set()
                    return
                log.warning("lease not renewed yet", job_id=self.context.job_id, error=type(error).__name__)
                continue
            if is_due:
                renewed_at = asked_at
            if cancel is None:
                self.context.signals.lost.set()
                return
            if cancel:
                self.context.signals.cancelled.set()

    def _renew(self) -> bool | None:
        with self.context.database.transaction() as session:
            return repository.renew(session, self.context.job_id, self.context.fence, self.lease_seconds)

    def _watch(self) -> bool | None:
        with self.context.database.reading() as session:
            return repository.watch(session, self.context.job_id, self.context.fence)

    def _may_be_lost(self, renewed_at: float) -> bool:
        return not self.context.database.is_sqlite and time.monotonic() - renewed_at > self.lease_seconds * 0.8
