"""The web server process."""

import gc
import signal
import socket

import structlog
import uvicorn
from starlette.datastructures import State
from starlette.types import ASGIApp

from backend.app import create_app
from backend.settings import Settings

log = structlog.get_logger()

# Streams of events stay open for ever; whoever listens comes back by himself.
GRACE_SECONDS = 3
BACKLOG = 2048
# Requests leave little behind in cycles. The default of 700 has the collector walk the whole application again and
# again, which took half of the time of a busy server.
GARBAGE_THRESHOLD = 50_000


class AddressTaken(Exception):
    """The address cannot be listened on; the message is for people."""


def listen(settings: Settings) -> socket.socket:
    """A listening socket at the configured address. Raises AddressTaken with the sentence that mends it."""
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise AddressTaken(
            f"Cannot listen on {host}:{port}: {error.strerror}. Set INPAINTDPO_HOST and INPAINTDPO_PORT "
            "to an address that is free (port 0 lets the system choose)."
        ) from None
    return listener


def address_of(listener: socket.socket, settings: Settings) -> str:
    """The URL people open: the public one, or this socket's."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    port = listener.getsockname()[1]
    host = settings.host
    if host in {"0.0.0.0", "::"}:
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class WebServer(uvicorn.Server):
    """Tells the application that it stops, so that streams which never end by themselves do."""

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self._state = state

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.stopping = True
        await super().shutdown(sockets)


def configured(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the application."""
    return uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        forwarded_allow_ips=settings.trusted_proxies,
    )


def serve(settings: Settings, listener: socket.socket) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code."""
    app = create_app(settings)
    config = configured(app, settings)
    log.info("web ready", address=address_of(listener, settings))
    # uvicorn raises the signal again when it has stopped; with its own end a server has done what was asked.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server = WebServer(config, app.state)
    gc.collect()
    # What is there now stays for good: the collector need not look at it.
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, 10, 10)
    server.run(sockets=[listener])
    log.info("web stopped")
    return 0
