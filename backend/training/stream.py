"""A run's events as server-sent events: resumable by `Last-Event-ID`, ending when the run has."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Header, Query, Request
from fastapi.sse import ServerSentEvent

from backend.kit.database import Database
from backend.training import repository, views
from backend.training.models import Run

POLL_SECONDS = 0.7
BATCH = 500
# Long streams end now and then, so that a deployment can drain; clients come back with Last-Event-ID by themselves.
STREAM_SECONDS = 900
RETRY_MS = 2_000


def position(
    after: Annotated[int, Query(ge=-1, description="Send events with a higher `seq`.")] = -1,
    last_event_id: Annotated[
        str | None, Header(description="Sent by browsers that reconnect; wins over `after`.")
    ] = None,
) -> int:
    return int(last_event_id) if last_event_id and last_event_id.isdecimal() else after


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the database found."""

    events: list[dict[str, Any]]
    standing: dict[str, Any]


def _look(database: Database, run_id: int, after: int) -> Look:
    with database.reading() as session:
        run = session.get_one(Run, run_id)
        now = views.standing(session, run).as_dict()
        events = repository.events_after(session, run_id, after, BATCH)
        return Look([views.event_out(event).model_dump(mode="json") for event in events], now)


async def follow(request: Request, database: Database, run_id: int, after: int) -> AsyncIterator[ServerSentEvent]:
    """Each event by its kind and with its `seq` as id, `state` whenever the standing changes, `end` at the last."""
    ends_at = time.monotonic() + STREAM_SECONDS
    shown: dict[str, Any] | None = None
    yield ServerSentEvent(comment="events of the run", retry=RETRY_MS)
    while time.monotonic() < ends_at and not getattr(request.app.state, "stopping", False):
        look = await to_thread.run_sync(_look, database, run_id, after)
        for event in look.events:
            after = event["seq"]
            yield ServerSentEvent(event=event["kind"], id=str(after), data=event)
        if look.standing != shown:
            shown = look.standing
            yield ServerSentEvent(event="state", data=shown)
        if len(look.events) == BATCH:
            continue
        if not look.standing["is_active"]:
            yield ServerSentEvent(event="end", data=shown)
            return
        await asyncio.sleep(POLL_SECONDS)
        if await request.is_disconnected():
            return
