"""Freezing over REST and in the browser's form, lists, downloads."""

import io
import random
import tarfile

import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.accounts.models import Role
from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database
from backend.settings import Settings
from tests.backend.datasets.test_snapshots import do_job
from tests.backend.preferences.test_yields import random_world
from tests.backend.preferences.world import World, judged_world, new_world
from tests.people import add_person, client_of, token_of


@pytest.fixture
def world(database: Database, blobs: LocalBlobs) -> World:
    with database.transaction() as session:
        return judged_world(session, blobs)


@pytest.fixture
def admin(app: FastAPI, database: Database) -> TestClient:
    return client_of(app, add_person(database, Role.ADMIN))


def test_freezing_over_rest_twice_with_one_key_makes_one(
    admin: TestClient, world: World, database: Database, settings: Settings
) -> None:
    body = {"name": "first", "rules": {"threshold": 0.7}}
    url = "/api/v1/projects/lakes/snapshots"
    answers = [admin.post(url, json=body, headers={"idempotency-key": "k1"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json() and answers[0].json()["state"] == "building"
    early = admin.get(f"/api/v1/snapshots/{answers[0].json()['id']}/archive")
    assert early.status_code == 409 and early.json()["code"] == "snapshot_not_ready"
    do_job(world, database, settings)
    listed = admin.get(url).json()["items"]
    assert [one["name"] for one in listed] == ["first"] and listed[0]["state"] == "ready"
    one = admin.get(f"/api/v1/snapshots/{listed[0]['id']}").json()
    assert one == listed[0] and one["rules"]["agreement"] > 0.5
    archive = admin.get(one["archive_url"])
    assert archive.headers["content-type"] == "application/x-tar"
    assert int(archive.headers["content-length"]) == len(archive.content) == one["archive_bytes"]
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as tar:
        assert sum(name.endswith(".parquet") for name in tar.getnames()) == 3


def test_downloads_need_the_export_scope(
    app: FastAPI, admin: TestClient, world: World, database: Database, settings: Settings
) -> None:
    snapshot = admin.post("/api/v1/projects/lakes/snapshots", json={}).json()
    do_job(world, database, settings)
    person = add_person(database, Role.ADMIN)
    url = f"/api/v1/snapshots/{snapshot['id']}/archive"
    reader = TestClient(app, headers=token_of(database, person, "read"))
    assert reader.get(url).status_code == 403 and reader.get(url.removesuffix("/archive")).status_code == 200
    exporter = TestClient(app, headers=token_of(database, person, "export"))
    assert exporter.get(url).status_code == 200
    assert reader.get(url.replace("archive", "pick-a-pic")).status_code == 403
    table = pq.read_table(io.BytesIO(exporter.get(url.replace("archive", "pick-a-pic")).content))
    pairs = table.to_pylist()
    assert {row["split"] for row in pairs} == {"train", "validation"}
    assert {row["label_0"] for row in pairs} == {0.0, 1.0}
    for row in pairs:
        assert row["label_0"] + row["label_1"] == 1 and row["caption"] and row["jpg_0"] != row["jpg_1"]
        assert row["best_image_uid"] == (row["image_0_uid"] if row["label_0"] else row["image_1_uid"])
    assert list((settings.home / "work").iterdir()) == []
    assert admin.get("/api/v1/snapshots/999").status_code == 404


@pytest.mark.parametrize("disagreeing", [False, True])
def test_the_page_warns_of_pairs_that_the_next_annotator_would_turn_round(
    admin: TestClient, database: Database, blobs: LocalBlobs, disagreeing: bool
) -> None:
    with database.transaction() as session:
        if disagreeing:
            random_world(new_world(session, blobs, people=5), random.Random(1))
        else:
            judged_world(session, blobs)
    figures = admin.get("/api/v1/projects/lakes/pairs/yield?threshold=0.55&include_simulated=true").json()
    assert figures["chosen"]["pairs"] > 0
    assert (max(figures["contested_pairs"], figures["contested_winners"]) > 0.1) == disagreeing
    assert figures["contested"] == disagreeing
    page = admin.get("/projects/lakes/datasets?threshold=0.55&simulated=yes").text
    assert ("would turn round" in page) == disagreeing


def test_the_form_freezes_and_leads_to_the_snapshot(
    admin: TestClient, world: World, database: Database, settings: Settings
) -> None:
    page = admin.get("/projects/lakes/datasets?threshold=0.7&simulated=yes")
    assert page.status_code == 200 and "Pairs by threshold" in page.text and "style=" not in page.text
    form = {"name": "by form", "threshold": "0.7", "min_votes": "2", "max_pairs_per_condition": "2", "simulated": "no"}
    answer = admin.post("/projects/lakes/datasets", data=form)
    assert answer.status_code == 303
    building = admin.get(answer.headers["location"])
    assert "Waiting for a worker" in building.text
    do_job(world, database, settings)
    ready = admin.get(answer.headers["location"])
    assert "Train on this" in ready.text and "p(win)" in ready.text and "scale" in ready.text
    assert "/runs/new?snapshot=" in ready.text
    assert "by form" in admin.get("/projects/lakes/datasets").text
    assert admin.get("/projects/lakes/datasets/999").status_code == 404


def test_refusals_stand_above_the_form(admin: TestClient, world: World) -> None:
    refused = admin.post("/projects/lakes/datasets", data={"name": "none", "threshold": "0.99"})
    assert refused.status_code == 409 and "No pair reaches p(win) 0.99" in refused.text
    wrong = admin.post("/projects/lakes/datasets", data={"name": "none", "threshold": "2"})
    assert wrong.status_code == 422 and "at most" in wrong.text
    assert admin.get("/projects/lakes/datasets?min_votes=many").status_code == 422
