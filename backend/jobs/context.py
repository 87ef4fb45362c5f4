"""What a handler is given: its job, the service's stores, and the only ways to write for the job."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from backend.jobs import repository, service
from backend.jobs.errors import JobCancelled, JobHandedBack, LostLease
from backend.jobs.supervise import GRACE_SECONDS, Child
from backend.kit.blobs import BlobStore
from backend.kit.database import Database, is_outage
from backend.settings import Settings

log = structlog.get_logger()

# Twice a second is as often as a person can read a progress bar.
PROGRESS_SECONDS = 0.5


class Signals:
    """What the lease keeper and the worker tell a running handler."""

    def __init__(self, stopping: threading.Event | None = None) -> None:
        self.cancelled = threading.Event()
        self.lost = threading.Event()
        self.stopping = stopping or threading.Event()

    def check(self) -> None:
        """Raises LostLease, JobCancelled or JobHandedBack where the handler should stop."""
        if self.lost.is_set():
            raise LostLease
        if self.cancelled.is_set():
            raise JobCancelled
        if self.stopping.is_set():
            raise JobHandedBack


class JobContext:
    """One attempt at one job."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        blobs: BlobStore,
        claim: service.Claim,
        worker: str,
        signals: Signals | None = None,
    ) -> None:
        self.settings = settings
        self.database = database
        self.blobs = blobs
        self.job_id = claim.job_id
        self.fence = claim.fence
        self.attempt = claim.attempt
        self.project_id = claim.project_id
        self.worker = worker
        self.signals = signals or Signals()
        self._local = threading.local()
        self._progress_lock = threading.Lock()
        self.last_progress: tuple[int, int | None, str | None] | None = None
        """What was noted last, written or not."""
        self._progress_pending: tuple[int, int | None, str | None] | None = None
        self._progress_written = 0.0

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A writing transaction that nobody else's writes for this job can overlap.

        It commits at the end and renews the lease with it; an error rolls it back. Raises LostLease, and changes
        nothing, where the job has been given to another worker. Keep it short: on SQLite all other writers wait for it.
        """
        with self.database.transaction() as session:
            if not repository.lock_held(session, self.job_id, self.fence):
                self.signals.lost.set()
                raise LostLease
            self._local.session = session
            try:
                yield session
            finally:
                self._local.session = None
            repository.renew(session, self.job_id, self.fence, self.settings.job_lease_seconds)

    def progress(self, done: int, total: int | None = None, message: str | None = None) -> None:
        """Shows how far the job is: `done` of `total` (None where unknown), and what it is at.

        Costs nothing to call often: at most two a second are written, and always the last one. Raises LostLease.
        """
        with self._progress_lock:
            self._progress_pending = self.last_progress = (done, total, message)
            is_due = time.monotonic() - self._progress_written >= PROGRESS_SECONDS
        if is_due:
            self.flush_progress()

    def flush_progress(self) -> None:
        """Writes the last progress that was only noted."""
        with self._progress_lock:
            pending, self._progress_pending = self._progress_pending, None
            self._progress_written = time.monotonic()
        if pending is None:
            return
        session = getattr(self._local, "session", None)
        try:
            if session is not None:
                # A second connection would wait for the row this transaction holds.
                service.note_progress(session, self.job_id, self.fence, *pending)
                return
            with self.database.transaction() as own:
                service.note_progress(own, self.job_id, self.fence, *pending)
        except DBAPIError:
            with self._progress_lock:
                self._progress_pending = self._progress_pending or pending
            raise

    def cancelled(self) -> bool:
        """Whether a person has cancelled the job; the handler then raises JobCancelled as soon as it can."""
        return self.signals.cancelled.is_set()

    def stopping(self) -> bool:
        """Whether the worker is shutting down; the handler then raises JobHandedBack as soon as it can."""
        return self.signals.stopping.is_set()

    def check(self) -> None:
        """Raises LostLease, JobCancelled or JobHandedBack where the handler should stop; call it between steps."""
        self.signals.check()

    def run_child(
        self,
        argv: list[str],
        *,
        cwd: Path,
        env: dict[str, str] | None = None,
        log: Path,
        on_poll: Callable[[], None] = lambda: None,
        poll_seconds: float = 0.5,
        cancel_grace: float = GRACE_SECONDS,
    ) -> int:
        """Runs a program in a process group of its own and returns its exit code (negative: killed by that signal).

        Its output is appended to `log`; `env` is its whole environment, this process's where None. `on_poll` is called
        every `poll_seconds` and once more after the program has ended; where the database does not answer it, the
        program goes on and the next call makes up for it, for as long as the lease may hold. On cancellation, a lost
        lease or the worker's stop the whole group gets SIGTERM, later SIGKILL, and JobCancelled, LostLease or
        JobHandedBack is raised (a cancelled program has `cancel_grace` seconds in between, to bring what it is at to a
        good end); the group is also ended when `on_poll` raises, and by the kernel when this process dies. Raises
        FileNotFoundError where `cwd` does not exist.
        """
        with Child(argv, cwd=cwd, env=env, log=log) as child:
            while not child.wait(poll_seconds):
                try:
                    self.signals.check()
                except JobCancelled:
                    child.grace = cancel_grace
                    raise
                self._poll(on_poll)
            ended_at = time.monotonic()
            while not self._poll(on_poll, is_last=time.monotonic() - ended_at > self.settings.job_lease_seconds):
                self.signals.check()
                time.sleep(poll_seconds)
            self.signals.check()
            return child.exit_code

    def _poll(self, on_poll: Callable[[], None], is_last: bool = False) -> bool:
        """Whether `on_poll` was answered; an outage of the database is raised only where the call `is_last`."""
        try:
            on_poll()
        except DBAPIError as error:
            if is_last or not is_outage(error):
                raise
            log.warning("the database does not answer; the program goes on", job_id=self.job_id)
            return False
        return True
