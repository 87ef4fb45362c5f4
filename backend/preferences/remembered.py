"""Figures kept for a while, so that a page over a million votes costs its queries once and not at every look.

Where there is little, what is kept is made anew as soon as anything changed. Where there is much, a look is given what
is kept, with the moment of which it is, and what changed since is counted behind it.
"""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from threading import Lock, Thread
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import structlog
from sqlalchemy import Engine, Pool
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.kit.database import utcnow

Value = TypeVar("Value")

# After counting for so long, a process rests so many times as long before it counts the same again.
PATIENCE = 30
# Longest that a figure is kept even where nothing seems to have changed.
KEPT_SECONDS = 60.0
MOST = 128
# What fills memory is kept for fewer keys; kinds are told by the first part of a key.
MOST_OF_KIND = {"scored": 3}

log = structlog.get_logger()


class Version(NamedTuple):
    """What a figure is made of: `mark` changes with it; `many` says that counting it would keep a reader waiting."""

    mark: Hashable
    many: bool


@dataclass(frozen=True)
class _Kept:
    mark: Hashable
    value: Any
    as_of: datetime
    made: float
    took: float

    def is_current(self, version: Version) -> bool:
        return self.mark == version.mark and time.monotonic() - self.made < max(KEPT_SECONDS, PATIENCE * self.took)

    @property
    def may_be_counted_again(self) -> bool:
        return time.monotonic() - self.made > PATIENCE * self.took


class _Shelf:
    """What is kept of one database, and one lock a figure, so that of many who ask at once one computes."""

    def __init__(self) -> None:
        self.kept: dict[tuple[Hashable, ...], _Kept] = {}
        self.locks: dict[tuple[Hashable, ...], Lock] = {}
        self.at_work: dict[tuple[Hashable, ...], Thread] = {}
        self.lock = Lock()
        # One figure at a time is counted behind the pages, or they would take the time of those who judge.
        self.counting = Lock()

    def put(self, key: tuple[Hashable, ...], version: Version, make: Callable[[], Any]) -> _Kept:
        as_of, begun = utcnow(), time.monotonic()
        value = make()
        found = _Kept(version.mark, value, as_of, begun, time.monotonic() - begun)
        with self.lock:
            self._make_room(key)
            self.kept[key] = found
        return found

    def _make_room(self, key: tuple[Hashable, ...]) -> None:
        most = MOST_OF_KIND.get(str(key[0]))
        if most is not None:
            self._drop_oldest([one for one in self.kept if one != key and one[0] == key[0]], most)
        self._drop_oldest([one for one in self.kept if one != key], MOST)

    def _drop_oldest(self, keys: list[tuple[Hashable, ...]], most: int) -> None:
        for key in sorted(keys, key=lambda one: self.kept[one].made)[: max(0, len(keys) - most + 1)]:
            del self.kept[key]
            self.locks.pop(key, None)


# By pool: a database's engines for reading and for writing share theirs.
_shelves: WeakKeyDictionary[Pool, _Shelf] = WeakKeyDictionary()
_shelves_lock = Lock()


def remembered(
    session: Session, key: tuple[Hashable, ...], version: Version, make: Callable[[Session], Value]
) -> tuple[Value, datetime]:
    """What `make` gives or gave for this key, and of what moment it is.

    It is made at once where nothing is kept, and where the version changed and is not of many. Else the kept figure is
    given, and one of a changed version is counted anew in a thread and a session of its own.
    """
    bind = session.get_bind().engine
    with _shelves_lock:
        shelf = _shelves.setdefault(bind.pool, _Shelf())
    with shelf.lock:
        lock = shelf.locks.setdefault(key, Lock())
    with lock:
        found = shelf.kept.get(key)
        if found is None or not (version.many or found.is_current(version)):
            found = shelf.put(key, version, lambda: make(session))
        elif not found.is_current(version) and found.may_be_counted_again:
            # On SQLite a writer would wait for it, were it not told that it only reads.
            _count_behind(bind.execution_options(begin_mode="DEFERRED"), shelf, key, version, make)
    return found.value, found.as_of


def _count_behind(
    bind: Engine, shelf: _Shelf, key: tuple[Hashable, ...], version: Version, make: Callable[[Session], Any]
) -> None:
    def count() -> None:
        try:
            with shelf.counting, Session(bind, expire_on_commit=False) as session:
                shelf.put(key, version, lambda: make(session))
        except SQLAlchemyError:
            log.exception("figures_not_counted", figures=key[0], outcome="those of before stay")
        finally:
            with shelf.lock:
                shelf.at_work.pop(key, None)

    with shelf.lock:
        if key in shelf.at_work:
            return
        thread = Thread(target=count, name=f"count {key[0]}", daemon=True)
        shelf.at_work[key] = thread
    thread.start()
