"""A POST sent twice acts once."""

import threading

import pytest
from pydantic import BaseModel

from backend.kit.database import Database
from backend.kit.errors import Conflict
from backend.kit.idempotency import idempotent


class Order(BaseModel):
    number: int


def test_second_request_gets_the_first_answer(database: Database) -> None:
    calls = []

    def act() -> Order:
        calls.append(1)
        return Order(number=len(calls))

    answers = []
    for _ in range(2):
        with database.transaction() as session:
            answers.append(idempotent(session, "orders", "k", Order(number=7), act))
    assert answers == [{"number": 1}, {"number": 1}]


def test_same_key_for_another_request_is_refused(database: Database) -> None:
    with database.transaction() as session:
        idempotent(session, "orders", "k", Order(number=7), lambda: Order(number=1))
    with pytest.raises(Conflict, match="use a new key"), database.transaction() as session:
        idempotent(session, "orders", "k", Order(number=8), lambda: Order(number=1))


def test_a_failed_request_leaves_the_key_free(database: Database) -> None:
    def fail() -> Order:
        raise Conflict("no")

    with pytest.raises(Conflict), database.transaction() as session:
        idempotent(session, "orders", "k", Order(number=7), fail)
    with database.transaction() as session:
        assert idempotent(session, "orders", "k", Order(number=7), lambda: Order(number=2)) == {"number": 2}


def test_concurrent_requests_act_once(database: Database) -> None:
    calls: list[int] = []
    answers: list[dict[str, int]] = []
    start = threading.Barrier(8)

    def act() -> Order:
        calls.append(1)
        return Order(number=len(calls))

    def send() -> None:
        start.wait()
        with database.transaction() as session:
            answers.append(idempotent(session, "orders", "k", Order(number=7), act))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert answers == [{"number": 1}] * 8
