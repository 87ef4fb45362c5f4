"""Ratings over REST and the pages that show them."""

from itertools import count

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from backend.accounts.models import Role
from backend.catalogue.models import ProjectMember, Split
from backend.judging.models import ComparisonKind, JudgmentMark, Outcome
from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database
from backend.preferences import repository_judgments
from tests.backend.preferences.world import World, judged_world, new_world
from tests.people import add_person, client_of, token_of


def arena(world: World, wins: int, losses: int, ties: int) -> None:
    """Votes of the first two people on model 1 against model 0, and one of the simulated one each way."""
    outcomes = [("wl", Outcome.CHOICE)] * wins + [("lw", Outcome.CHOICE)] * losses + [("--", Outcome.TIE)] * ties
    for number, (marks, outcome) in enumerate(outcomes):
        condition = world.condition(Split.VALIDATION)
        shown = [world.candidate(condition, generator, number) for generator in world.generators[::-1]]
        for candidate in shown:
            world.verdict(candidate, candidate.generator_id == world.generators[1].id)
        comparison = world.comparison(shown, ComparisonKind.ARENA, "spatial_rationality")
        world.judge(comparison, world.people[number % 3], shown, marks, outcome=outcome)
        world.judge(comparison, world.people[-1], shown, "wl", outcome=Outcome.CHOICE)


@pytest.fixture
def world(database: Database, blobs: LocalBlobs) -> World:
    with database.transaction() as session:
        world = new_world(session, blobs)
        arena(world, wins=9, losses=3, ties=2)
    return world


@pytest.fixture
def lead(app: FastAPI, database: Database, world: World) -> TestClient:
    person = add_person(database, Role.LEAD)
    with database.transaction() as session:
        session.add(ProjectMember(project_id=world.project.id, person_id=person.id))
    return client_of(app, person)


def test_ratings_tell_people_from_simulated(lead: TestClient, world: World) -> None:
    board = lead.get("/api/v1/projects/lakes/ratings?include_simulated=false").json()
    assert (board["votes"], board["simulated_votes"], board["annotators"]) == (14, 0, 3)
    best, worst = board["ratings"]
    assert best["generator_id"] == world.generators[1].id
    assert (best["wins"], best["losses"], best["ties"]) == (9, 3, 2)
    assert best["low"] < best["rating"] < best["high"] and best["rating"] + worst["rating"] == pytest.approx(3000)
    assert best["low_clustered"] is not None
    assert best["rational"]["value"] == 1 and worst["rational"]["value"] == 0 and board["judged_on"] == "validation"
    cells = {(cell["generator_id"], cell["versus_id"]): cell for cell in board["matrix"]}
    assert cells[best["generator_id"], worst["generator_id"]]["score"] == pytest.approx(10 / 14)
    everybody = lead.get("/api/v1/projects/lakes/ratings").json()
    assert (everybody["votes"], everybody["simulated_votes"]) == (28, 14)
    assert everybody["ratings"][0]["rating"] > best["rating"]
    anchored = lead.get(f"/api/v1/projects/lakes/ratings?base_generator={world.generators[0].id}").json()
    assert anchored["ratings"][1]["rating"] == 1500


def test_votes_can_be_sliced_by_split(lead: TestClient) -> None:
    assert lead.get("/api/v1/projects/lakes/ratings?split=validation").json()["votes"] == 28
    assert lead.get("/api/v1/projects/lakes/ratings?split=train").json()["ratings"] == []


