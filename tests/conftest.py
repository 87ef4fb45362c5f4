"""Fixtures shared by all tests: real services, migrated databases, the real application."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, sync_playwright
from sqlalchemy import create_engine, make_url, text

from backend.app import create_app
from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database
from backend.kit.migrations import migrate
from backend.settings import Settings
from tests import services

# The default rendering of tracebacks, with all locals, takes minutes where an application is among them.
structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NEEDS = ("postgres", "redis", "browser")
_running = ExitStack()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--embedded", action="store_true", help="Run only the tests that need no service.")


def pytest_configure(config: pytest.Config) -> None:
    """Starts the services once, in the process that the workers of a parallel run inherit their environment from."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if hasattr(config, "workerinput") or config.getoption("--embedded") or config.option.collectonly:
        return
    try:
        os.environ[services.POSTGRES_URL] = _running.enter_context(services.postgres())
        os.environ[services.REDIS_URL] = _running.enter_context(services.redis())
        os.environ[services.CHROMIUM] = services.find_chromium()
    except services.MissingService as error:
        _running.close()
        pytest.exit(str(error), returncode=3)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        _running.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # The longest begin first, so that none is left to run alone at the end.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    if not config.getoption("--embedded"):
        return
    without = [item for item in items if not any(item.get_closest_marker(need) for need in NEEDS)]
    config.hook.pytest_deselected(items=[item for item in items if item not in without])
    items[:] = without


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "template.sqlite"
    database = Database(f"sqlite:///{path}")
    migrate(database)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("BEGIN")
    database.dispose()
    return path


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[str]:
    """The name of a migrated Postgres database to copy."""
    name = f"template_{secrets.token_hex(4)}"
    server = make_url(os.environ[services.POSTGRES_URL])
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    database = Database(server.set(database=name).render_as_string(hide_password=False))
    migrate(database)
    database.dispose()
    yield name
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """The URL of an empty, migrated SQLite database."""
    path = tmp_path / "inpaintdpo.sqlite"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres_template: str) -> Iterator[str]:
    """The URL of an empty, migrated Postgres database."""
    name = f"test_{secrets.token_hex(6)}"
    server = make_url(os.environ[services.POSTGRES_URL])
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {postgres_template}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def redis_url() -> str:
    return os.environ[services.REDIS_URL]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """Every test of the data layer runs on both databases."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(_env_file=None, home=tmp_path / "home", database_url=database_url, demo=False)


@pytest.fixture
def blobs(settings: Settings) -> LocalBlobs:
    """The local blob store that the application of `app` uses too."""
    return LocalBlobs(settings.home.absolute() / "blobs")


@pytest.fixture
def app(settings: Settings, database: Database) -> FastAPI:
    return create_app(settings, database=database)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client of the real application; an unexpected error is answered, not raised, as it is in production."""
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as client:
        yield client


@pytest.fixture(scope="session")
def chromium_path() -> str:
    return services.find_chromium()


@pytest.fixture(scope="session")
def browser(chromium_path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()
