"""Serving as leads steer it: over REST and on the page."""

import pytest
from sqlalchemy import select

from backend.catalogue.models import ProjectMember
from backend.judging.models_serving import GoldAnswer, Standing
from tests.backend.judging.world import add_annotator, build
from tests.people import add_person, client_of

BASE = "/api/v1/projects/street-scenes"


@pytest.fixture
def world(database, blobs):
    return build(database, comparisons=6, blobs=blobs, size=32, verdicts=True)


@pytest.fixture
def person(database, world):
    return add_annotator(database, world)


@pytest.fixture
def ann(app, person):
    return client_of(app, person)


@pytest.fixture
def lead(app, database, world):
    person = add_person(database, "lead")
    with database.transaction() as session:
        session.add(ProjectMember(project_id=world.project.id, person_id=person.id))
    return client_of(app, person)


def test_an_annotator_learns_nothing_of_serving(ann, person):
    for path in ("annotators", "gold"):
        assert ann.get(f"{BASE}/{path}").status_code == 403
    assert ann.post(f"{BASE}/annotators/{person.id}/pause", json={}).status_code == 403
    assert ann.get("/projects/street-scenes/serving").status_code == 403


def test_pausing_quota_and_judging_anew_over_rest(ann, lead, person):
    (item,) = ann.post(f"{BASE}/assignments", json={}).json()["items"]
    sent = ann.post(
        f"/api/v1/assignments/{item['id']}/judgment",
        json={"outcome": "tie", "seconds": 4},
        headers={"idempotency-key": "a-key-of-mine"},
    )
    assert sent.status_code == 201
    one = f"{BASE}/annotators/{person.id}"
    assert lead.put(f"{one}/quota", json={"quota": 1}).status_code == 204
    stopped = ann.post(f"{BASE}/assignments", json={}).json()
    assert (stopped["state"], stopped["items"]) == ("finished", [])
    assert lead.post(f"{one}/pause", json={"words": "Call me."}).status_code == 204
    assert ann.post(f"{BASE}/assignments", json={}).json()["reason"] == "Call me."
    (row,) = [row for row in lead.get(f"{BASE}/annotators").json() if row["person_id"] == person.id]
    assert (row["done"], row["quota"], row["is_paused"], row["seconds_each"]) == (1, 1, True, 4.0)
    assert lead.post(f"{one}/requeue").json() == {"count": 1}
    assert lead.post(f"{one}/resume").status_code == 204
    assert lead.post(f"{BASE}/annotators/999/pause", json={}).status_code == 404


def test_known_answers_and_priorities_over_rest(ann, lead):
    assert lead.post(f"{BASE}/gold/of-verdicts", json={"count": 2}).json() == {"count": 2}
    gold = lead.get(f"{BASE}/gold").json()
    assert [(row["seen"], row["expected"]["outcome"]) for row in gold] == [(0, "choice")] * 2
    assert lead.delete(f"{BASE}/gold/{gold[0]['comparison_id']}").status_code == 204
    assert len(lead.get(f"{BASE}/gold").json()) == 1
    assert lead.post(f"{BASE}/comparisons/priority", json={"priority": 4}).json() == {"count": 4}


def test_the_page_shows_people_and_does_what_its_forms_say(ann, lead, person, database, world):
    ann.post(f"{BASE}/assignments", json={})
    page = "/projects/street-scenes/serving"
    assert person.name in lead.get(page).text
    for form, data in (
        (f"people/{person.id}/pause", {"words": "A break is due."}),
        (f"people/{person.id}/quota", {"quota": "7"}),
        ("gold", {"count": "1"}),
        ("priority", {"priority": "2", "kind": "pairwise", "criterion": "", "generator": ""}),
    ):
        assert lead.post(f"{page}/{form}", data=data).status_code == 303
    with database.reading() as session:
        standing = session.get(Standing, (world.project.id, person.id))
        assert (standing.pause_words, standing.quota) == ("A break is due.", 7)
        (gold,) = session.scalars(select(GoldAnswer.comparison_id))
    shown = lead.get(page).text
    assert "A break is due." in shown and "style=" not in shown
    assert lead.post(f"{page}/people/{person.id}/requeue").status_code == 303
    assert lead.post(f"{page}/people/{person.id}/resume").status_code == 303
    assert lead.post(f"{page}/gold/{gold}/retire").status_code == 303
    assert lead.post(f"{page}/priority", data={"priority": "x"}).status_code == 422
    assert lead.post(f"{page}/gold/of-judgment", data={"judgment_id": "77"}).status_code == 404
