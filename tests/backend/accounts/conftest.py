"""Accounts are tested with the real hash at a tenth of its price; its own test sees to the real parameters."""

from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from backend.accounts import login, passwords
from backend.accounts.throttle import Throttle

CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(passwords, "_hasher", CHEAP)
    passwords.nobodys_hash.cache_clear()
    yield
    passwords.nobodys_hash.cache_clear()


@pytest.fixture(autouse=True)
def fresh_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "throttle", Throttle())
