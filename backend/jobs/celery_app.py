"""The Celery application: one task, which rings the bell of a worker. No state is kept in it."""

from collections.abc import Callable
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from backend.jobs import folder_broker
from backend.jobs.bell import Ring
from backend.jobs.registry import QUEUES
from backend.settings import Settings

RING = "jobs.ring"
# A ring that was not heard for an hour is not needed: workers look for themselves.
RING_EXPIRES_SECONDS = 3600


def broker_options(settings: Settings) -> dict[str, Any]:
    """Celery's settings that depend on the kind of broker; makes the folders of the one that needs no server."""
    url = settings.resolved_broker_url
    if url.startswith("filesystem:"):
        messages = settings.home.absolute() / "broker" / "messages"
        control = messages.with_name("control")
        for folder in (messages, control):
            folder.mkdir(parents=True, exist_ok=True)
        options = {
            "data_folder_in": str(messages),
            "data_folder_out": str(messages),
            "control_folder": str(control),
            "polling_interval": 0.25,
        }
        return {
            "broker_url": "filesystem://localhost",
            "broker_transport": folder_broker.NAME,
            "broker_transport_options": options,
        }
    options = {
        "visibility_timeout": settings.broker_visibility_seconds,
        "global_keyprefix": settings.broker_prefix,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 25,
        # A request that rings must not wait for a broker that is down.
        "max_retries": 1,
        "interval_start": 0,
    }
    return {"broker_url": url, "broker_transport_options": options}


def make_celery(settings: Settings, on_ring: Callable[[int], None] | None = None) -> Celery:
    """The application on the broker of `settings`; `on_ring(job_id)` is what a worker does when the bell rings."""
    app = Celery("inpaintdpo", set_as_current=False)
    exchange = Exchange("inpaintdpo", type="direct")
    app.conf.update(
        **broker_options(settings),
        task_queues=[Queue(name, exchange, routing_key=name) for name in QUEUES],
        task_default_queue=QUEUES[0],
        task_default_exchange="inpaintdpo",
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        # The row is the truth: a message is done with as soon as it has been heard.
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        timezone="UTC",
    )

    @app.task(name=RING)
    def ring(job_id: int) -> None:
        if on_ring is not None:
            on_ring(job_id)

    return app


def make_ring(app: Celery) -> Ring:
    """A function that sends the doorbell message for a job to its queue."""

    def ring(job_id: int, queue: str) -> None:
        app.send_task(RING, args=[job_id], queue=queue, retry=False, expires=RING_EXPIRES_SECONDS)

    return ring
