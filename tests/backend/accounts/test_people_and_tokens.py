"""What admins do with people, what owners do with tokens, and what is recorded of both."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from backend.accounts import invitations, service
from backend.accounts.models import ApiToken, AuditEntry, Person, Role
from backend.accounts.projects import NoProjects
from backend.accounts.schemas import InvitationIn, TokenIn
from backend.accounts.service import audit
from backend.kit.database import Database
from tests.people import add_person, client_of, token_of

HTML = {"accept": "text/html"}


@pytest.fixture
def admin(database: Database) -> Person:
    return add_person(database, Role.ADMIN, name="Ada Admin", email="ada@example.org")


@pytest.fixture
def as_admin(app: FastAPI, admin: Person) -> TestClient:
    return client_of(app, admin)


def invite(database: Database, person: Person, **wanted: object) -> str:
    with database.transaction() as session:
        return invitations.create_invitation(session, person, InvitationIn(**wanted), NoProjects())[1]


def accept(client: TestClient, path: str, email: str):
    """Sends the form of an invitation, as somebody whom the service does not know yet."""
    client.cookies.clear()
    page = client.get("/login", headers=HTML).text
    fields = {"name": "Mira", "email": email, "password": "correct horse battery"}
    token = page.split('name="csrf_token" value="')[-1].split('"')[0]
    return client.post(path, data={"csrf_token": token, **fields}, headers=HTML)


def actions(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))


def test_people_are_listed_by_pages_and_found_by_filters(as_admin: TestClient, database: Database) -> None:
    for number in range(5):
        add_person(database, Role.ANNOTATOR, name=f"Sim {number}", is_simulated=True)
    add_person(database, name="100% Lead")
    first = as_admin.get("/api/v1/people?limit=4").json()
    second = as_admin.get(f"/api/v1/people?limit=4&cursor={first['next_cursor']}").json()
    names = [person["name"] for person in first["items"] + second["items"]]
    assert names == ["100% Lead", "Sim 4", "Sim 3", "Sim 2", "Sim 1", "Sim 0", "Ada Admin"]
    assert second["next_cursor"] is None
    assert [one["name"] for one in as_admin.get("/api/v1/people?q=0%25 l").json()["items"]] == ["100% Lead"]
    assert len(as_admin.get("/api/v1/people?kind=simulated").json()["items"]) == 5
    assert as_admin.get("/api/v1/people?role=nobody").status_code == 422

    page = as_admin.get("/people?limit=2&kind=simulated", headers=HTML).text
    assert page.count("badge-simulated") == 2 and "/people?limit=2&amp;kind=simulated&amp;cursor=" in page
    assert "Nobody fits these filters" in as_admin.get("/people?q=zzz", headers=HTML).text


def test_a_change_of_role_is_made_and_recorded(as_admin: TestClient, database: Database) -> None:
    person = add_person(database, Role.ANNOTATOR)
    assert as_admin.patch(f"/api/v1/people/{person.id}", json={"role": "lead"}).json()["role"] == "lead"
    assert as_admin.post(f"/people/{person.id}", data={"role": "annotator"}, headers=HTML).status_code == 303
    assert actions(database) == ["person.role", "person.role"]
    entry = as_admin.get(f"/api/v1/audit?object_type=person&object_id={person.id}").json()["items"][0]
    assert entry["details"] == {"before": "lead", "after": "annotator"}
    assert as_admin.patch("/api/v1/people/999", json={"role": "lead"}).status_code == 404


def test_deactivating_ends_sessions_links_and_tokens(app: FastAPI, as_admin: TestClient, database: Database) -> None:
    person = add_person(database)
    theirs, headers = client_of(app, person), token_of(database, person, "read")
    link = (
        as_admin.post(f"/people/{person.id}/link", headers=HTML).text.split('value="http://localhost')[1].split('"')[0]
    )
    assert as_admin.post(f"/people/{person.id}", data={"is_active": "false"}, headers=HTML).status_code == 303
    assert theirs.get("/api/v1/me").status_code == 401
    stranger = TestClient(app, base_url="http://localhost")
    assert stranger.get("/api/v1/me", headers=headers).status_code == 401
    assert stranger.get(link, headers=HTML).status_code == 410
    assert "Let them in again" in as_admin.get(f"/people/{person.id}", headers=HTML).text
    refused = as_admin.post(f"/people/{person.id}/link", headers=HTML)
    assert refused.status_code == 409

    as_admin.post(f"/people/{person.id}", data={"is_active": "true"}, headers=HTML)
    assert client_of(app, person).get("/api/v1/me").status_code == 200
    assert stranger.get("/api/v1/me", headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"is_active": False}, {Role.ANNOTATOR, Role.LEAD, Role.ADMIN}),
        ({"role": "annotator"}, {Role.ANNOTATOR, Role.LEAD, Role.ADMIN}),
        ({"role": "lead"}, {Role.LEAD, Role.ADMIN}),
    ],
)
def test_whoever_may_invite_no_longer_takes_their_open_invitations_along(
    as_admin: TestClient, admin: Person, client: TestClient, database: Database, change: dict, lost: set[Role]
) -> None:
    theirs = add_person(database, Role.ADMIN)
    paths = {role: invite(database, theirs, role=role) for role in Role}
    others = invite(database, admin, role=Role.ADMIN)
    assert as_admin.patch(f"/api/v1/people/{theirs.id}", json=change).status_code == 200
    for role, path in paths.items():
        answer = accept(client, path, f"{role}@example.org")
        assert answer.status_code == (410 if role in lost else 303)
        assert ("This invitation has been used up, has been withdrawn" in answer.text) is (role in lost)
    assert accept(client, others, "other@example.org").status_code == 303


def test_an_invitation_that_was_used_up_is_not_called_withdrawn(
    as_admin: TestClient, client: TestClient, database: Database
) -> None:
    lead = add_person(database)
    assert accept(client, invite(database, lead), "mira@example.org").status_code == 303
    as_admin.patch(f"/api/v1/people/{lead.id}", json={"is_active": False})
    assert as_admin.get("/api/v1/invitations").json()["items"][0]["revoked_at"] is None


@pytest.mark.parametrize("change", [{"role": "lead"}, {"is_active": False}])
def test_the_last_admin_stays(as_admin: TestClient, admin: Person, database: Database, change: dict) -> None:
    response = as_admin.patch(f"/api/v1/people/{admin.id}", json=change)
    assert response.status_code == 409 and "only active admin" in response.json()["detail"]
    page = as_admin.post(f"/people/{admin.id}", data={name: str(value) for name, value in change.items()}, headers=HTML)
    assert page.status_code == 409 and "only active admin" in page.text
    add_person(database, Role.ADMIN)
    assert as_admin.patch(f"/api/v1/people/{admin.id}", json=change).status_code == 200


def test_a_simulated_annotator_stays_one(as_admin: TestClient, database: Database) -> None:
    simulated = add_person(database, Role.ANNOTATOR, is_simulated=True)
    assert as_admin.patch(f"/api/v1/people/{simulated.id}", json={"role": "admin"}).status_code == 409
    assert "Make a login link" not in as_admin.get(f"/people/{simulated.id}", headers=HTML).text


def test_a_token_is_shown_once_and_stored_as_a_hash(app: FastAPI, database: Database) -> None:
    lead = add_person(database)
    client = client_of(app, lead)
    form = {"name": "nightly", "scopes": ["read", "export"], "days": "30"}
    page = client.post("/tokens", data=form, headers=HTML)
    secret = page.text.split('id="new-token" value="')[1].split('"')[0]
    assert secret.startswith("idpo_") and len(secret) > 40
    with database.reading() as session:
        token = session.scalars(select(ApiToken)).one()
        assert secret not in (token.token_hash, token.prefix) and secret.startswith(token.prefix)
    again = client.get("/tokens", headers=HTML).text
    assert secret not in again and token.prefix in again
    stranger = TestClient(app, base_url="http://localhost")
    assert stranger.get("/api/v1/me", headers={"authorization": f"Bearer {secret}"}).json()["id"] == lead.id

    client.post(f"/tokens/{token.id}/revoke")
    assert stranger.get("/api/v1/me", headers={"authorization": f"Bearer {secret}"}).status_code == 401
    assert actions(database) == ["token.create", "token.revoke"]


def test_what_is_wrong_with_a_token_is_said_beside_the_field(app: FastAPI, database: Database) -> None:
    client = client_of(app, add_person(database))
    page = client.post("/tokens", data={"name": "", "days": "30"}, headers=HTML)
    assert page.status_code == 422 and "Fill this in." in page.text and "Choose at least one." in page.text
    page = client.post("/tokens", data={"name": "x", "scopes": ["read", "admin"]}, headers=HTML)
    assert page.status_code == 422 and "Only an admin" in page.text
    assert client.post("/api/v1/tokens", json={"name": "x", "scopes": ["everything"]}).status_code == 422


def test_tokens_belong_to_their_owner(app: FastAPI, as_admin: TestClient, database: Database) -> None:
    mira, tom = add_person(database, name="Mira"), add_person(database)
    with database.transaction() as session:
        token, _ = service.create_token(session, mira, TokenIn(name="mine", scopes=["read"]))
    toms = client_of(app, tom)
    assert toms.get("/api/v1/tokens").json()["items"] == []
    assert toms.get("/api/v1/tokens?everyone=true").status_code == 403
    assert toms.delete(f"/api/v1/tokens/{token.id}").status_code == 404
    assert "mine" not in toms.get("/tokens?of=everyone", headers=HTML).text
    assert "Mira" in as_admin.get("/tokens?of=everyone", headers=HTML).text
    assert as_admin.delete(f"/api/v1/tokens/{token.id}").status_code == 204


def test_the_audit_trail_is_filtered_by_the_url(as_admin: TestClient, admin: Person, database: Database) -> None:
    with database.transaction() as session:
        for number in range(3):
            audit(session, admin, "snapshot.freeze", "snapshot", number, pairs=number)
        audit(session, None, "snapshot.forget", "snapshot", 9)
    page = as_admin.get("/audit?action=snapshot.f&limit=2", headers=HTML).text
    assert page.count("<code>snapshot.") == 2 and "cursor=" in page
    assert as_admin.get("/audit?person=ADA@example.org", headers=HTML).text.count("<code>snapshot.freeze") == 3
    assert "the system" in as_admin.get("/audit?object_id=9", headers=HTML).text
    assert "Nothing was recorded" in as_admin.get("/audit?until=2001-01-01", headers=HTML).text
    assert as_admin.get("/audit?since=2001-01-01", headers=HTML).text.count("<code>") == 4
    assert "Write a date like 2026-01-31." in as_admin.get("/audit?since=yesterday", headers=HTML).text
    assert len(as_admin.get("/api/v1/audit?action=snapshot.freeze&limit=200").json()["items"]) == 3


def test_an_account_is_changed_by_its_owner(app: FastAPI, database: Database) -> None:
    add_person(database, email="taken@example.org")
    client = client_of(app, add_person(database))
    taken = client.post("/account", data={"name": "Mira", "email": "Taken@example.org"}, headers=HTML)
    assert taken.status_code == 422 and "the email taken@example.org already has an account" in taken.text
    assert client.post("/account", data={"name": "Mira", "email": "Mira@Example.org"}).status_code == 303
    assert "Your account is saved." in client.get("/account?saved=account", headers=HTML).text
    me = client.get("/api/v1/me").json()
    assert (me["name"], me["email"]) == ("Mira", "mira@example.org")


def test_a_name_that_looks_like_markup_is_only_shown(app: FastAPI, as_admin: TestClient, database: Database) -> None:
    person = add_person(database, name="<script>alert(1)</script>")
    for page in ("/people", f"/people/{person.id}"):
        assert "<script>alert" not in as_admin.get(page, headers=HTML).text


@pytest.mark.parametrize(("path", "status"), [("/people/999", 404), ("/nowhere", 404), ("/people/x", 422)])
def test_errors_are_pages_in_words_for_people_and_documents_for_programs(
    as_admin: TestClient, path: str, status: int
) -> None:
    page = as_admin.get(path, headers=HTML)
    assert page.status_code == status and "<h1>" in page.text and "Traceback" not in page.text
    assert 'href="/account"' in page.text
    assert as_admin.get(path).json()["status"] == status


def test_pages_bring_nothing_that_the_content_policy_would_block(as_admin: TestClient, admin: Person) -> None:
    for path in ("/people", f"/people/{admin.id}", "/invitations", "/tokens", "/audit", "/account", "/nowhere"):
        response = as_admin.get(path, headers=HTML)
        assert "script-src 'self'" in response.headers["content-security-policy"]
        assert " style=" not in response.text and "<style" not in response.text
        assert "onclick" not in response.text and "<script>" not in response.text