def test_the_leaderboard_shows_it_and_links_to_the_judgments(lead: TestClient, world: World) -> None:
    page = lead.get("/projects/lakes/leaderboard", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert "14 of these 28 votes are from simulated annotators" in page.text
    assert "style=" not in page.text and "<script>" not in page.text
    best = world.generators[1].id
    link = f"/projects/lakes/judgments?criterion=spatial_rationality&amp;generator={best}"
    assert link in page.text
    behind = lead.get(link.replace("&amp;", "&"))
    assert behind.status_code == 200 and "Judgments of model 1" in behind.text
    assert behind.text.count('class="said"') == 28
    assert behind.text.count("simulated</span>") == 14


def test_ratings_within_slices_and_reasons(lead: TestClient, world: World, database: Database) -> None:
    with database.transaction() as session:
        for number, condition in enumerate(world.conditions):
            session.get_one(type(condition), condition.id).spec = {"viewpoint": ("front", "above")[number % 2]}
        marks = session.scalars(
            select(JudgmentMark).where(JudgmentMark.mark == "lose").order_by(JudgmentMark.judgment_id)
        )
        for number, mark in enumerate(marks):
            mark.reasons = ["scale", "other"] if number % 2 else ["position"]
    found = lead.get("/api/v1/projects/lakes/ratings/by/viewpoint").json()
    assert found["dimensions"] == ["criterion", "split", "reason", "viewpoint"]
    assert {one["value"]: one["votes"] for one in found["slices"]} == {"above": 14, "front": 14}
    one = lead.get("/api/v1/projects/lakes/ratings?slice=viewpoint%3Dfront").json()
    best = str(world.generators[1].id)
    by_name = {part["value"]: part for part in found["slices"]}
    assert by_name["front"]["ratings"][best]["value"] == pytest.approx(one["ratings"][0]["rating"])
    by_reason = lead.get("/api/v1/projects/lakes/ratings/by/reason").json()
    votes = {part["value"]: part["votes"] for part in by_reason["slices"]}
    assert votes["scale"] == votes["other"] == 13 and votes["position"] == 13 and votes["viewpoint"] == 0
    assert lead.get("/api/v1/projects/lakes/ratings?reason=scale").json()["votes"] == 13
    assert lead.get("/api/v1/projects/lakes/ratings?prompt=LAKE, 1").json()["votes"] > 0
    assert lead.get("/api/v1/projects/lakes/ratings?prompt=100%25").json()["votes"] == 0
    losses = lead.get("/api/v1/projects/lakes/ratings/losses").json()
    assert sum(row["losses"] for row in losses) == 26
    assert sum(row["reasons"].get("scale", 0) for row in losses) == 13
    refused = lead.get("/api/v1/projects/lakes/ratings/by/weather")
    assert refused.status_code == 422 and "choose criterion, split, reason, viewpoint" in refused.json()["detail"]
    page = lead.get("/projects/lakes/leaderboard/slices?by=viewpoint")
    assert page.status_code == 200 and "slice=viewpoint%3Dfront" in page.text
    worst = losses[0]
    behind = lead.get(f"/projects/lakes/judgments?loser={worst['generator_id']}&reason=scale&limit=50")
    assert behind.text.count('class="said"') == worst["reasons"].get("scale", 0)


def test_online_elo_stands_beside_with_its_spread(lead: TestClient) -> None:
    board = lead.get("/api/v1/projects/lakes/ratings").json()
    assert board["online_votes"] == 28
    best, worst = (row["online"] for row in board["ratings"])
    assert best["low"] < best["high"] and best["value"] + worst["value"] == pytest.approx(3000)
    assert "where 95 % of 100 shuffled orders of the same 28 votes end" in lead.get("/projects/lakes/leaderboard").text


def test_figures_follow_a_further_vote(lead: TestClient, world: World, database: Database) -> None:
    before = lead.get("/api/v1/projects/lakes/ratings").json()
    assert lead.get("/api/v1/projects/lakes/ratings").json()["as_of"] == before["as_of"]
    with database.transaction() as session:
        arena(World(session, world.blobs, world.project, world.generators, world.people, serial=count(500)), 1, 0, 0)
    after = lead.get("/api/v1/projects/lakes/ratings").json()
    assert after["votes"] == before["votes"] + 2 and after["as_of"] > before["as_of"]


def test_judgments_page_by_key_and_by_filter(lead: TestClient, world: World) -> None:
    seen = 0
    url = "/projects/lakes/judgments?limit=10&generator=&who=people"
    while url:
        page = lead.get(url)
        assert page.status_code == 200
        seen += page.text.count('class="said"')
        _, found, rest = page.text.partition('rel="next" href="')
        url = rest.partition('"')[0].replace("&amp;", "&") if found else ""
    assert seen == 14
    person = world.people[0].id
    assert lead.get(f"/projects/lakes/judgments?person={person}").text.count('class="said"') == 5
    assert lead.get("/projects/lakes/judgments?person=999").text.count('class="said"') == 0
    refused = lead.get("/projects/lakes/judgments?person=me")
    assert refused.status_code == 422 and "Take them away" in refused.json()["detail"]


def test_a_page_of_judgments_looks_through_so_many_and_leads_on(
    lead: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository_judgments, "LOOKED_AT", 5)
    pages = seen = 0
    url = "/projects/lakes/judgments?outcome=tie&who=people"
    while url:
        page = lead.get(url)
        pages += 1
        seen += page.text.count('class="said"')
        assert ('class="said"' in page.text) != ("None among those looked at" in page.text)
        _, found, rest = page.text.partition('rel="next" href="')
        url = rest.partition('"')[0].replace("&amp;", "&") if found else ""
    # 28 judgments, five a look: both ties are met once.
    assert (pages, seen) == (6, 2)


def test_quality_says_who_agrees_and_what_divides(
    app: FastAPI, lead: TestClient, database: Database, blobs: LocalBlobs
) -> None:
    page = lead.get("/projects/lakes/quality")
    assert page.status_code == 200
    assert "Where opinions are divided" in page.text and "Krippendorff" in page.text
    assert page.text.count("badge-simulated") == 1


def test_empty_pages_say_what_to_do(app: FastAPI, database: Database, blobs: LocalBlobs) -> None:
    with database.transaction() as session:
        new_world(session, blobs, slug="new", generators=1, people=1)
    admin = client_of(app, add_person(database, Role.ADMIN))
    for path, words in (
        ("leaderboard", "No two generators have met yet"),
        ("judgments", "No judgments here yet"),
        ("quality", "Nobody has judged yet"),
        ("datasets", "No votes to make pairs of yet"),
    ):
        page = admin.get(f"/projects/new/{path}")
        assert page.status_code == 200 and words in page.text, path


def test_annotators_see_none_of_it(app: FastAPI, database: Database, world: World) -> None:
    person = add_person(database, Role.ANNOTATOR)
    with database.transaction() as session:
        session.add(ProjectMember(project_id=world.project.id, person_id=person.id))
    annotator = client_of(app, person)
    for path in ("leaderboard", "judgments", "quality", "datasets"):
        assert annotator.get(f"/projects/lakes/{path}").status_code == 403
    assert annotator.get("/api/v1/projects/lakes/ratings").status_code == 403
    stranger = TestClient(app, headers=token_of(database, add_person(database, Role.LEAD), "read"))
    assert stranger.get("/api/v1/projects/lakes/ratings").status_code == 404


def test_pairs_and_yield_over_rest(app: FastAPI, database: Database, blobs: LocalBlobs) -> None:
    with database.transaction() as session:
        judged_world(session, blobs)
    admin = client_of(app, add_person(database, Role.ADMIN))
    first = admin.get("/api/v1/projects/lakes/pairs?threshold=0.7&limit=4").json()
    assert first["items"] and first["next_cursor"]
    second = admin.get(f"/api/v1/projects/lakes/pairs?threshold=0.7&limit=4&cursor={first['next_cursor']}").json()
    figures = admin.get("/api/v1/projects/lakes/pairs/yield?threshold=0.7").json()
    assert figures["chosen"]["pairs"] == len(first["items"]) + len(second["items"])
    assert figures["reasons"]["scale"] == figures["chosen"]["pairs"]
