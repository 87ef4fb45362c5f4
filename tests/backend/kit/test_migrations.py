"""The schema travels from empty to head and back, and the models say what the migrations say."""

from alembic import command
from sqlalchemy import inspect

from backend.kit.database import Database
from backend.kit.migrations import alembic_config, current_revision, downgrade, head_revision, migrate


def test_down_and_up_again(database: Database) -> None:
    downgrade(database)
    assert current_revision(database) is None
    assert set(inspect(database.engine).get_table_names()) <= {"alembic_version"}
    migrate(database)
    assert current_revision(database) == head_revision()


def test_models_match_the_migrations(database: Database) -> None:
    command.check(alembic_config(database))
