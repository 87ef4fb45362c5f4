"""A project that is ready to train: its lead, its base generator and a frozen snapshot."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.accounts.models import Person, Role
from backend.catalogue.models import Generator, Project, ProjectMember
from backend.datasets.models import Snapshot
from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database
from backend.kit.models import Blob
from backend.training import tasks  # noqa: F401  # declares the handler
from tests.backend.training.snapshots import archive
from tests.people import add_person, client_of


@dataclass(frozen=True)
class World:
    lead: Person
    project_id: int
    slug: str
    generator_id: int
    snapshot_id: int

    def body(self, **changes: object) -> dict[str, object]:
        """A request for a small run."""
        return {"snapshot_id": self.snapshot_id, "recipe": "spatialworld_smoke"} | changes


def add_snapshot(database: Database, blobs: LocalBlobs, project_id: int, folder: Path, name: str) -> int:
    """A ready snapshot whose archive is a real one; returns its id."""
    content_hash, packed, counts = archive(folder)
    with database.transaction() as session:
        digest = blobs.put_file(packed)
        if session.get(Blob, digest) is None:
            session.add(Blob(digest=digest, media_type="application/x-tar", size=packed.stat().st_size))
            session.flush()
        snapshot = Snapshot(
            project_id=project_id, name=name, state="ready", rules={}, counts=counts, content_hash=content_hash,
            archive_digest=digest,
        )  # fmt: skip
        session.add(snapshot)
        session.flush()
        return snapshot.id


def make_world(database: Database, blobs: LocalBlobs, folder: Path) -> World:
    lead = add_person(database, Role.LEAD)
    with database.transaction() as session:
        project = Project(slug="street", name="Street scenes")
        session.add(project)
        session.flush()
        session.add(ProjectMember(project_id=project.id, person_id=lead.id))
        base = Generator(
            project_id=project.id, name="SpatialWorld", base="spatialworld", sampler={"steps": 2, "guidance": 1.0}
        )
        session.add(base)
        session.flush()
        project_id, base_id = project.id, base.id
    snapshot_id = add_snapshot(database, blobs, project_id, folder, "first")
    return World(lead, project_id, "street", base_id, snapshot_id)


@pytest.fixture
def world(database: Database, blobs: LocalBlobs, tmp_path: Path) -> World:
    return make_world(database, blobs, tmp_path / "frozen")


@pytest.fixture
def lead(app: FastAPI, world: World) -> TestClient:
    return client_of(app, world.lead)
