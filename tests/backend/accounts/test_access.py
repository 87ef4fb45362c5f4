"""Who reaches what: every route of the application, forged requests, scopes of tokens."""

import re
from datetime import timedelta

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from backend.accounts import csrf
from backend.accounts.access import (
    PUBLIC_PATHS,
    TRUST_SECONDS,
    CurrentPerson,
    Identity,
    LeadPerson,
    RecentSessions,
    require_scope,
)
from backend.accounts.models import ApiToken, Person, Role
from backend.catalogue.models import Project, ProjectMember
from backend.kit.database import Database, utcnow
from tests.people import add_person, client_of, token_of

HTML = {"accept": "text/html"}

# Walks over all routes take long and have nothing to do with the kind of database.
one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

# What somebody may ask for who has not logged in.
PUBLIC = PUBLIC_PATHS | {"/login", "/logout", "/login/link/{secret}", "/invite/{secret}"}

# What an annotator may ask for: their account, their projects, their own judging.
OF_ANNOTATORS = PUBLIC | {
    "/",
    "/account",
    "/account/password",
    "/account/sessions/{session_id}/end",
    "/account/sessions/end-others",
    "/api/v1/me",
    "/api/v1/sessions",
    "/api/v1/sessions/{session_id}",
    "/api/v1/projects",
    "/api/v1/projects/{slug}",
    "/projects/{slug}",
    "/projects/{slug}/guidelines",
    "/projects/{slug}/judge",
    "/projects/{slug}/history",
    "/projects/{slug}/practice",
    "/projects/{slug}/test",
    "/projects/{slug}/test/questions",
    "/api/v1/projects/{slug}/practice",
    "/api/v1/projects/{slug}/practice/{lesson_id}",
    "/api/v1/projects/{slug}/qualification",
    "/api/v1/projects/{slug}/qualification/{lesson_id}",
}


# The judge's own routes are tested by their room for whose assignment it is.
JUDGING = (
    "/api/v1/projects/{slug}/assignments",
    "/api/v1/projects/{slug}/progress",
    "/api/v1/projects/{slug}/judgments",
    "/api/v1/assignments",
    "/api/v1/judgments",
    "/judge/",
)

