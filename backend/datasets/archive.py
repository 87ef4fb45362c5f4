"""A snapshot's folder as one tar: written the same every time, unpacked whole or not at all, read without unpacking."""

import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from backend.kit.blobs import BlobStore, file_digest
from trainer.contract.errors import SnapshotError
from trainer.contract.snapshot import MANIFEST, TABLES, Manifest, read_manifest

MEDIA_TYPE = "application/x-tar"


@dataclass(frozen=True)
class Contents:
    """The manifest and the tables (as rows) of an archive, without its images."""

    manifest: Manifest
    conditions: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    winners: list[dict[str, Any]]


def write_archive(folder: Path, target: Path, *, root: str) -> None:
    """Tars `folder` under the name `root`: manifest and tables first, then images by name; no times, no owners.

    The same folder gives the same bytes, and a reader of the tables needs only the beginning.
    """
    first = [folder / MANIFEST, *(folder / name for name in TABLES)]
    rest = sorted(path for path in folder.rglob("*") if path.is_file() and path not in first)
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in [*first, *rest]:
            info = tarfile.TarInfo(f"{root}/{path.relative_to(folder).as_posix()}")
            info.size = path.stat().st_size
            info.mode = 0o644
            with path.open("rb") as file:
                tar.addfile(info, file)


def unpack_archive(blobs: BlobStore, digest: str, folder: Path) -> Path:
    """Unpacks the archive into `folder`, which appears only when it is complete; returns it.

    A folder that is there already is left as it is where it holds a manifest. Raises BlobMissing where the archive is
    gone, and SnapshotError where its bytes are not those that were stored.
    """
    if (folder / MANIFEST).exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = folder.with_name(f".{folder.name}.{os.getpid()}.unpacking")
    tar_file = folder.with_name(f".{folder.name}.{os.getpid()}.tar")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        blobs.fetch(digest, tar_file)
        if file_digest(tar_file) != digest:
            raise SnapshotError("archive_altered", f"The stored archive {digest[:12]}… is damaged: its hash differs.")
        with tarfile.open(tar_file) as tar:
            for member in tar:
                _unpack_file(tar, member, staged)
        read_manifest(staged)
        shutil.rmtree(folder, ignore_errors=True)
        staged.replace(folder)
    finally:
        tar_file.unlink(missing_ok=True)
        shutil.rmtree(staged, ignore_errors=True)
    return folder


def _unpack_file(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Writes a plain file below `folder`, without the archive's root: Python before 3.11.4 has no extraction filter."""
    inner = PurePosixPath(member.name.partition("/")[2])
    source = tar.extractfile(member) if member.isfile() else None
    if source is None or inner.is_absolute() or ".." in inner.parts or not inner.parts:
        raise SnapshotError("archive_altered", f"The stored archive holds “{member.name}”, which no snapshot has.")
    target = folder / inner
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file)


def read_contents(blobs: BlobStore, digest: str) -> Contents:
    """Manifest and tables, read from the beginning of the archive; its images stay where they are."""
    found: dict[str, bytes] = {}
    wanted = {MANIFEST, *TABLES}
    with _ChunkReader(blobs.stream(digest)) as source, tarfile.open(fileobj=source, mode="r|") as tar:
        for member in tar:
            name = member.name.partition("/")[2]
            if name in wanted and (file := tar.extractfile(member)):
                found[name] = file.read()
            if len(found) == len(wanted):
                break
    tables = [pq.read_table(io.BytesIO(found[name])).to_pylist() for name in TABLES]
    return Contents(Manifest.model_validate_json(found[MANIFEST]), *tables)


class _ChunkReader(io.RawIOBase):
    """Chunks as a file that can only be read forwards, as `tarfile` wants it."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts, length = [self._left], len(self._left)
        while size < 0 or length < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            parts.append(chunk)
            length += len(chunk)
        data = b"".join(parts)
        if size < 0:
            size = len(data)
        self._left = data[size:]
        return data[:size]

    def close(self) -> None:
        closing = getattr(self._chunks, "close", None)
        if closing:
            closing()
        super().close()
