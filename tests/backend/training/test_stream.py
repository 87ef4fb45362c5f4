"""The event stream over HTTP: every event once and in order, resumable, ending with the run."""

import json
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from backend.kit.database import Database, utcnow
from backend.training.models import RunEvent
from tests.backend.training.conftest import World


@pytest.fixture
def ended(lead: TestClient, world: World, database: Database) -> str:
    """The URL of a cancelled run with five events."""
    run_id = lead.post("/api/v1/runs", json=world.body()).json()["id"]
    with database.transaction() as session:
        for seq in range(5):
            event = RunEvent(
                run_id=run_id, seq=seq, kind="metrics", step=seq + 1, time=utcnow(), body={"values": {"loss": seq}}
            )
            session.add(event)
    url = f"/api/v1/runs/{run_id}"
    lead.post(f"{url}/cancel")
    return f"{url}/stream"


def messages(text: str) -> Iterator[dict[str, str]]:
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines() if line and not line.startswith(":")]
        if lines:
            yield {name: value for name, _, value in lines}


def test_an_ended_run_is_told_whole_and_closed(lead: TestClient, ended: str) -> None:
    answer = lead.get(ended)
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = list(messages(answer.text))
    assert [message.get("event") for message in told] == [None, *["metrics"] * 5, "state", "end"]
    assert told[0]["retry"] == "2000"
    assert [message["id"] for message in told[1:6]] == ["0", "1", "2", "3", "4"]
    assert json.loads(told[3]["data"])["body"] == {"values": {"loss": 2}}
    end = json.loads(told[-1]["data"])
    assert (end["state"], end["is_active"], end["words"]) == ("cancelled", False, "Stopped on request")


def test_a_client_that_comes_back_goes_on_where_it_was(lead: TestClient, ended: str) -> None:
    told = [m["id"] for m in messages(lead.get(ended, headers={"last-event-id": "2"}).text) if "id" in m]
    assert told == ["3", "4"]
    told = [m["id"] for m in messages(lead.get(ended, params={"after": 3}).text) if "id" in m]
    assert told == ["4"]
    both = lead.get(ended, params={"after": 0}, headers={"last-event-id": "3"})
    assert [m["id"] for m in messages(both.text) if "id" in m] == ["4"]
