"""The schema's version: bringing a database to the newest one, and knowing whether it is there."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from backend.kit.database import Database

SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"


def alembic_config(database: Database) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["database"] = database
    return config


def migrate(database: Database, revision: str = "head") -> None:
    """Upgrades to `revision`; concurrent callers on Postgres wait for each other by an advisory lock."""
    command.upgrade(alembic_config(database), revision)


def downgrade(database: Database, revision: str = "base") -> None:
    command.downgrade(alembic_config(database), revision)


def head_revision() -> str | None:
    return ScriptDirectory(str(SCRIPTS)).get_current_head()


def current_revision(database: Database) -> str | None:
    with database.reader.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()
