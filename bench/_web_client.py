"""A load of annotators over HTTP/1.1: one kept-alive connection each, no thinking time, as little work as possible."""

import asyncio
import json
import resource
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from backend.accounts.csrf import token_for

LENGTH, CHUNKED = b"content-length:", b"transfer-encoding: chunked"
ANSWERS: tuple[dict[str, Any], ...] = (
    {"outcome": "choice", "choice": "left", "reasons": ["scale"], "seconds": 4.2},
    {"outcome": "choice", "choice": "right", "reasons": ["position"], "seconds": 5.1},
    {"outcome": "tie", "seconds": 7.5},
)
# Items that the judge screen keeps ready behind the one it shows.
AHEAD = 2


class Connection(asyncio.Protocol):
    """One connection with one request under way at a time; a body comes with its length or in chunks."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self._parts: list[bytes] = []
        self._missing: int | None = None
        self._in_chunks = False
        self._head = b""
        self._status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream transport

    def data_received(self, data: bytes) -> None:
        if self._missing is None:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._head[:end].lower()
            self._status = int(head[9:12])
            place = head.find(LENGTH)
            self._in_chunks = place < 0 and CHUNKED in head
            self._missing = int(head[place + len(LENGTH) :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            data = self._head[end + 4 :]
            self._head = b""
        if self._in_chunks:
            self._head += data
            if not self._read_chunks():
                return
        elif data:
            self._parts.append(data)
            self._missing -= len(data)
        if self._missing == 0:
            body = b"".join(self._parts)
            self._parts, self._missing = [], None
            waiting, self._waiting = self._waiting, None
            if waiting is not None and not waiting.done():
                waiting.set_result((self._status, body))

    def _read_chunks(self) -> bool:
        """Takes whole chunks out of what was received; whether that was the last."""
        while (end := self._head.find(b"\r\n")) >= 0:
            size = int(self._head[:end], 16)
            if len(self._head) < end + size + 4:
                return False
            self._parts.append(self._head[end + 2 : end + 2 + size])
            self._head = self._head[end + size + 4 :]
            if size == 0:
                return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionError("The server closed the connection."))

    def send(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        assert self.transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._waiting

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


@dataclass
class Tally:
    """What all annotators of one load saw; times in seconds by step, keys of the answers that were acknowledged."""

    times: dict[str, list[float]] = field(default_factory=lambda: {"next": [], "image": [], "submit": [], "cycle": []})
    errors: dict[str, int] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    answered: int = 0
    """Answers acknowledged within the measured time, whenever their cycle began."""
    ran_dry: int = 0

    def note(self, what: str) -> None:
        self.errors[what] = self.errors.get(what, 0) + 1

    def record(self, step: str, began: float, ended: float, warm: float, until: float) -> None:
        """Counts a step that lies within the measured time."""
        if began >= warm and ended <= until:
            self.times[step].append(ended - began)


class Worker(Protocol):
    """Whoever can work until the given moment of `time.perf_counter`; counted from `warm` on."""

    async def work(self, tally: Tally, warm: float, until: float) -> None: ...


@dataclass(frozen=True)
class Annotator:
    number: int
    cookie: str
    port: int
    slug: str
    pictures: tuple[str, ...]

    def head(self, method: str, path: str, body: bytes = b"", extra: str = "") -> bytes:
        lines = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncookie: inpaintdpo={self.cookie}\r\n"
        if body:
            lines += (
                f"x-csrf-token: {token_for(self.cookie)}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\n"
            )
        return f"{lines}{extra}\r\n".encode() + body

    async def work(self, tally: Tally, warm: float, until: float) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", self.port)
        screen = Screen(self, connection, tally, warm, until)
        while time.perf_counter() < until:
            if screen.items:
                await screen.answer()
                continue
            await screen.claim()
            if not screen.items:
                tally.ran_dry += 1
                await asyncio.sleep(0.05)
        connection.close()


class Screen:
    """One annotator at the judge screen, with the requests that it sends: an answer leases what comes next."""

    def __init__(self, who: Annotator, connection: Connection, tally: Tally, warm: float, until: float) -> None:
        self.who, self.connection, self.tally = who, connection, tally
        self.warm, self.until = warm, until
        self.items: deque[dict[str, Any]] = deque()
        self.turn = 0

    def _note(self, step: str, began: float, ended: float) -> None:
        self.tally.record(step, began, ended, self.warm, self.until)

    async def claim(self) -> None:
        """Leases what is missing on the screen and behind it."""
        holding = [item["id"] for item in self.items]
        body = json.dumps({"count": AHEAD + 1 - len(holding), "holding": holding}).encode()
        began = time.perf_counter()
        status, answer = await self.connection.send(
            self.who.head("POST", f"/api/v1/projects/{self.who.slug}/assignments", body)
        )
        self._note("next", began, time.perf_counter())
        if status != 200:
            self.tally.note(f"next {status}: {answer[:200]!r}")
        else:
            await self._accept(json.loads(answer)["items"])

    async def _accept(self, items: list[dict[str, Any]]) -> None:
        """Fetches the pictures of new items, as the screen does before it shows them."""
        for item in items:
            self.items.append(item)
            for path in [path for name in self.who.pictures for path in _paths(item[name])]:
                began = time.perf_counter()
                status, body = await self.connection.send(self.who.head("GET", path))
                self._note("image", began, time.perf_counter())
                if status != 200 or not body.startswith(b"\x89PNG"):
                    self.tally.note(f"image {status}")

    async def answer(self) -> None:
        """Answers the item on screen; what comes next comes with the response."""
        item = self.items.popleft()
        key = f"bench-{self.who.number}-{item['id']}"
        holding = [each["id"] for each in (*self.items, item)]
        claim = {"count": AHEAD + 1 - len(self.items), "holding": holding}
        body = json.dumps(ANSWERS[self.turn % len(ANSWERS)] | {"next": claim}).encode()
        self.turn += 1
        path = f"/api/v1/assignments/{item['id']}/judgment"
        began = time.perf_counter()
        status, said = await self.connection.send(self.who.head("POST", path, body, f"idempotency-key: {key}\r\n"))
        ended = time.perf_counter()
        self._note("submit", began, ended)
        if status != 201:
            self.tally.note(f"submit {status}: {said[:200]!r}")
            return
        self.tally.keys.append(key)
        self.tally.answered += self.warm <= ended <= self.until
        following = json.loads(said)["next"]
        if following is None:
            await self.claim()
        else:
            await self._accept(following["items"])
        self._note("cycle", began, time.perf_counter())


def _paths(found: str | list[str]) -> list[str]:
    return [found] if isinstance(found, str) else found


async def _load(workers: Sequence[Worker], seconds: float, warm_seconds: float, at_edge: Callable[[], None]) -> Tally:
    tally = Tally()
    start = time.perf_counter()
    cpu: list[float] = []

    async def look_at(moment: float) -> None:
        await asyncio.sleep(moment - time.perf_counter())
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu.append(used.ru_utime + used.ru_stime)
        at_edge()

    warm, until = start + warm_seconds, start + warm_seconds + seconds
    await asyncio.gather(look_at(warm), look_at(until), *(worker.work(tally, warm, until) for worker in workers))
    tally.seconds, tally.cpu_seconds = seconds, cpu[1] - cpu[0]
    return tally


def run_load(workers: Sequence[Worker], seconds: float, warm_seconds: float, at_edge: Callable[[], None]) -> Tally:
    """Lets all work at once; what begins within the warm-up is not counted. `at_edge` is called when the measured time
    begins and when it ends."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(_load(workers, seconds, warm_seconds, at_edge))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_load(workers, seconds, warm_seconds, at_edge))
