"""Alembic's entry: migrates the database handed over by `backend.kit.migrations`, or that of the settings."""

from typing import Any

from alembic import context
from sqlalchemy import Connection, text

from backend.kit.database import Database, UtcDateTime
from backend.models import Base
from backend.settings import Settings

# A migration may wait this long for a lock before it gives way to the running service.
LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "15min"
# Any fixed number: it only has to be the same for everyone who migrates this database.
ADVISORY_LOCK = 751_244_903


def render_item(kind: str, item: Any, context: Any) -> str | bool:
    """Migrations name plain types, so that they outlive the classes of the service."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and "JSONB" in repr(item):
        context.imports.add("from sqlalchemy.dialects import postgresql")
    return False


def run(connection: Connection) -> None:
    on_postgres = connection.dialect.name == "postgresql"
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=not on_postgres,
        compare_type=True,
        render_item=render_item,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        if on_postgres:
            connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))
            # Another one that migrates may take long; waiting for it is no waiting for the service.
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        context.run_migrations()


database = context.config.attributes.get("database") or Database(Settings().resolved_database_url)
with database.engine.connect() as connection:
    if database.is_sqlite:
        # A table made anew is dropped first, and with its keys in force that would delete what refers to it.
        connection.connection.execute("PRAGMA foreign_keys=OFF")  # type: ignore[attr-defined]  # the driver's own
    run(connection)
    connection.commit()
    if database.is_sqlite:
        connection.connection.execute("PRAGMA foreign_keys=ON")  # type: ignore[attr-defined]  # the driver's own
