"""Tickets: an image's address with the proof that its reader was handed it, so that showing it asks no database.

A ticket holds the digest of the stored image, hidden, and a signature. It is good for one path, one person and two days
at most; whoever comes without one, or with one that is not good, is looked up in the database instead.
"""

import base64
import binascii
import hmac
import time

DAY = 86_400
_DIGEST, _SIGNATURE = 32, 16


class Tickets:
    """Makes and reads tickets with a secret that only servers know."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def address(self, path: str, person_id: int, digest: str) -> str:
        """`path` with a ticket for the image that is stored under `digest` (SHA-256, hex)."""
        scope = _scope(path, person_id, _today())
        hidden = self._hide(scope, bytes.fromhex(digest))
        ticket = base64.urlsafe_b64encode(hidden + self._sign(scope, hidden)).decode()
        return f"{path}?ticket={ticket}"

    def read(self, path: str, person_id: int, ticket: bytes) -> str | None:
        """The digest that a good ticket holds, else None."""
        try:
            data = base64.b64decode(ticket, b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        hidden, signature = data[:_DIGEST], data[_DIGEST:]
        for day in (_today(), _today() - 1):
            scope = _scope(path, person_id, day)
            if hmac.compare_digest(signature, self._sign(scope, hidden)):
                return self._hide(scope, hidden).hex()
        return None

    def _hide(self, scope: bytes, digest: bytes) -> bytes:
        """The digest under a pad of its own, which is its own inverse: a known list of digests names no image."""
        pad = hmac.digest(self._secret, b"hide " + scope, "sha256")
        return (int.from_bytes(digest) ^ int.from_bytes(pad)).to_bytes(_DIGEST)

    def _sign(self, scope: bytes, hidden: bytes) -> bytes:
        return hmac.digest(self._secret, b"sign " + scope + b" " + hidden, "sha256")[:_SIGNATURE]


def _scope(path: str, person_id: int, day: int) -> bytes:
    return f"{day} {person_id} {path}".encode()


def _today() -> int:
    return int(time.time() // DAY)
