"""Both blob stores keep what they are given, by content."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.kit.blobs import BlobMissing, BlobStore, open_blobs
from tests.services import free_port


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlobStore]:
    if request.param == "file":
        yield open_blobs((tmp_path / "blobs").as_uri())
        return
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    endpoint = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="bucket")
    yield open_blobs("s3://bucket/some/prefix", endpoint_url=endpoint)
    server.stop()


def test_keeps_bytes_by_their_digest(store: BlobStore, tmp_path: Path) -> None:
    digest = store.put(b"picture")
    assert digest == hashlib.sha256(b"picture").hexdigest()
    assert store.put(b"picture") == digest
    assert store.read(digest) == b"".join(store.stream(digest)) == b"picture"
    store.fetch(digest, tmp_path / "copy")
    assert store.put_file(tmp_path / "copy") == digest
    store.check()


def test_a_missing_blob_is_named(store: BlobStore, tmp_path: Path) -> None:
    absent = "0" * 64
    assert not store.exists(absent)
    with pytest.raises(BlobMissing):
        store.read(absent)
    with pytest.raises(BlobMissing):
        list(store.stream(absent))
    with pytest.raises(BlobMissing):
        store.fetch(absent, tmp_path / "copy")


def test_an_unknown_scheme_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="use file:///folder or s3://bucket/prefix"):
        open_blobs("ftp://somewhere/else")
