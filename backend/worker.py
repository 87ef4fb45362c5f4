"""The worker process: every room's job handlers, a doorbell, a dispatcher and a reaper wired together."""

import signal
import warnings
from importlib import import_module
from typing import Any

import structlog
from celery import Celery
from celery.apps.worker import Worker as CeleryWorker
from celery.platforms import SecurityWarning
from celery.signals import setup_logging
from celery.worker import state

from backend.accounts import tasks as accounts_tasks
from backend.catalogue import tasks as catalogue_tasks
from backend.datasets import tasks as datasets_tasks
from backend.generation import tasks as generation_tasks
from backend.jobs import tasks as jobs_tasks
from backend.jobs.bell import Ring, attach_bell
from backend.jobs.celery_app import make_celery, make_ring
from backend.jobs.dispatcher import Dispatcher
from backend.jobs.machine import worker_name
from backend.jobs.reaper import Reaper
from backend.jobs.runner import Workshop
from backend.judging import tasks as judging_tasks
from backend.kit.blobs import open_blobs
from backend.kit.database import Database
from backend.preferences import tasks as preferences_tasks
from backend.settings import Settings
from backend.training import tasks as training_tasks

log = structlog.get_logger()

# Importing them is what registers their handlers; whoever enqueues needs them too.
TASKS = (
    accounts_tasks,
    catalogue_tasks,
    datasets_tasks,
    generation_tasks,
    jobs_tasks,
    judging_tasks,
    preferences_tasks,
    training_tasks,
)


def load_handlers(settings: Settings) -> None:
    """Registers the job handlers of all rooms and of INPAINTDPO_EXTRA_TASK_MODULES; raises ModuleNotFoundError."""
    for name in settings.extra_task_modules.split(","):
        if name.strip():
            import_module(name.strip())


def connect_bell(settings: Settings, database: Database) -> None:
    """Lets jobs enqueued in `database` by this process be heard by the workers at once."""
    load_handlers(settings)
    ring: Ring | None = None

    def ring_lazily(job_id: int, queue: str) -> None:
        nonlocal ring
        ring = ring or make_ring(make_celery(settings))
        ring(job_id, queue)

    attach_bell(database, ring_lazily)


class BellListener(CeleryWorker):
    """Celery's worker reduced to hearing the bell."""

    def install_platform_tweaks(self, worker: Any) -> None:
        """Leaves signals to `_hear_signals`, which was there before there was anything to stop."""


def _hear_signals(dispatcher: Dispatcher) -> None:
    """Lets a signal stop claiming at once, and then the listener."""

    def stop(*_: Any) -> None:
        dispatcher.ask_to_stop()
        state.should_stop = 0

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)


def _listener(app: Celery, queue: str, dispatcher: Dispatcher) -> BellListener:
    # Messages are JSON and carry one number, so that an account of one's own is prudent but not a matter of safety.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    return BellListener(
        app=app,
        hostname=dispatcher.workshop.worker.replace("/", "."),
        queues=[queue],
        pool="threads",
        concurrency=2,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )


def run_worker(settings: Settings, queue: str) -> int:
    """Serves `queue` until SIGTERM or SIGINT; running jobs are then handed back. Returns the exit code."""
    load_handlers(settings)
    # Nobody may take over a job whose row a frozen worker has locked; its lease has lapsed by then anyway.
    database = Database(settings.resolved_database_url, idle_seconds=settings.job_lease_seconds)
    blobs = open_blobs(settings.resolved_blob_url, endpoint_url=settings.s3_endpoint_url)
    workshop = Workshop(settings, database, blobs, worker_name(queue))
    dispatcher = Dispatcher(workshop, queue, settings.gpu_slots if queue == "gpu" else settings.cpu_slots)
    reaper = Reaper(workshop, dispatcher)
    app = make_celery(settings, on_ring=lambda _job_id: dispatcher.wake())
    attach_bell(database, make_ring(app))
    setup_logging.connect(_keep_logging, weak=False)
    _hear_signals(dispatcher)
    log.info("worker ready", queue=queue, slots=dispatcher.slots)
    dispatcher.start()
    reaper.start()
    try:
        listener = _listener(app, queue, dispatcher)
        listener.start()
        code = listener.exitcode or 0
    finally:
        stopped = dispatcher.stop()
        reaper.stop()
        database.dispose()
    log.info("worker stopped")
    return code if stopped else 1


def _keep_logging(**_: Any) -> None:
    """Being connected to this signal keeps Celery from configuring the logs."""
