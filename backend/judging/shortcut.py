"""The short way to the images of the judge screen: in front of the routes, by ticket, without the database.

Each comparison shows four, so this is most of what the service is asked for. Whatever is not plainly good here (no
ticket, no session proven a moment ago, an image that is not there) goes the long way, which knows all the answers.
"""

import re
from collections import OrderedDict

from anyio.to_thread import run_sync
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.accounts.access import RecentSessions
from backend.judging.images import IMAGE_HEADERS, bare_image
from backend.judging.tickets import Tickets
from backend.kit.blobs import BlobMissing, BlobStore
from backend.kit.database import Database

_PATH = re.compile(r"/judge/assignments/\d{1,18}/(?:images/\d|(subject)|(mask))")
_QUERY = b"ticket="
# An image is shown in several comparisons and to several people, often soon after each other.
KEPT_BYTES, LARGEST_KEPT = 64 << 20, 2 << 20


class KeptImages:
    """The images shown last, ready to be sent, up to KEPT_BYTES."""

    def __init__(self) -> None:
        self._images: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._bytes = 0

    def get(self, digest: str, mode: str) -> bytes | None:
        found = self._images.get((digest, mode))
        if found is not None:
            self._images.move_to_end((digest, mode))
        return found

    def keep(self, digest: str, mode: str, data: bytes) -> None:
        if len(data) > LARGEST_KEPT or (digest, mode) in self._images:
            return
        self._images[digest, mode] = data
        self._bytes += len(data)
        while self._bytes > KEPT_BYTES:
            self._bytes -= len(self._images.popitem(last=False)[1])


def cookie_of(scope: Scope, prefix: bytes) -> str | None:
    """The value of the cookie that begins with `prefix` (`name=`); None for programs, which send tokens."""
    cookies = b""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return None
        if name == b"cookie":
            cookies = value
    for part in cookies.split(b";"):
        part = part.strip()
        if part.startswith(prefix):
            return part[len(prefix) :].decode("latin-1")
    return None


class ImageShortcut:
    """Sends an image to whoever holds a good ticket for it under a session proven a moment ago."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        tickets: Tickets,
        blobs: BlobStore,
        recent: RecentSessions,
        cookie: str,
        database: Database,
    ) -> None:
        self.app = app
        self.tickets, self.blobs, self.recent, self.database = tickets, blobs, recent, database
        self.cookie = cookie.encode() + b"="
        self.kept = KeptImages()
        self.headers = [(name.encode(), value.encode()) for name, value in IMAGE_HEADERS.items()]
        self.headers.append((b"content-type", b"image/png"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        data = await self._find(scope)
        if data is None:
            await self.app(scope, receive, send)
            return
        if not self.database.is_sqlite:
            # Images are sent in no time, and would leave all the waiting to the answers that bring them.
            async with self.database.turns():
                pass
        headers = [*self.headers, (b"content-length", str(len(data)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": data})

    async def _find(self, scope: Scope) -> bytes | None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["query_string"].startswith(_QUERY):
            return None
        match = _PATH.fullmatch(scope["path"])
        cookie = cookie_of(scope, self.cookie) if match else None
        identity = self.recent.find(cookie) if cookie else None
        if match is None or identity is None:
            return None
        digest = self.tickets.read(scope["path"], identity.person.id, scope["query_string"][len(_QUERY) :])
        if digest is None:
            return None
        mode = "RGBA" if match[1] else "L" if match[2] else "RGB"
        data = self.kept.get(digest, mode)
        if data is None:
            try:
                data = await run_sync(bare_image, self.blobs, digest, mode)
            except BlobMissing:
                return None
            self.kept.keep(digest, mode, data)
        return data
