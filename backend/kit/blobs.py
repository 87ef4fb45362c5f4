"""Content-addressed storage of bytes: a local folder or an S3-compatible bucket behind one small interface."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

CHUNK = 1 << 20


class BlobMissing(LookupError):
    """No blob with this digest is stored."""


class BlobStore(Protocol):
    """Blobs are named by the SHA-256 (hex) of their bytes; storing the same bytes twice is a no-op."""

    def put(self, data: bytes) -> str: ...
    def put_file(self, path: Path) -> str: ...
    def read(self, digest: str) -> bytes: ...
    def stream(self, digest: str) -> Iterator[bytes]: ...
    def exists(self, digest: str) -> bool: ...
    def fetch(self, digest: str, path: Path) -> None: ...
    def check(self) -> None: ...


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class LocalBlobs:
    """Blobs as files under `root/ab/abcdef…`, published by rename so that a reader never sees half of one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.root.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        return self.root / digest[:2] / digest

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        if not self.exists(digest):
            self._publish(digest, lambda file: file.write(data))
        return digest

    def put_file(self, path: Path) -> str:
        digest = file_digest(path)
        if not self.exists(digest):
            with path.open("rb") as source:
                self._publish(digest, lambda file: shutil.copyfileobj(source, file, CHUNK))
        return digest

    def _publish(self, digest: str, write: Any) -> None:
        target = self.path(digest)
        target.parent.mkdir(exist_ok=True)
        handle, staged = tempfile.mkstemp(dir=target.parent, prefix=".staged-")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            Path(staged).replace(target)
        except BaseException:
            Path(staged).unlink(missing_ok=True)
            raise

    def read(self, digest: str) -> bytes:
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError:
            raise BlobMissing(digest) from None

    def stream(self, digest: str) -> Iterator[bytes]:
        try:
            file = self.path(digest).open("rb")
        except FileNotFoundError:
            raise BlobMissing(digest) from None
        with file:
            while chunk := file.read(CHUNK):
                yield chunk

    def exists(self, digest: str) -> bool:
        return self.path(digest).exists()

    def fetch(self, digest: str, path: Path) -> None:
        if not self.exists(digest):
            raise BlobMissing(digest)
        shutil.copyfile(self.path(digest), path)

    def check(self) -> None:
        """Raises OSError where the folder cannot be written."""
        with tempfile.TemporaryFile(dir=self.root):
            pass


class S3Blobs:
    """Blobs as objects under a prefix of an S3-compatible bucket; credentials come from the usual AWS variables."""

    def __init__(self, bucket: str, prefix: str, endpoint_url: str | None) -> None:
        import boto3
        from botocore.config import Config

        self.bucket, self.prefix = bucket, prefix.strip("/")
        config = Config(retries={"max_attempts": 5, "mode": "standard"}, max_pool_connections=50)
        self.client = boto3.client("s3", endpoint_url=endpoint_url, config=config)

    def _key(self, digest: str) -> str:
        return f"{self.prefix}/{digest[:2]}/{digest}".lstrip("/")

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        if not self.exists(digest):
            self.client.put_object(Bucket=self.bucket, Key=self._key(digest), Body=data)
        return digest

    def put_file(self, path: Path) -> str:
        digest = file_digest(path)
        if not self.exists(digest):
            self.client.upload_file(str(path), self.bucket, self._key(digest))
        return digest

    def _get(self, digest: str) -> Any:
        try:
            return self.client.get_object(Bucket=self.bucket, Key=self._key(digest))["Body"]
        except self.client.exceptions.NoSuchKey:
            raise BlobMissing(digest) from None

    def read(self, digest: str) -> bytes:
        return self._get(digest).read()

    def stream(self, digest: str) -> Iterator[bytes]:
        yield from self._get(digest).iter_chunks(CHUNK)

    def exists(self, digest: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            self.client.head_object(Bucket=self.bucket, Key=self._key(digest))
        except ClientError as error:
            if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
                return False
            raise
        return True

    def fetch(self, digest: str, path: Path) -> None:
        with path.open("wb") as file:
            for chunk in self.stream(digest):
                file.write(chunk)

    def make_bucket(self) -> bool:
        """Makes the bucket where it is missing; whether it did. Raises botocore's ClientError where it may not."""
        from botocore.exceptions import ClientError

        try:
            self.check()
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"404", "NoSuchBucket", "NotFound"}:
                raise
            self.client.create_bucket(Bucket=self.bucket)
            return True
        return False

    def check(self) -> None:
        """Raises botocore's ClientError or an OSError where the bucket cannot be reached."""
        self.client.head_bucket(Bucket=self.bucket)


def open_blobs(url: str, *, endpoint_url: str | None = None) -> BlobStore:
    """The store behind `file:///folder` or `s3://bucket/prefix`; ValueError names any other scheme."""
    parts = urlparse(url)
    if parts.scheme == "file":
        return LocalBlobs(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        return S3Blobs(parts.netloc, parts.path, endpoint_url)
    raise ValueError(f"INPAINTDPO_BLOB_URL has the scheme “{parts.scheme}”: use file:///folder or s3://bucket/prefix.")
