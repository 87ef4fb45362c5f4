"""Starting, listing, cancelling and resuming runs over REST."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.accounts.models import Role
from backend.catalogue.models import Generator
from backend.datasets.models import Snapshot
from backend.jobs.models import Job
from backend.kit.database import Database
from backend.training.models import Run
from tests.backend.training.conftest import World
from tests.people import add_person, client_of, token_of
from trainer.contract.recipes import recipe_config


def test_recipes_are_listed_with_all_they_set(lead: TestClient) -> None:
    items = lead.get("/api/v1/recipes").json()["items"]
    demo = next(item for item in items if item["name"] == "spatialworld_demo")
    assert (
        demo["config"]["objective"]["beta"] == recipe_config("spatialworld_demo").objective.beta
        and "MaskDPO" in demo["description"]
    )


def test_a_run_is_started_on_the_base_generator(lead: TestClient, world: World, database: Database) -> None:
    answer = lead.post("/api/v1/runs", json=world.body(overrides={"training.steps": 9, "objective.beta": 500}))
    assert answer.status_code == 201
    run = answer.json()
    assert (run["name"], run["state"], run["total_steps"]) == ("run 1", "queued", 9)
    assert run["parent_generator_id"] == world.generator_id
    assert run["state_words"] == "Waiting for a worker"
    detail = lead.get(answer.headers["location"]).json()
    assert detail["config"]["objective"]["beta"] == 500 and detail["config"]["model"]["adapter"] is None
    with database.reading() as session:
        job = session.get_one(Job, run["job_id"])
        assert (job.kind, job.queue, job.payload) == ("training.run", "gpu", {"run_id": run["id"]})


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"recipe": "magic"}, "recipe", "There are: spatialworld_demo"),
        ({"overrides": {"objective.bta": 1}}, "overrides.objective.bta", "known there: anchor, auto_beta, beta"),
        ({"overrides": {"objective.beta": -1}}, "overrides.objective.beta", "greater than 0, got -1"),
        ({"overrides": {"objective.t_min": 0.9, "objective.t_max": 0.5}}, "overrides", "t_min must be below t_max"),
        ({"overrides": {"model.base": "other"}}, "overrides.model.base", "follows the recipe and the generator"),
        ({"overrides": {"training.method": "full"}}, "overrides.training.method", "a base with adapters"),
        ({"parent_generator_id": 999_999}, "parent_generator_id", "no generator 999999"),
        ({"snapshot_id": 999_999}, "snapshot_id", "no snapshot 999999"),
    ],
)
def test_what_cannot_be_used_is_named(lead, world, changes, field, words) -> None:
    answer = lead.post("/api/v1/runs", json=world.body(**changes))
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    errors = answer.json()["errors"]
    assert [error["field"] for error in errors] == [field]
    assert words in errors[0]["message"] and words in answer.json()["detail"]


def test_several_bad_overrides_are_all_named(lead: TestClient, world: World) -> None:
    overrides = {"objective.beta": -1, "training.steps": 0, "training.seed": 3}
    errors = lead.post("/api/v1/runs", json=world.body(overrides=overrides)).json()["errors"]
    assert [error["field"] for error in errors] == ["overrides.objective.beta", "overrides.training.steps"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"state": "building"}, "still being built"),
        ({"state": "failed"}, "could not be built"),
        ({"counts": {"train_pairs": 0}}, "no pairs to train on"),
    ],
)
def test_only_a_ready_snapshot_with_pairs_is_trained_on(lead, world, database, columns, words) -> None:
    with database.transaction() as session:
        snapshot = session.get_one(Snapshot, world.snapshot_id)
        for name, value in columns.items():
            setattr(snapshot, name, value)
    answer = lead.post("/api/v1/runs", json=world.body())
    assert answer.status_code == 422 and words in answer.json()["detail"]


def test_an_imported_generator_cannot_be_tuned(lead: TestClient, world: World, database: Database) -> None:
    with database.transaction() as session:
        imported = Generator(project_id=world.project_id, name="imported", base=None)
        session.add(imported)
        session.flush()
        generator_id = imported.id
    answer = lead.post("/api/v1/runs", json=world.body(parent_generator_id=generator_id))
    assert answer.status_code == 422 and "only by its imported images" in answer.json()["detail"]


def test_an_idempotency_key_makes_a_second_request_harmless(lead: TestClient, world: World) -> None:
    headers = {"idempotency-key": "once"}
    first = lead.post("/api/v1/runs", json=world.body(), headers=headers)
    again = lead.post("/api/v1/runs", json=world.body(), headers=headers)
    assert first.json() == again.json() and again.status_code == 201
    other = lead.post("/api/v1/runs", json=world.body(overrides={"training.seed": 5}), headers=headers)
    assert other.status_code == 409 and "use a new key" in other.json()["detail"]
    assert len(lead.get("/api/v1/runs", params={"project": world.slug}).json()["items"]) == 1


def test_the_same_training_does_not_run_twice_at_once(lead: TestClient, world: World) -> None:
    first = lead.post("/api/v1/runs", json=world.body()).json()
    second = lead.post("/api/v1/runs", json=world.body(name="another name"))
    assert second.status_code == 409
    problem = second.json()
    assert problem["run_id"] == first["id"] and problem["url"] == f"/projects/street/runs/{first['id']}"
    other = lead.post("/api/v1/runs", json=world.body(overrides={"training.seed": 7}))
    assert other.status_code == 201 and other.json()["name"] == "run 2"


def test_a_taken_name_is_refused_and_an_automatic_one_steps_aside(lead: TestClient, world: World) -> None:
    assert lead.post("/api/v1/runs", json=world.body(name="run 2")).status_code == 201
    taken = lead.post("/api/v1/runs", json=world.body(name="run 2", overrides={"training.seed": 1}))
    assert taken.status_code == 409 and taken.json()["errors"][0]["field"] == "name"
    free = lead.post("/api/v1/runs", json=world.body(overrides={"training.seed": 1}))
    assert free.json()["name"] == "run 3"


def test_runs_are_listed_by_key(lead: TestClient, world: World) -> None:
    ids = [lead.post("/api/v1/runs", json=world.body(overrides={"training.seed": n})).json()["id"] for n in range(3)]
    page = lead.get("/api/v1/runs", params={"project": world.slug, "limit": 2}).json()
    assert [run["id"] for run in page["items"]] == [ids[2], ids[1]]
    rest = lead.get("/api/v1/runs", params={"project": world.slug, "cursor": page["next_cursor"]}).json()
    assert [run["id"] for run in rest["items"]] == [ids[0]] and rest["next_cursor"] is None
    assert lead.get("/api/v1/runs", params={"project": world.slug, "state": "failed"}).json()["items"] == []


def test_a_waiting_run_is_cancelled_at_once_and_can_be_resumed(lead, world, database) -> None:
    run = lead.post("/api/v1/runs", json=world.body()).json()
    url = f"/api/v1/runs/{run['id']}"
    cancelled = lead.post(f"{url}/cancel").json()
    assert cancelled["state"] == "cancelled" and cancelled["finished_at"]
    refused = lead.post(f"{url}/cancel")
    assert refused.status_code == 409 and "nothing to cancel" in refused.json()["detail"]
    resumed = lead.post(f"{url}/resume").json()
    assert resumed["state"] == "queued" and resumed["job_id"] != run["job_id"] and resumed["finished_at"] is None
    assert lead.post(f"{url}/resume").status_code == 409
    with database.reading() as session:
        states = {job.id: job.state for job in session.query(Job)}
    assert states == {run["job_id"]: "cancelled", resumed["job_id"]: "queued"}


def test_a_cancelled_run_is_not_resumed_beside_its_twin(lead: TestClient, world: World) -> None:
    first = lead.post("/api/v1/runs", json=world.body()).json()
    lead.post(f"/api/v1/runs/{first['id']}/cancel")
    twin = lead.post("/api/v1/runs", json=world.body()).json()
    refused = lead.post(f"/api/v1/runs/{first['id']}/resume")
    assert refused.status_code == 409 and refused.json()["run_id"] == twin["id"]


def test_only_leads_of_the_project_see_its_runs(app: FastAPI, lead, world, database) -> None:
    run = lead.post("/api/v1/runs", json=world.body()).json()
    stranger = client_of(app, add_person(database, Role.LEAD))
    annotator = client_of(app, add_person(database, Role.ANNOTATOR))
    for path in ("", "/events", "/curves", "/stream", "/adapter", "/log"):
        assert stranger.get(f"/api/v1/runs/{run['id']}{path}").status_code in {403, 404}, path
        assert annotator.get(f"/api/v1/runs/{run['id']}{path}").status_code == 403, path
    assert stranger.post(f"/api/v1/runs/{run['id']}/cancel").status_code == 404
    assert stranger.post("/api/v1/runs", json=world.body()).status_code == 422
    assert stranger.get("/api/v1/runs", params={"project": world.slug}).status_code == 404


def test_a_token_needs_the_scope_train(client: TestClient, world: World, database: Database) -> None:
    reader, trainer = token_of(database, world.lead, "read"), token_of(database, world.lead, "train")
    refused = client.post("/api/v1/runs", json=world.body(), headers=reader)
    assert refused.status_code == 403 and "train" in refused.json()["detail"]
    assert client.post("/api/v1/runs", json=world.body(), headers=trainer).status_code == 201


def test_there_is_no_adapter_before_the_end(lead: TestClient, world: World, database: Database) -> None:
    run = lead.post("/api/v1/runs", json=world.body()).json()
    answer = lead.get(f"/api/v1/runs/{run['id']}/adapter")
    assert answer.status_code == 404 and "no adapter yet" in answer.json()["detail"]
    with database.reading() as session:
        assert session.get_one(Run, run["id"]).adapter_digest is None
