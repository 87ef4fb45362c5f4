"""Figures kept for a while, so that a page over a million votes costs its queries once and not at every look."""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from backend.kit.database import utcnow

Value = TypeVar("Value")

# A figure that took this long may be shown a while after something changed; a quicker one is made anew at once.
SLOW_SECONDS = 1.0
# As long again as it took, times this: making figures then takes at most a thirtieth of one process's time.
PATIENCE = 30
# Longest that a figure is kept even where nothing seems to have changed.
KEPT_SECONDS = 60.0
MOST = 128


@dataclass(frozen=True)
class _Kept:
    token: Hashable
    value: Any
    as_of: datetime
    made: float
    took: float

    def holds(self, token: Hashable, now: float) -> bool:
        age = now - self.made
        if self.token == token:
            return age < max(KEPT_SECONDS, PATIENCE * self.took)
        return self.took > SLOW_SECONDS and age < PATIENCE * self.took


class _Shelf:
    """What is kept of one database, and one lock a figure, so that of many who ask at once one computes."""

    def __init__(self) -> None:
        self.kept: dict[Hashable, _Kept] = {}
        self.locks: dict[Hashable, Lock] = {}
        self.lock = Lock()


_shelves: WeakKeyDictionary[Engine, _Shelf] = WeakKeyDictionary()
_shelves_lock = Lock()


def remembered(session: Session, key: Hashable, token: Hashable, make: Callable[[], Value]) -> tuple[Value, datetime]:
    """What `make` gives or gave for this key, and of what moment it is.

    It is made anew when `token` changes (the mark of the votes it was made of), unless making it took more than a
    second: then it may be as old as thirty times that.
    """
    engine = session.get_bind().engine
    with _shelves_lock:
        shelf = _shelves.setdefault(engine, _Shelf())
    with shelf.lock:
        lock = shelf.locks.setdefault(key, Lock())
    with lock:
        found = shelf.kept.get(key)
        if found is None or not found.holds(token, time.monotonic()):
            as_of, begun = utcnow(), time.monotonic()
            value = make()
            found = _Kept(token, value, as_of, begun, time.monotonic() - begun)
            with shelf.lock:
                _make_room(shelf)
                shelf.kept[key] = found
    return found.value, found.as_of


def _make_room(shelf: _Shelf) -> None:
    while len(shelf.kept) >= MOST:
        oldest = min(shelf.kept, key=lambda key: shelf.kept[key].made)
        del shelf.kept[oldest]
        shelf.locks.pop(oldest, None)
