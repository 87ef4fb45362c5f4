"""Encoded tensors on disk: safetensors shards, found by key, written whole or not at all.

A key is the hash of everything its tensors were computed from, so a shard never goes stale: what changed has another
key. A shard's name holds the hash of its bytes, so one that a disk has changed is noticed. Building stops anywhere, by
SIGKILL too, and goes on with what is missing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from trainer.contract.errors import StorageError
from trainer.contract.files import fsync_path, sha256_file

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.backbones.protocol import Tensors

_log = logging.getLogger(__name__)

SHARD_BYTES = 64 * 2**20
SHARD_SECONDS = 20.0
"""Work that a crash may lose: a shard is written when it is this large or this old."""
ABANDONED_SECONDS = 3600.0
"""Age at which a half-written shard cannot be another process's work in hand."""
SUFFIX = ".safetensors"


def content_key(*parts: object) -> str:
    """The key (32 hex digits) of what these parts determine; parts are JSON values."""
    body = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(body.encode(), digest_size=16).hexdigest()


class ShardStore:
    """Named tensors by key under `folder`, each key with one or more tensors without batch axis, on the CPU.

    Without a folder everything stays in memory.

    A shard whose bytes are not those that were written is removed, which is logged; its keys count as missing. Raises
    StorageError when the folder cannot be used.
    """

    def __init__(
        self, folder: Path | None, *, shard_bytes: int = SHARD_BYTES, shard_seconds: float = SHARD_SECONDS
    ) -> None:
        self.folder = folder
        self._shard_bytes, self._shard_seconds = shard_bytes, shard_seconds
        self._files: dict[Path, Any] = {}
        self._places: dict[str, tuple[Path, list[str]]] = {}
        self._pending: dict[str, Tensors] = {}
        self._pending_bytes = 0
        self._since = time.monotonic()
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for staged in folder.glob(".*.part"):
                if time.time() - staged.stat().st_mtime > ABANDONED_SECONDS:
                    staged.unlink(missing_ok=True)
            self.reopen()
        except OSError as error:
            raise StorageError("cache_unusable", f"The cache {folder} cannot be used: {error}.") from error

    def reopen(self) -> None:
        """See the shards that other processes have written since."""
        for path in sorted(self.folder.glob("*" + SUFFIX)) if self.folder else ():
            if path not in self._files:
                self._open(path)

    def _open(self, path: Path) -> None:
        try:
            intact = path == self._named(path)
        except FileNotFoundError:
            return  # another process has found it damaged and removed it
        if not intact:
            _log.warning("The cached shard %s is damaged: it is removed, and what was in it is computed anew.", path)
            path.unlink(missing_ok=True)
            return
        self._files[path] = handle = safe_open(path, framework="pt")
        names = handle.keys()
        for name in names:
            key, _, tensor = name.partition("/")
            place = self._places.setdefault(key, (path, []))
            if place[0] == path:
                place[1].append(tensor)

    def _named(self, written: Path) -> Path:
        """Where a file of these bytes belongs."""
        return written.with_name(sha256_file(written)[:32] + SUFFIX)

    def __contains__(self, key: str) -> bool:
        return key in self._places or key in self._pending

    def __len__(self) -> int:
        return len(self._places) + len(self._pending)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that are not there."""
        return [key for key in keys if key not in self]

    def __getitem__(self, key: str) -> Tensors:
        if key in self._pending:
            return self._pending[key]
        path, names = self._places[key]
        handle = self._files[path]
        return {name: handle.get_tensor(f"{key}/{name}") for name in names}

    def one(self, key: str, name: str) -> Tensor:
        """One tensor of a key."""
        if key in self._pending:
            return self._pending[key][name]
        return self._files[self._places[key][0]].get_tensor(f"{key}/{name}")

    def put(self, entries: Mapping[str, Tensors]) -> None:
        """Take in what was computed in one go; it lands in one shard, or is lost together in a crash."""
        if not self._pending:
            self._since = time.monotonic()
        for key, tensors in entries.items():
            if key not in self:
                self._pending[key] = {
                    name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()
                }
                self._pending_bytes += sum(value.nbytes for value in tensors.values())
        if self._pending_bytes >= self._shard_bytes or time.monotonic() - self._since >= self._shard_seconds:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as one shard, atomically."""
        if not self._pending or self.folder is None:
            return
        from safetensors.torch import save_file

        staged = self.folder / f".{uuid.uuid4().hex}.part"
        tensors = {f"{key}/{name}": value for key, item in self._pending.items() for name, value in item.items()}
        try:
            save_file(tensors, staged)
            fsync_path(staged)
            path = self._named(staged)
            staged.replace(path)
            fsync_path(self.folder)
        except (OSError, SafetensorError) as error:
            staged.unlink(missing_ok=True)
            raise StorageError("cache_unwritable", f"The cache {self.folder} could not be written: {error}.") from error
        self._pending.clear()
        self._pending_bytes = 0
        self._open(path)
