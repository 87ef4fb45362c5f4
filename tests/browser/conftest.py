"""A real Chromium and a real server for the tests of pages."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, expect

from backend.accounts import sessions
from backend.accounts.models import Person
from backend.kit.database import Database

# What a page may take on a busy machine; no test waits this long for something that comes.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
LogIn = Callable[..., BrowserContext]


@pytest.fixture
def live_server(app: FastAPI) -> Iterator[str]:
    """The application of `app` behind a real server on a free port; its URL."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listener.close()


@pytest.fixture
def logged_in(browser: Browser, live_server: str, database: Database) -> Iterator[LogIn]:
    """Makes browser contexts that are logged in as a person: ``logged_in(person, width=1440, height=900)``."""
    contexts: list[BrowserContext] = []

    def log_in(person: Person, *, width: int = 1440, height: int = 900) -> BrowserContext:
        context = browser.new_context(base_url=live_server, viewport={"width": width, "height": height})
        context.set_default_timeout(PATIENCE_MS)
        renew_login(context, live_server, database, person)
        contexts.append(context)
        return context

    yield log_in
    for context in contexts:
        context.close()


def renew_login(context: BrowserContext, url: str, database: Database, person: Person) -> None:
    """Gives the context the cookie of a new session of `person`."""
    with database.transaction() as session:
        cookie = sessions.start_session(session, person, "tests")
    context.add_cookies([{"name": "inpaintdpo", "value": cookie, "url": url, "httpOnly": True}])
