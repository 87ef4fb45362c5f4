"""Fills the slots of one worker process with jobs from the table."""

import threading
import time

import structlog
from sqlalchemy.exc import SQLAlchemyError

from backend.jobs import service
from backend.jobs.context import Signals
from backend.jobs.runner import Workshop, run_claimed
from backend.jobs.supervise import GRACE_SECONDS

log = structlog.get_logger()

# On top of the time a child gets to stop: writing the row.
STOP_MARGIN_SECONDS = 10.0


class Dispatcher:
    """Claims jobs of one queue while slots are free, each on a thread of its own.

    It looks into the table when the bell rings, when a slot becomes free, and every few seconds by itself, so that a
    broker that is down only delays.
    """

    def __init__(self, workshop: Workshop, queue: str, slots: int) -> None:
        self.workshop = workshop
        self.queue = queue
        self.slots = slots
        self.stopping = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._running: dict[int, threading.Thread] = {}
        self._loop = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)

    @property
    def busy(self) -> int:
        with self._lock:
            return len(self._running)

    def start(self) -> None:
        self._loop.start()

    def wake(self) -> None:
        """Looks for jobs now rather than at the next poll."""
        self._wake.set()

    def ask_to_stop(self) -> None:
        """Claims nothing more and asks running jobs to stop; returns at once."""
        self.stopping.set()
        self._wake.set()

    def stop(self) -> bool:
        """Waits until every running job has been handed back; whether all did so in time."""
        self.ask_to_stop()
        if self._loop.is_alive():
            self._loop.join()
        deadline = time.monotonic() + GRACE_SECONDS + STOP_MARGIN_SECONDS
        with self._lock:
            running = list(self._running.items())
        for _, thread in running:
            thread.join(max(0.0, deadline - time.monotonic()))
        late = [job_id for job_id, thread in running if thread.is_alive()]
        if late:
            log.warning("some jobs did not stop in time; others take them over when their lease ends", jobs=late)
        return not late

    def _dispatch(self) -> None:
        reachable = True
        while not self.stopping.is_set():
            self._wake.clear()
            try:
                while not self.stopping.is_set() and self.busy < self.slots and self._take():
                    pass
                reachable = True
            except SQLAlchemyError as error:
                if reachable:
                    log.warning("the database does not answer; looking again", error=_first_line(error))
                reachable = False
            except Exception:
                # Whatever it is, the worker must go on claiming: without this loop it would live and do nothing.
                log.exception("claiming failed unexpectedly; looking again")
            self._wake.wait(self.workshop.settings.job_poll_seconds)

    def _take(self) -> bool:
        """Claims one job and starts its thread; False where none waits."""
        with self.workshop.database.transaction() as session:
            claim = service.claim(
                session,
                queues=(self.queue,),
                worker=self.workshop.worker,
                lease_seconds=self.workshop.settings.job_lease_seconds,
            )
        if claim is None:
            return False
        with self._lock:
            former = self._running.get(claim.job_id)
            thread = threading.Thread(target=self._run, args=(claim, former), name=f"job-{claim.job_id}", daemon=True)
            self._running[claim.job_id] = thread
        thread.start()
        return True

    def _run(self, claim: service.Claim, former: threading.Thread | None) -> None:
        try:
            if former is not None:
                # An earlier attempt of this very job, whose lease lapsed here, must be over before the next begins.
                former.join()
            run_claimed(self.workshop, claim, Signals(self.stopping))
        except Exception:
            log.exception("the end of a job could not be written; its lease will run out", job_id=claim.job_id)
        finally:
            with self._lock:
                if self._running.get(claim.job_id) is threading.current_thread():
                    del self._running[claim.job_id]
            self._wake.set()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
