"""The pages of training without a browser: they show without scripts, forms say what is wrong beside the field."""

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.accounts.models import Role
from backend.catalogue.models import Generator
from backend.datasets.models import Snapshot
from backend.kit.database import Database, utcnow
from backend.training.models import Run, RunEvent
from tests.backend.training.conftest import World
from tests.people import add_person, client_of
from trainer.contract.recipes import recipe_config

PAGE = {"accept": "text/html"}


@pytest.fixture
def run_id(lead: TestClient, world: World) -> int:
    return lead.post("/api/v1/runs", json=world.body()).json()["id"]


def add_curve(database: Database, run_id: int, values: list[float]) -> None:
    with database.transaction() as session:
        for step, value in enumerate(values, start=1):
            body = {"values": {"d_win": -value, "d_lose": value, "loss": value}}
            session.add(RunEvent(run_id=run_id, seq=step, kind="metrics", step=step, time=utcnow(), body=body))
        session.get_one(Run, run_id).step = len(values)


def test_an_empty_list_says_what_to_do(lead: TestClient, world: World) -> None:
    page = lead.get("/projects/street/runs", headers=PAGE)
    assert page.status_code == 200 and "Start the first run" in page.text


def test_runs_are_listed_with_their_state(lead: TestClient, world: World, run_id: int) -> None:
    page = lead.get("/projects/street/runs", headers=PAGE).text
    assert f"/projects/street/runs/{run_id}" in page and "queued" in page and "0 of 6" in page
    assert "No run is in this state" in lead.get("/projects/street/runs?state=failed", headers=PAGE).text


def test_a_run_is_started_by_the_form(lead: TestClient, world: World) -> None:
    form = lead.get(f"/projects/street/runs/new?snapshot={world.snapshot_id}", headers=PAGE)
    assert form.status_code == 200 and "spatialworld_demo" in form.text and 'placeholder="30"' in form.text
    answer = lead.post(
        "/projects/street/runs/new",
        data={
            "snapshot_id": str(world.snapshot_id), "recipe": "spatialworld_smoke", "overrides.training.steps": "12",
            "overrides.objective.beta": "", "more": "lora.rank = 8\n", "parent_generator_id": str(world.generator_id),
        },
        headers=PAGE,
    )  # fmt: skip
    assert answer.status_code == 303 and answer.headers["location"].endswith("?notice=started")
    config = lead.get("/api/v1/runs/1").json()["config"]
    assert (config["training"]["steps"], config["lora"]["rank"]) == (12, 8)
    assert config["objective"]["beta"] == recipe_config("spatialworld_smoke").objective.beta


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"overrides.objective.beta": "-2"}, "overrides.objective.beta", "greater than 0, got -2"),
        ({"overrides.training.steps": "many"}, "overrides.training.steps", "got &#39;many&#39;"),
        ({"more": "lora.rnk = 3"}, "more", "known there: alpha, rank"),
        ({"more": "nonsense"}, "more", "Line 1 is not of the form"),
        ({"snapshot_id": ""}, "snapshot_id", "Choose the snapshot"),
        ({"recipe": "magic"}, "recipe", "There is no recipe"),
    ],
)
def test_errors_stand_beside_their_field(lead, world, changes, place, words) -> None:
    data = {"snapshot_id": str(world.snapshot_id), "recipe": "spatialworld_smoke"} | changes
    answer = lead.post("/projects/street/runs/new", data=data, headers=PAGE)
    assert answer.status_code == 422
    beside = re.search(rf'id="{re.escape(place)}(?:-error)?"[^>]*class="error"|class="error" id="{place}', answer.text)
    assert beside and words in answer.text
    for value in changes.values():
        assert value.replace("'", "&#39;") in answer.text


def test_a_run_is_made_again_with_changes(lead: TestClient, world: World) -> None:
    overrides = {"objective.beta": 450.5, "lora.rank": 8, "lora.targets": "attention"}
    run_id = lead.post("/api/v1/runs", json=world.body(overrides=overrides)).json()["id"]
    form = lead.get(f"/projects/street/runs/new?like={run_id}", headers=PAGE).text
    assert 'value="450.5"' in form and 'name="recipe" value="spatialworld_smoke"' in form
    assert "lora.rank = 8\nlora.targets = &#34;attention&#34;" in form and "model.base =" not in form


def test_a_training_under_way_is_linked(lead: TestClient, world: World, run_id: int) -> None:
    data = {"snapshot_id": str(world.snapshot_id), "recipe": "spatialworld_smoke"}
    answer = lead.post("/projects/street/runs/new", data=data, headers=PAGE)
    assert answer.status_code == 409 and f'href="/projects/street/runs/{run_id}"' in answer.text


