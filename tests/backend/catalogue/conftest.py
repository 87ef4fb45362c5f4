"""Shared by the tests of the catalogue and of generation."""

from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.accounts.models import Person
from backend.catalogue.models import Project
from backend.catalogue.schemas import ProjectCreate
from backend.catalogue.service import create_project
from backend.kit.database import Database
from tests.people import add_person, client_of


@pytest.fixture
def lead(database: Database) -> Person:
    return add_person(database, "lead")


@pytest.fixture
def project(database: Database, lead: Person) -> Project:
    with database.transaction() as session:
        project = create_project(session, lead, ProjectCreate(name="Street scenes", slug="street"))
        session.flush()
        session.expunge(project)
    return project


@pytest.fixture
def as_lead(app: FastAPI, lead: Person, project: Project) -> TestClient:
    return client_of(app, lead)


@pytest.fixture
def upload(as_lead: TestClient) -> Callable[..., object]:
    """Sends a zip to the imports of the project."""

    def send(archive: bytes, **params: object) -> object:
        return as_lead.post(
            "/api/v1/projects/street/imports",
            files={"file": ("import.zip", archive, "application/zip")},
            params={key: str(value).lower() for key, value in params.items()},
        )

    return send


@pytest.fixture
def s3_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, bytes]], tuple[str, str]]]:
    """Puts files into a bucket of an S3-compatible server; gives the prefix's address and the endpoint."""
    import boto3
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"

    def put(files: dict[str, bytes]) -> tuple[str, str]:
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="photos")
        for path, data in files.items():
            client.put_object(Bucket="photos", Key=f"street/{path}", Body=data)
        return "s3://photos/street", endpoint

    yield put
    server.stop()
