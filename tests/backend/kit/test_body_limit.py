"""Bodies that are too large, announced or not, on the real application."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.kit.database import Database
from backend.settings import Settings

MB = 1 << 20


@pytest.fixture
def small(settings: Settings, database: Database) -> FastAPI:
    settings.max_upload_mb, settings.max_import_mb = 1, 2
    return create_app(settings, database=database)


def chunks(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield bytes(MB // 2)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/login", 2 * MB),
        # Open to everybody, and no import whatever they end in.
        ("/invite/import", 2 * MB),
        ("/login/link/imports", 2 * MB),
        ("/projects/p/import", 3 * MB),
        ("/api/v1/projects/p/imports", 3 * MB),
    ],
)
def test_what_is_larger_than_its_address_takes_is_refused(small: FastAPI, path: str, size: int) -> None:
    client = TestClient(small)
    allowed = client.post(path, content=bytes(size - 1))
    announced = client.post(path, content=bytes(size + 1))
    counted = client.post(path, content=chunks(size // (MB // 2) + 1), headers={"content-type": "text/plain"})
    assert allowed.status_code in {401, 403, 422}
    assert announced.status_code == 413 and announced.json()["code"] == "too_large"
    assert "MB at once" in announced.json()["detail"]
    # What is not announced is refused too, by the limit where the body is read and by the guard where it is not.
    assert counted.status_code in {401, 403, 413}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_unannounced_form_is_not_read_to_its_end(small: FastAPI) -> None:
    sent = 0

    def form() -> Iterator[bytes]:
        nonlocal sent
        yield b'--b\r\ncontent-disposition: form-data; name="x"; filename="x"\r\n\r\n'
        for _ in range(8):
            sent += 1
            yield bytes(MB)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert TestClient(small).post("/login", content=form(), headers=headers).status_code == 413