def test_a_run_shows_without_scripts(lead: TestClient, world: World, run_id: int, database: Database) -> None:
    empty = lead.get(f"/projects/street/runs/{run_id}", headers=PAGE)
    assert empty.status_code == 200 and "Curves appear with" in empty.text and "Waiting for a worker" in empty.text
    add_curve(database, run_id, [0.5, 0.25, 0.125])
    page = lead.get(f"/projects/street/runs/{run_id}", headers=PAGE).text
    assert 'data-chart="drift"' in page and page.count("<polyline") == 3
    assert "D_w, winners" in page and "<b>−0.125</b>" in page
    assert "Step 3 of 6" in page and "Traceback" not in page
    assert "style=" not in page and "onclick" not in page


def test_cancel_and_resume_by_their_buttons(lead: TestClient, world: World, run_id: int) -> None:
    url = f"/projects/street/runs/{run_id}"
    assert f'action="{url}/cancel"' in lead.get(url, headers=PAGE).text
    assert lead.post(f"{url}/cancel", headers=PAGE).status_code == 303
    page = lead.get(url, headers=PAGE).text
    assert f'action="{url}/resume"' in page and "Stopped on request" in page
    assert lead.post(f"{url}/resume", headers=PAGE).headers["location"] == f"{url}?notice=resumed"


def test_two_runs_side_by_side(lead: TestClient, world: World, run_id: int, database: Database) -> None:
    other = lead.post("/api/v1/runs", json=world.body(overrides={"objective.beta": 900})).json()["id"]
    add_curve(database, run_id, [0.5, 0.25])
    add_curve(database, other, [0.4, 0.2])
    page = lead.get(f"/projects/street/runs/compare?a={run_id}&b={other}", headers=PAGE)
    assert page.status_code == 200 and "objective.beta" in page.text and "900.0" in page.text
    assert "run 1: D_w, winners" in page.text and "run 2: D_w, winners" in page.text
    assert lead.get("/projects/street/runs/compare", headers=PAGE).status_code == 200


@pytest.mark.parametrize("query", ["a={}&b=", "a=&b={}", "a=&b="])
def test_a_choice_that_is_not_made_yet_is_asked_for(lead: TestClient, world: World, run_id: int, query: str) -> None:
    lead.post("/api/v1/runs", json=world.body(overrides={"objective.beta": 900}))
    page = lead.get(f"/projects/street/runs/compare?{query.format(run_id)}", headers=PAGE)
    assert page.status_code == 200 and "Choose two runs above" in page.text
    assert f'<option value="{run_id}" selected' in page.text or query == "a=&b="


def test_a_finished_run_leads_to_its_generator(lead: TestClient, world: World, run_id: int, database: Database) -> None:
    with database.transaction() as session:
        child = Generator(project_id=world.project_id, name="tuned", parent_id=world.generator_id, run_id=run_id)
        session.add(child)
        session.flush()
        run = session.get_one(Run, run_id)
        run.state, run.generator_id = "finished", child.id
        run.adapter_digest = session.get_one(Snapshot, world.snapshot_id).archive_digest
    page = lead.get(f"/projects/street/runs/{run_id}", headers=PAGE).text
    [(path, anchor)] = re.findall(r'<a href="([^"#]*)#?([^"]*)">tuned</a>', page)
    target = lead.get(path, headers=PAGE)
    assert target.status_code == 200 and f'id="{anchor}"' in target.text


def test_the_log_is_for_admins(app: FastAPI, lead: TestClient, world: World, run_id: int, database: Database) -> None:
    url = f"/projects/street/runs/{run_id}"
    assert "trainer's log" not in lead.get(url, headers=PAGE).text.replace("&#39;", "'")
    admin = client_of(app, add_person(database, Role.ADMIN))
    assert "The end of the trainer" in admin.get(url, headers=PAGE).text
    assert admin.get(f"/api/v1/runs/{run_id}/log").json() == {"attempt": None, "text": ""}
    assert lead.get(f"/api/v1/runs/{run_id}/log").status_code == 403


def test_runs_of_other_projects_are_not_found(lead: TestClient, world: World, run_id: int) -> None:
    missing = lead.get("/projects/street/runs/999999", headers=PAGE)
    assert missing.status_code == 404 and "There is no run 999999" in missing.text
    assert lead.get("/projects/other/runs", headers=PAGE).status_code == 404


def test_recipes_made_for_other_models_stand_apart(lead, world) -> None:
    page = lead.get("/projects/street/runs/new").text
    shown, _, folded = page.partition('<details class="other-recipes">')
    assert 'value="spatialworld_demo"' in shown and 'value="sdxl_inpaint"' not in shown
    assert 'value="sdxl_inpaint"' in folded.partition("</details>")[0]
    chosen = lead.get("/projects/street/runs/new?recipe=sdxl_inpaint").text.partition('<details class="other-recipes">')
    assert 'value="sdxl_inpaint" aria-pressed="true"' in chosen[0]
