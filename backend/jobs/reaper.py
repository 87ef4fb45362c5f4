"""Takes back what dead workers held, rings again for what nobody heard, and reports that this worker lives."""

import threading
import time

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.jobs import repository, service
from backend.jobs.bell import ring_after_commit
from backend.jobs.dispatcher import Dispatcher
from backend.jobs.machine import package_version, trainer_missing
from backend.jobs.runner import Workshop

log = structlog.get_logger()

RING_AGAIN_SECONDS = 10.0
FORGET_WORKERS_SECONDS = 86_400.0
# When even this transaction waited so long, so did the renewals of living workers: they get another turn first.
STALL_SECONDS = 1.0


class Reaper:
    """A timer inside every worker process; the first round is at once."""

    def __init__(self, workshop: Workshop, dispatcher: Dispatcher) -> None:
        self.workshop = workshop
        self.dispatcher = dispatcher
        self.pause = max(0.5, workshop.settings.job_lease_seconds / 6)
        self.has_trainer = not trainer_missing()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._turn, name="reaper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the timer and takes this worker off the list."""
        self._done.set()
        self._thread.join()
        try:
            with self.workshop.database.transaction() as session:
                repository.forget_worker(session, self.workshop.worker)
        except SQLAlchemyError as error:
            log.warning("could not sign off", error=str(error).splitlines()[0])

    def _turn(self) -> None:
        while not self._done.is_set():
            try:
                self.round()
            except SQLAlchemyError:
                # The dispatcher, which meets the same database more often, says so.
                pass
            except Exception:
                log.exception("a round of the reaper failed unexpectedly")
            self._done.wait(self.pause)

    def round(self) -> None:
        """One round: reap, ring again, report."""
        asked_at = time.monotonic()
        with self.workshop.database.transaction() as session:
            self._report(session)
            if time.monotonic() - asked_at > STALL_SECONDS:
                return
            for job in service.reap(session):
                log.warning("took back a job whose worker was lost", job_id=job.id, kind=job.kind, state=str(job.state))
            unheard = repository.unheard(session, (self.dispatcher.queue,), RING_AGAIN_SECONDS)
            for job in unheard:
                ring_after_commit(session, job.id, job.queue)
        self.dispatcher.wake()

    def _report(self, session: Session) -> None:
        dispatcher = self.dispatcher
        row = {
            "name": self.workshop.worker,
            "queue": dispatcher.queue,
            "version": package_version("inpaintdpo") or "unknown",
            "slots": dispatcher.slots,
            "busy": min(dispatcher.busy, dispatcher.slots),
            "has_trainer": self.has_trainer,
        }
        repository.beat(session, row)
        repository.forget_workers(session, FORGET_WORKERS_SECONDS)
