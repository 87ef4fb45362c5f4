"""A brake on guessing passwords.

Counts failures in the memory of one web process: it needs no table and no server, forgets on restart, and counts each
process apart. It fails open by design: what really keeps passwords safe is Argon2 and their length.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from backend.kit.errors import TooMany

WINDOW_SECONDS = 15 * 60
# A person who mistypes gets here rarely; a guesser gets fewer than a thousand tries a day.
FAILURES_PER_ACCOUNT = 8
# An office behind one address has many people, but not many who are wrong at once.
FAILURES_PER_ADDRESS = 60
MAX_KEYS = 20_000


class Throttle:
    """Failures a key within the window; keys are forgotten oldest first when there are too many."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, ...], deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, address: str, email: str) -> None:
        """Raises TooMany while the account or the address has failed too often."""
        with self._lock:
            for key, limit in self._limits(address, email):
                recent = self._recent(key)
                if len(recent) >= limit:
                    wait = int(recent[0] + WINDOW_SECONDS - self._clock()) + 1
                    minutes = -(-wait // 60)
                    raise TooMany(
                        f"Too many failed attempts to log in. Wait {minutes} minute{'s' if minutes != 1 else ''} and "
                        "try again, or ask an admin for a login link.",
                        retry_after=wait,
                    )

    def failed(self, address: str, email: str) -> None:
        with self._lock:
            for key, _ in self._limits(address, email):
                recent = self._recent(key)
                recent.append(self._clock())
                self._failures[key] = recent
                self._failures.move_to_end(key)
            while len(self._failures) > MAX_KEYS:
                self._failures.popitem(last=False)

    def succeeded(self, address: str, email: str) -> None:
        with self._lock:
            self._failures.pop((address, email.casefold()), None)

    def _limits(self, address: str, email: str) -> tuple[tuple[tuple[str, ...], int], ...]:
        return ((address, email.casefold()), FAILURES_PER_ACCOUNT), ((address,), FAILURES_PER_ADDRESS)

    def _recent(self, key: tuple[str, ...]) -> deque[float]:
        recent = self._failures.get(key, deque())
        while recent and recent[0] <= self._clock() - WINDOW_SECONDS:
            recent.popleft()
        return recent
