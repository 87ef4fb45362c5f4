"""The schema travels from empty to head and back, and the models say what the migrations say."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from sqlalchemy import inspect, text

from backend.kit.database import Database
from backend.kit.migrations import alembic_config, current_revision, downgrade, head_revision, migrate

# The lock of migrations/env.py, and longer than a migration waits for any other lock.
ADVISORY_LOCK, WAITED = 751_244_903, 5.5


def test_down_and_up_again(database: Database) -> None:
    downgrade(database)
    assert current_revision(database) is None
    assert set(inspect(database.engine).get_table_names()) <= {"alembic_version"}
    migrate(database)
    assert current_revision(database) == head_revision()


def test_who_migrates_beside_another_waits_for_as_long_as_that_takes(database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite has one writer.")
    watching = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory' "
        f"AND clock_timestamp() - query_start > interval '{WAITED} seconds'"
    )
    with ThreadPoolExecutor() as threads, database.engine.connect() as other, database.engine.connect() as watcher:
        other.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
        migrating = threads.submit(migrate, database)
        while not migrating.done() and not watcher.scalar(text(watching)):
            watcher.rollback()  # within a transaction the same activity is shown again
            time.sleep(0.1)
        other.rollback()
    migrating.result()


def test_models_match_the_migrations(database: Database) -> None:
    command.check(alembic_config(database))
