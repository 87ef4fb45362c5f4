"""Figures kept: made anew at once where there is little, behind the look where there is much."""

from collections.abc import Callable
from itertools import count

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from backend.kit.database import Database
from backend.preferences import remembered as room
from backend.preferences.remembered import Version, remembered


@pytest.fixture(autouse=True)
def _without_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PATIENCE", 0.0)


def shelf_of(database: Database) -> room._Shelf:
    return room._shelves[database.engine.pool]


def finish(database: Database) -> None:
    """Waits for what is counted behind the looks."""
    for thread in list(shelf_of(database).at_work.values()):
        thread.join(60)


def look(
    database: Database, mark: int, make: Callable[[Session], object], *, many: bool, key: tuple = ("figure", 1)
) -> object:
    with database.reading() as session:
        return remembered(session, key, Version(mark, many), make)[0]


def test_of_little_a_change_is_counted_at_once(database: Database) -> None:
    made = count(1)
    assert [look(database, mark, lambda _: next(made), many=False) for mark in (1, 1, 2, 2, 1)] == [1, 1, 2, 2, 3]
    assert not shelf_of(database).at_work


def test_of_much_the_look_gets_what_is_kept_and_the_next_one_what_changed(database: Database) -> None:
    made = count(1)
    assert [look(database, mark, lambda _: next(made), many=True) for mark in (1, 1, 2)] == [1, 1, 1]
    finish(database)
    assert look(database, 2, lambda _: next(made), many=True) == 2
    assert not shelf_of(database).at_work and next(made) == 3


def test_figures_that_cannot_be_counted_anew_stay_as_they_were(database: Database) -> None:
    def fail(_: object) -> int:
        raise OperationalError("SELECT", {}, Exception("cancelled"))

    assert look(database, 1, lambda _: 7, many=True) == 7
    assert look(database, 2, fail, many=True) == 7
    finish(database)
    assert look(database, 2, lambda _: 8, many=True) == 7
    finish(database)
    assert look(database, 2, lambda _: 9, many=True) == 8


def test_what_took_long_is_not_counted_again_soon(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PATIENCE", 1e9)
    made = count(1)
    assert [look(database, mark, lambda _: next(made), many=True) for mark in (1, 2, 3)] == [1, 1, 1]
    assert not shelf_of(database).at_work


def test_the_oldest_of_what_fills_memory_is_dropped(database: Database) -> None:
    for number in range(5):
        look(database, 1, lambda _: 0, many=True, key=("scored", number))
        look(database, 1, lambda _: 0, many=True, key=("light", number))
    kept = shelf_of(database).kept
    assert [key for key in kept if key[0] == "scored"] == [("scored", 2), ("scored", 3), ("scored", 4)]
    assert sum(key[0] == "light" for key in kept) == 5