SAMPLES = {
    "slug": "streets",
    "digest": "0" * 64,
    "position": "1",
    "shown": "1",
    "kind": "x",
    "name": "x",
    "secret": "x",
}


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path template of every route of our own that the application answers."""
    found = []
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute):
            found += [(method, str(context.path_format)) for method in sorted(context.methods or ())]
    return found


def address_of(path: str) -> str:
    return re.sub(r"{(\w+)(:\w+)?}", lambda part: SAMPLES.get(part[1], "1"), path)


@pytest.fixture
def annotator(database: Database) -> Person:
    """An annotator who is a member of the project “streets”."""
    person = add_person(database, Role.ANNOTATOR)
    with database.transaction() as session:
        project = Project(slug="streets", name="Street scenes")
        session.add(project)
        session.flush()
        session.add(ProjectMember(project_id=project.id, person_id=person.id))
    return person


@one_database
def test_there_are_no_routes_but_those_the_guard_sees(app: FastAPI) -> None:
    others = {
        context.path for context in iter_route_contexts(app.routes) if not isinstance(context.original_route, APIRoute)
    }
    assert others == {"/static"}
    assert len(routes_of(app)) > 50


@one_database
def test_who_has_not_logged_in_reaches_nothing(app: FastAPI, client: TestClient) -> None:
    reached = []
    for method, path in routes_of(app):
        if path in PUBLIC:
            continue
        response = client.request(method, address_of(path))
        if response.status_code != 401:
            reached.append((method, path, response.status_code))
        if method == "GET" and not path.startswith("/api/"):
            page = client.get(address_of(path), headers=HTML)
            if page.status_code != 303 or not page.headers["location"].startswith("/login?next="):
                reached.append((method, path, page.status_code))
    assert reached == []


@one_database
def test_an_annotator_reaches_nothing_but_their_own_work(app: FastAPI, annotator: Person) -> None:
    client = client_of(app, annotator)
    reached = []
    for method, path in routes_of(app):
        if path in OF_ANNOTATORS or path.startswith(JUDGING):
            continue
        response = client.request(method, address_of(path))
        if response.status_code not in {403, 404}:
            reached.append((method, path, response.status_code))
    assert reached == []


@one_database
def test_an_annotator_reaches_no_other_project(app: FastAPI, annotator: Person, database: Database) -> None:
    client = client_of(app, add_person(database, Role.ANNOTATOR))
    reached = []
    for method, path in routes_of(app):
        if "{slug}" in path:
            response = client.request(method, address_of(path))
            if response.status_code not in {403, 404}:
                reached.append((method, path, response.status_code))
    assert reached == []


@one_database
def test_what_annotators_may_reach_still_exists(app: FastAPI) -> None:
    """The lists above would otherwise keep names that a later route could take over unnoticed."""
    assert OF_ANNOTATORS - {path for _, path in routes_of(app)} == set()


@one_database
def test_every_unsafe_route_asks_for_the_csrf_token(app: FastAPI, database: Database) -> None:
    client = client_of(app, add_person(database, Role.ADMIN))
    del client.headers["x-csrf-token"]
    unprotected = []
    for method, path in routes_of(app):
        if method in {"GET", "HEAD"}:
            continue
        response = client.request(method, address_of(path))
        if response.status_code != 403 or response.json()["code"] != "csrf_failed":
            unprotected.append((method, path, response.status_code))
    assert unprotected == []


@pytest.mark.parametrize("path", ["/login", "/invite/x", "/login/link/x", "/logout"])
def test_forms_of_people_who_are_not_logged_in_are_protected_too(client: TestClient, path: str) -> None:
    assert client.post(path).json()["code"] == "csrf_failed"
    client.cookies.set("inpaintdpo_visitor", "mine")
    assert client.post(path, data={"csrf_token": csrf.token_for("somebody else's")}).json()["code"] == "csrf_failed"


def test_the_csrf_token_belongs_to_one_session(app: FastAPI, database: Database) -> None:
    mira = add_person(database)
    client, other = client_of(app, mira), client_of(app, mira)
    assert client.patch("/api/v1/me", json={"name": "Mira"}).status_code == 200
    stolen = {"x-csrf-token": other.headers["x-csrf-token"]}
    assert client.patch("/api/v1/me", json={"name": "Eve"}, headers=stolen).status_code == 403
    assert client.patch("/api/v1/me", json={"name": "Eve"}, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.get("/api/v1/me").json()["name"] == "Mira"
    # A page that stayed open while its reader logged in again finds its new token where it asks who it is.
    assert client.get("/api/v1/me").json()["csrf_token"] == client.headers["x-csrf-token"]


@pytest.fixture
def probe(app: FastAPI) -> TestClient:
    """A client of the application with two routes more."""

    @app.post("/api/v1/probe", dependencies=[require_scope("train")])
    def probe(person: LeadPerson) -> str:
        return person.name

    @app.post("/api/v1/forgotten")
    def forgotten(person: CurrentPerson) -> str:
        return person.name

    return TestClient(app, base_url="http://localhost")


def test_a_token_reaches_what_its_scopes_and_its_owner_s_role_allow(
    probe: TestClient, database: Database, annotator: Person
) -> None:
    lead = add_person(database)
    train, read = token_of(database, lead, "train"), token_of(database, lead, "read")
    assert probe.post("/api/v1/probe", headers=train).json() == lead.name
    assert probe.post("/api/v1/probe", headers=read).json()["scope"] == "train"
    assert probe.get("/api/v1/me", headers=read).json()["scopes"] == ["read"]
    assert probe.get("/api/v1/me", headers=train).status_code == 403
    assert probe.post("/api/v1/probe", headers=token_of(database, annotator, "train")).json()["code"] == "forbidden"
    assert probe.get("/api/v1/people", headers=token_of(database, lead, "read", "admin")).status_code == 403


def test_a_route_that_names_no_scope_is_closed_to_all_but_admin_tokens(probe: TestClient, database: Database) -> None:
    lead = add_person(database)
    every_other = token_of(database, lead, "read", "judge", "import", "export", "generate", "train")
    assert probe.post("/api/v1/forgotten", headers=every_other).status_code == 403
    assert probe.post("/api/v1/forgotten", headers=token_of(database, lead, "admin")).status_code == 200


def test_dead_tokens_open_nothing(client: TestClient, database: Database) -> None:
    lead = add_person(database)
    headers = token_of(database, lead, "read")
    assert client.get("/api/v1/me", headers=headers).status_code == 200
    for values in ({"expires_at": utcnow() - timedelta(seconds=1)}, {"expires_at": None, "revoked_at": utcnow()}):
        with database.transaction() as session:
            session.execute(update(ApiToken).values(values))
        assert client.get("/api/v1/me", headers=headers).json()["code"] == "wrong_token"
    with database.transaction() as session:
        session.execute(update(ApiToken).values(revoked_at=None))
        session.execute(update(Person).where(Person.id == lead.id).values(is_active=False))
    assert client.get("/api/v1/me", headers=headers).status_code == 401
    assert client.get("/api/v1/me", headers={"authorization": "Bearer nonsense"}).status_code == 401


def test_use_of_a_token_is_noted(client: TestClient, database: Database) -> None:
    lead = add_person(database)
    client.get("/api/v1/me", headers=token_of(database, lead, "read"))
    with database.reading() as session:
        assert session.scalars(select(ApiToken.last_used_at)).one() is not None


def test_a_cookie_does_not_lend_a_token_its_rights(app: FastAPI, database: Database) -> None:
    """A request with both is judged by the token alone."""
    client = client_of(app, add_person(database, Role.ADMIN))
    lead = token_of(database, add_person(database), "read")
    assert client.get("/api/v1/people", headers=lead).status_code == 403


def test_a_session_is_trusted_for_a_moment_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("backend.accounts.access.time.monotonic", lambda: now)
    recent, who = RecentSessions(), Identity(Person(id=1), session_id=7)
    recent.remember("cookie", who)
    now += TRUST_SECONDS - 0.1
    assert recent.find("cookie") is who and recent.find("another") is None
    now += 0.2
    assert recent.find("cookie") is None


def test_only_images_of_the_judge_screen_trust_a_recent_session(app: FastAPI) -> None:
    trusting = {
        context.path
        for context in iter_route_contexts(app.routes)
        if getattr(getattr(context, "endpoint", None), "trusts_recent", False)
    }
    assert trusting == {
        f"/judge/assignments/{{assignment_id}}/{name}" for name in ("images/{shown_position}", "subject", "mask")
    }
