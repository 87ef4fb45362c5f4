"""Links that let people in: the first admin's, a one-time login, an invitation."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from backend.accounts import invitations, repository, service
from backend.accounts.models import Invitation, LoginLink, Person, Role
from backend.accounts.projects import NoProjects
from backend.accounts.schemas import InvitationIn, Joining
from backend.catalogue.models import Project, ProjectMember
from backend.kit.database import Database, utcnow
from backend.kit.errors import Gone
from tests.people import add_person, client_of, log_in

PASSWORD = "correct horse battery"
HTML = {"accept": "text/html"}


def press(client: TestClient, path: str, **fields: str):
    """Opens a page and sends its form."""
    page = client.get(path, headers=HTML)
    assert page.status_code == 200, page.text
    token = page.text.split('name="csrf_token" value="')[-1].split('"')[0]
    return client.post(path, data={"csrf_token": token, **fields}, headers=HTML)


# The first admin


def test_the_first_start_makes_an_admin_without_password_and_a_link(client: TestClient, database: Database) -> None:
    with database.transaction() as session:
        path = service.ensure_first_admin(session)
    response = press(client, path)
    assert (response.status_code, response.headers["location"]) == (303, "/")
    me = client.get("/api/v1/me").json()
    assert (me["role"], me["email"]) == ("admin", service.FIRST_ADMIN_EMAIL)
    assert 'href="/account#password-section"' in client.get("/account", headers=HTML).text


def test_every_start_gives_a_fresh_link_until_a_password_is_set(client: TestClient, database: Database) -> None:
    with database.transaction() as session:
        first = service.ensure_first_admin(session)
    with database.transaction() as session:
        second = service.ensure_first_admin(session)
    assert client.get(first, headers=HTML).status_code == 410
    assert press(client, second).status_code == 303
    with database.transaction() as session:
        admin = session.scalars(select(Person)).one()
        service.set_password(session, admin, admin.id, PASSWORD, keep=None)
    with database.transaction() as session:
        assert service.ensure_first_admin(session) is None


# One-time login links


def test_looking_at_a_link_does_not_use_it_up(client: TestClient, database: Database) -> None:
    person = add_person(database, name="Mira")
    with database.transaction() as session:
        path = service.make_login_link(session, None, person)
    for _ in range(3):
        assert "Log in as Mira" in client.get(path, headers=HTML).text
    assert client.get("/api/v1/me").status_code == 401
    assert press(client, path).status_code == 303
    assert client.get("/api/v1/me").json()["name"] == "Mira"

    again = client.get(path, headers=HTML)
    assert again.status_code == 410 and "has been used or has expired" in again.text
    token = client.get("/api/v1/me").json()["csrf_token"]
    assert client.post(path, data={"csrf_token": token}, headers=HTML).status_code == 410


def test_a_link_ends_after_a_day_and_with_its_person(client: TestClient, database: Database) -> None:
    person = add_person(database)
    with database.transaction() as session:
        old = service.make_login_link(session, None, person)
        session.execute(update(LoginLink).values(expires_at=utcnow() - timedelta(seconds=1)))
    assert client.get(old, headers=HTML).status_code == 410
    with database.transaction() as session:
        path = service.make_login_link(session, None, person)
        session.execute(update(Person).values(is_active=False))
    assert client.get(path, headers=HTML).status_code == 410


def test_a_link_lets_one_in_of_many_who_press_at_once(database: Database) -> None:
    person = add_person(database)
    with database.transaction() as session:
        secret = service.make_login_link(session, None, person).rsplit("/", 1)[1]

    def use(_: int) -> bool:
        try:
            with database.transaction() as session:
                service.use_login_link(session, secret)
        except Gone:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(use, range(8))) == 1


# Invitations


@pytest.fixture
def streets(database: Database) -> Project:
    with database.transaction() as session:
        project = Project(slug="streets", name="Street scenes")
        session.add(project)
    return project


def invite(database: Database, person: Person, **wanted: object) -> str:
    with database.transaction() as session:
        return invitations.create_invitation(session, person, InvitationIn(**wanted), NoProjects())[1]


def test_an_invited_person_makes_an_account_and_lands_in_their_project(
    app: FastAPI, client: TestClient, database: Database, streets: Project
) -> None:
    admin = client_of(app, add_person(database, Role.ADMIN))
    made = admin.post("/api/v1/invitations", json={"project_id": streets.id, "note": "Spring campaign"}).json()
    path = made["link"].removeprefix("http://localhost")
    assert "Spring campaign" in client.get(path, headers=HTML).text

    response = press(client, path, name=" Mira ", email="mira@example.org", password=PASSWORD)
    assert (response.status_code, response.headers["location"]) == (303, "/projects/streets")
    me = client.get("/api/v1/me").json()
    assert (me["name"], me["role"]) == ("Mira", "annotator")
    with database.reading() as session:
        assert session.get(ProjectMember, (streets.id, me["id"])) is not None

    client.cookies.clear()
    assert client.get(path, headers=HTML).status_code == 410


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": " "}, "Fill this in."),
        ({"email": "mira"}, "Write an email address like name@example.org."),
        ({"email": "TAKEN@example.org"}, "Somebody with the email taken@example.org already has an account"),
        ({"password": "short"}, "Use at least 10 characters."),
        ({"password": "mira@example.org"}, "too easy to guess"),
    ],
)
def test_what_is_wrong_with_an_account_is_said_beside_the_field(
    client: TestClient, database: Database, fields: dict[str, str], words: str
) -> None:
    lead = add_person(database, email="taken@example.org")
    path = invite(database, lead)
    good = {"name": "Mira", "email": "mira@example.org", "password": PASSWORD}
    response = press(client, path, **good | fields)
    name = next(iter(fields))
    assert response.status_code == 422
    assert words in response.text.split(f'id="{name}-error"')[1].split("</span>")[0]
    assert PASSWORD not in response.text
    # The place was not lost to the mistake.
    assert press(client, path, **good).status_code == 303


def test_an_invited_person_may_write_their_email_in_capitals(client: TestClient, database: Database) -> None:
    path = invite(database, add_person(database))
    assert press(client, path, name="Mira", email="Mira@Example.org", password=PASSWORD).status_code == 303
    assert client.get("/api/v1/me").json()["email"] == "mira@example.org"
    client.cookies.clear()
    assert press(client, "/login", email="Mira@Example.org", password=PASSWORD).headers["location"] == "/"
    assert client.get("/api/v1/me").json()["name"] == "Mira"


def test_an_invitation_is_used_no_more_often_than_it_may(database: Database) -> None:
    secret = invite(database, add_person(database), max_uses=3).rsplit("/", 1)[1]
    start = threading.Barrier(10)

    def accept(number: int) -> bool:
        joining = Joining(name=f"Person {number}", email=f"p{number}@example.org", password=PASSWORD)
        start.wait(30)
        try:
            with database.transaction() as session:
                invitations.accept(session, secret, joining, NoProjects())
        except Gone:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(accept, range(10))) == 3
    with database.reading() as session:
        assert session.scalars(select(Invitation.uses)).one() == 3
        assert session.scalar(select(func.count()).where(Person.role == Role.ANNOTATOR)) == 3


def test_an_invitation_can_be_withdrawn_by_its_maker_or_an_admin(
    app: FastAPI, client: TestClient, database: Database
) -> None:
    lead, other = add_person(database), add_person(database)
    path = invite(database, lead)
    with database.reading() as session:
        number = session.scalars(select(Invitation.id)).one()
    assert client_of(app, other).delete(f"/api/v1/invitations/{number}").status_code == 404
    assert client_of(app, other).get("/api/v1/invitations").json()["items"] == []
    page = client_of(app, lead)
    assert "Withdraw" in page.get("/invitations", headers=HTML).text
    assert page.post(f"/invitations/{number}/revoke").headers["location"] == "/invitations?saved=invitation"
    assert client.get(path, headers=HTML).status_code == 410
    assert "Withdraw" not in page.get("/invitations", headers=HTML).text


def test_leads_invite_annotators_to_their_own_projects_only(app: FastAPI, database: Database, streets: Project) -> None:
    lead = add_person(database)
    client = client_of(app, lead)
    refused = client.post("/api/v1/invitations", json={"role": "lead"})
    assert refused.status_code == 403 and "ask an admin" in refused.json()["detail"]
    assert client.post("/api/v1/invitations", json={"project_id": streets.id}).status_code == 422
    with database.transaction() as session:
        session.add(ProjectMember(project_id=streets.id, person_id=lead.id))
    assert client.post("/api/v1/invitations", json={"project_id": streets.id}).status_code == 201
    page = client.post(
        "/invitations", data={"project_id": str(streets.id), "max_uses": "0", "days": "14"}, headers=HTML
    )
    assert page.status_code == 422 and "Write at least 1." in page.text
    page = client.post(
        "/invitations", data={"project_id": str(streets.id), "max_uses": "2", "days": "14"}, headers=HTML
    )
    assert "http://localhost/invite/" in page.text
    assert "/invite/" not in client.get("/invitations", headers=HTML).text


def test_somebody_with_an_account_joins_the_project_with_it(app: FastAPI, database: Database, streets: Project) -> None:
    admin, mira = add_person(database, Role.ADMIN), add_person(database, Role.ANNOTATOR)
    link = client_of(app, admin).post("/api/v1/invitations", json={"project_id": streets.id}).json()["link"]
    client = client_of(app, mira)
    response = press(client, link.removeprefix("http://localhost"))
    assert response.headers["location"] == "/projects/streets"
    with database.reading() as session:
        assert repository.person(session, mira.id).role == Role.ANNOTATOR
        assert session.get(ProjectMember, (streets.id, mira.id)) is not None


def test_the_pages_of_links_work_for_a_browser_that_kept_an_old_cookie(client: TestClient, database: Database) -> None:
    person = add_person(database)
    log_in(client, database, person)
    with database.transaction() as session:
        repository.delete_sessions_of(session, person.id)
        path = service.make_login_link(session, None, person)
    del client.headers["x-csrf-token"]
    assert press(client, path).status_code == 303
    assert client.get("/api/v1/me").json()["id"] == person.id
