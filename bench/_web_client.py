"""A load of annotators over HTTP/1.1: one kept-alive connection each, no thinking time, as little work as possible."""

import asyncio
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from backend.accounts.csrf import token_for

LENGTH = b"content-length:"
ANSWERS = (
    b'{"outcome":"choice","choice":"left","reasons":["scale"],"seconds":4.2}',
    b'{"outcome":"choice","choice":"right","reasons":["position"],"seconds":5.1}',
    b'{"outcome":"tie","seconds":7.5}',
)


class Connection(asyncio.Protocol):
    """One connection with one request under way at a time; bodies of images are counted, not kept."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self._parts: list[bytes] = []
        self._missing = -1
        self._head = b""
        self._status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream transport

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._head[:end].lower()
            self._status = int(head[9:12])
            place = head.find(LENGTH)
            self._missing = int(head[place + len(LENGTH) :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            data = self._head[end + 4 :]
            self._head = b""
        if data:
            self._parts.append(data)
            self._missing -= len(data)
        if self._missing == 0:
            body = b"".join(self._parts)
            self._parts, self._missing = [], -1
            waiting, self._waiting = self._waiting, None
            if waiting is not None and not waiting.done():
                waiting.set_result((self._status, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionError("The server closed the connection."))

    def send(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        assert self.transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._waiting


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


async def _work(who: Annotator, tally: Tally, until: float, warm: float) -> None:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", who.port)
    claim = who.head("POST", f"/api/v1/projects/{who.slug}/assignments", b'{"count":1}')
    turn = 0
    while time.perf_counter() < until:
        began = time.perf_counter()
        status, body = await connection.send(claim)
        claimed = time.perf_counter()
        if status != 200:
            tally.note(f"next {status}: {body[:200]!r}")
            await asyncio.sleep(0.05)
            continue
        items = json.loads(body)["items"]
        if not items:
            tally.ran_dry += 1
            await asyncio.sleep(0.05)
            continue
        item = items[0]
        paths = [path for name in who.pictures for path in ([item[name]] if name != "images" else item["images"])]
        looked = []
        for path in paths:
            at = time.perf_counter()
            status, body = await connection.send(who.head("GET", path))
            looked.append(time.perf_counter() - at)
            if status != 200 or not body.startswith(b"\x89PNG"):
                tally.note(f"image {status}")
        key = f"bench-{who.number}-{item['id']}"
        sent = time.perf_counter()
        answer = ANSWERS[turn % len(ANSWERS)]
        path = f"/api/v1/assignments/{item['id']}/judgment"
        status, body = await connection.send(who.head("POST", path, answer, f"idempotency-key: {key}\r\n"))
        ended = time.perf_counter()
        turn += 1
        if status != 201:
            tally.note(f"submit {status}: {body[:200]!r}")
            continue
        tally.keys.append(key)
        tally.answered += warm <= ended <= until
        if began >= warm and ended <= until:
            tally.times["next"].append(claimed - began)
            tally.times["image"].extend(looked)
            tally.times["submit"].append(ended - sent)
            tally.times["cycle"].append(ended - began)
    assert connection.transport is not None
    connection.transport.close()


async def _load(annotators: list[Annotator], seconds: float, warm_seconds: float, on_warm: Callable[[], None]) -> Tally:
    tally = Tally()
    start = time.perf_counter()
    cpu_before = 0.0

    async def note_cpu() -> None:
        nonlocal cpu_before
        await asyncio.sleep(warm_seconds)
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu_before = used.ru_utime + used.ru_stime
        on_warm()

    warm, until = start + warm_seconds, start + warm_seconds + seconds
    await asyncio.gather(note_cpu(), *(_work(who, tally, until, warm) for who in annotators))
    used = resource.getrusage(resource.RUSAGE_SELF)
    tally.seconds, tally.cpu_seconds = seconds, used.ru_utime + used.ru_stime - cpu_before
    return tally


def run_load(annotators: list[Annotator], seconds: float, warm_seconds: float, on_warm: Callable[[], None]) -> Tally:
    """Lets all annotators work at once; cycles that begin within the warm-up are not counted, `on_warm` ends it."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(_load(annotators, seconds, warm_seconds, on_warm))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_load(annotators, seconds, warm_seconds, on_warm))
