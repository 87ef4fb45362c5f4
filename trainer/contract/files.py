"""Durable files: write beside, fsync, rename; hash by streaming."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path


def sha256_bytes(data: bytes) -> str:
    """Lower-case hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Lower-case hex SHA-256 of a file, read in pieces of 1 MiB."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fsync_path(path: Path) -> None:
    """Flush a file or a directory entry to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a crash leaves either the old file or the new one, never half of it."""
    # Processes of several machines may write into one folder and have one number.
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with staged.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        staged.replace(path)
    except OSError:
        staged.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def take_umask(folder: Path) -> None:
    """Give `folder` and all that lies in it the mode of what is made anew, by the umask.

    safetensors writes files that their owner alone can read, and a copy has the mode of what was copied.
    """
    probe = folder / ".probe"
    probe.touch()
    mode = probe.stat().st_mode & 0o666
    probe.unlink()
    for root, _directories, files in os.walk(folder):
        places = [(Path(root), mode | (mode & 0o444) >> 2), *((Path(root) / name, mode) for name in files)]
        for path, wanted in places:
            now = path.stat().st_mode & 0o7777
            if now & 0o777 != wanted:
                path.chmod(now & 0o7000 | wanted)


def fsync_tree(folder: Path) -> None:
    """Flush every file and directory under `folder`, deepest first."""
    for root, _directories, files in os.walk(folder, topdown=False):
        for name in files:
            fsync_path(Path(root) / name)
        fsync_path(Path(root))
