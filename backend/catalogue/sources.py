"""Where an import's files come from: a folder, a zip or a bucket prefix, behind one small interface.

Each hands out the bytes of a relative path or says in words why it will not.
"""

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlparse

from backend.kit.errors import Invalid, NotFound

MANIFEST_NAMES = ("manifest.jsonl", "manifest.csv", "manifest.ndjson")
MAX_MANIFEST_BYTES = 256 << 20
MAX_FILES = 500_000
# Deflate reaches about 1000:1 on zeros; images are compressed already, so that an honest zip stays below 20:1.
MAX_RATIO = 100
RATIO_MATTERS_FROM = 10 << 20


class Refused(Exception):
    """A file that is missing or not to be read; the message is one clause that follows the file's name."""


class Source(Protocol):
    """`manifest` is the manifest's name for messages; `read` raises Refused."""

    manifest: str

    def read_manifest(self) -> bytes: ...
    def read(self, path: str, limit: int) -> bytes: ...


def _too_large(limit: int) -> Refused:
    return Refused(f"is larger than {limit >> 20} MB")


class FolderSource:
    """A manifest on this machine and the folder its paths start from (by default its own)."""

    def __init__(self, manifest: Path, root: Path | None = None) -> None:
        if manifest.is_dir():
            manifest = _manifest_in(manifest)
        if not manifest.is_file():
            raise NotFound(f"There is no manifest at {manifest}.")
        self.path = manifest
        self.manifest = manifest.name
        self.root = (root or manifest.parent).resolve()
        if not self.root.is_dir():
            raise NotFound(f"There is no folder {self.root}.")

    def read_manifest(self) -> bytes:
        if self.path.stat().st_size > MAX_MANIFEST_BYTES:
            raise Invalid(f"{self.manifest} is larger than {MAX_MANIFEST_BYTES >> 20} MB: split it.")
        return self.path.read_bytes()

    def read(self, path: str, limit: int) -> bytes:
        try:
            target = (self.root / path).resolve()
        except (OSError, RuntimeError):
            raise Refused("is a link that leads in a circle") from None
        if not target.is_relative_to(self.root):
            raise Refused("is a link that leaves the folder")
        if not target.is_file():
            raise Refused("is not there")
        if target.stat().st_size > limit:
            raise _too_large(limit)
        return target.read_bytes()


def _manifest_in(folder: Path) -> Path:
    for name in MANIFEST_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise NotFound(f"{folder} holds none of {', '.join(MANIFEST_NAMES)}.")


class ZipSource:
    """A zip with a manifest at its top or in its one top folder; sizes are bounded before anything is unpacked."""

    def __init__(self, file: Any, *, max_bytes: int) -> None:
        try:
            self.zip = zipfile.ZipFile(file)
        except zipfile.BadZipFile:
            raise Invalid("The upload is not a zip, or it arrived damaged: make it again.") from None
        self.entries = self._entries(max_bytes)
        self.manifest, self.prefix = self._find_manifest()

    def _entries(self, max_bytes: int) -> dict[str, zipfile.ZipInfo]:
        entries: dict[str, zipfile.ZipInfo] = {}
        infos = self.zip.infolist()
        if len(infos) > MAX_FILES:
            raise Invalid(f"The zip holds more than {MAX_FILES:,} files: split it.")
        total = 0
        for info in infos:
            if info.is_dir():
                continue
            name = str(PurePosixPath(info.filename.replace("\\", "/")))
            if name in entries:
                raise Invalid(f"The zip holds “{name}” twice: make it again.")
            total += info.file_size
            if info.file_size > RATIO_MATTERS_FROM and info.file_size > MAX_RATIO * max(info.compress_size, 1):
                raise Invalid(f"“{name}” unpacks to over {MAX_RATIO} times its packed size, as only a zip bomb does.")
            entries[name] = info
        if total > max_bytes:
            raise Invalid(f"The zip unpacks to {total >> 20} MB; at most {max_bytes >> 20} MB are taken: split it.")
        return entries

    def _find_manifest(self) -> tuple[str, str]:
        tops = {PurePosixPath(name).parts[0] for name in self.entries if PurePosixPath(name).parts}
        prefixes = ["", *(f"{top}/" for top in sorted(tops) if not top.startswith(("__MACOSX", ".")))]
        found = [(name, prefix) for prefix in prefixes for name in MANIFEST_NAMES if prefix + name in self.entries]
        if not found:
            raise Invalid(f"The zip holds none of {', '.join(MANIFEST_NAMES)} at its top: add the manifest.")
        if len({prefix for _, prefix in found}) > 1 and found[0][1]:
            raise Invalid("The zip holds several manifests: import each folder on its own.")
        return found[0]

    def _open(self, name: str, limit: int) -> bytes:
        info = self.entries.get(name)
        if info is None:
            raise Refused("is not in the zip")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise Refused("is a link; put the file itself into the zip")
        if info.flag_bits & 0x1:
            raise Refused("is encrypted; make the zip without a password")
        if info.file_size > limit:
            raise _too_large(limit)
        try:
            # The header may lie about the size: never read more than what was allowed for.
            with self.zip.open(info) as file:
                data = file.read(limit + 1)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError) as error:
            raise Refused(f"cannot be unpacked ({error})") from None
        if len(data) > limit:
            raise _too_large(limit)
        return data

    def read_manifest(self) -> bytes:
        try:
            return self._open(self.prefix + self.manifest, MAX_MANIFEST_BYTES)
        except Refused as error:
            raise Invalid(f"{self.manifest} {error}.") from None

    def read(self, path: str, limit: int) -> bytes:
        return self._open(self.prefix + path, limit)

    def close(self) -> None:
        self.zip.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BucketSource:
    """A prefix of an S3-compatible bucket that holds a manifest; credentials come from the usual AWS variables."""

    def __init__(self, url: str, *, endpoint_url: str | None) -> None:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        parts = urlparse(url)
        if parts.scheme != "s3" or not parts.netloc:
            raise Invalid(f"“{url}” is not a bucket prefix: write s3://bucket/folder.")
        self.bucket = parts.netloc
        self.prefix = parts.path.strip("/")
        self.errors = (BotoCoreError, ClientError)
        self.client = boto3.client("s3", endpoint_url=endpoint_url)
        names: tuple[str, ...] = MANIFEST_NAMES
        if self.prefix.endswith((".jsonl", ".csv", ".ndjson")):
            folder, _, name = self.prefix.rpartition("/")
            self.prefix, names = folder, (name,)
        for self.manifest in names:
            if self._size(self.manifest) is not None:
                return
        raise NotFound(f"{url} holds none of {', '.join(names)}, or the service may not read it.")

    def _key(self, path: str) -> str:
        return f"{self.prefix}/{path}".lstrip("/")

    def _size(self, path: str) -> int | None:
        try:
            return int(self.client.head_object(Bucket=self.bucket, Key=self._key(path))["ContentLength"])
        except self.errors:
            return None

    def read_manifest(self) -> bytes:
        try:
            return self.read(self.manifest, MAX_MANIFEST_BYTES)
        except Refused as error:
            raise Invalid(f"{self.manifest} {error}.") from None

    def read(self, path: str, limit: int) -> bytes:
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self._key(path))
            if int(answer["ContentLength"]) > limit:
                raise _too_large(limit)
            data: bytes = answer["Body"].read()
            return data
        except self.client.exceptions.NoSuchKey:
            raise Refused("is not in the bucket") from None
        except self.errors as error:
            raise Refused(f"cannot be read from the bucket ({error})") from None
