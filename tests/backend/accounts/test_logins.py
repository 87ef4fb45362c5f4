"""Logging in by password, staying logged in, being thrown out."""

from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from backend.accounts import login
from backend.accounts.models import AuditEntry, LoginSession, Person, Role
from backend.accounts.service import create_person, set_password
from backend.accounts.throttle import FAILURES_PER_ACCOUNT, WINDOW_SECONDS, Throttle
from backend.kit.database import Database, utcnow
from backend.kit.errors import Invalid, TooMany
from tests.people import add_person, client_of

PASSWORD = "correct horse battery"
HTML = {"accept": "text/html"}


@pytest.fixture
def mira(database: Database) -> Person:
    with database.transaction() as session:
        return create_person(session, None, name="Mira", email="mira@example.org", role=Role.LEAD, password=PASSWORD)


def csrf_of(client: TestClient, path: str = "/login") -> str:
    page = client.get(path, headers=HTML)
    assert page.status_code == 200, page.text
    return page.text.split('name="csrf_token" value="')[1].split('"')[0]


def log_in(client: TestClient, email: str = "mira@example.org", password: str = PASSWORD, **fields: str):
    form = {"email": email, "password": password, "csrf_token": csrf_of(client), **fields}
    return client.post("/login", data=form, headers=HTML)


def test_a_person_logs_in_and_lands_where_they_were_going(client: TestClient, mira: Person) -> None:
    response = client.get("/account?x=1", headers=HTML)
    assert response.headers["location"] == "/login?next=%2Faccount%3Fx%3D1"
    assert 'value="/account?x=1"' in client.get(response.headers["location"], headers=HTML).text

    response = log_in(client, "MIRA@Example.org ", next="/account?x=1")
    assert (response.status_code, response.headers["location"]) == (303, "/account?x=1")
    assert client.get("/api/v1/me").json()["name"] == "Mira"
    assert client.get("/login", headers=HTML).headers["location"] == "/"


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/\tx", "", "/login", "/logout"]
)
def test_no_link_leads_elsewhere_through_the_login(target: str) -> None:
    assert login.safe_next(target) == "/"


def test_the_cookie_is_closed_to_scripts_and_stored_only_as_a_hash(
    client: TestClient, mira: Person, database: Database
) -> None:
    cookie = next(value for value in log_in(client).headers.get_list("set-cookie") if value.startswith("inpaintdpo="))
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/" in cookie
    with database.reading() as session:
        stored = session.scalars(select(LoginSession.token_hash)).one()
    assert stored not in cookie and client.cookies["inpaintdpo"] != stored


@pytest.mark.parametrize(
    ("email", "password"), [("mira@example.org", "wrong horse"), ("nobody@example.org", PASSWORD), ("", "")]
)
def test_a_wrong_login_says_so_in_words_and_keeps_the_email(
    client: TestClient, mira: Person, database: Database, email: str, password: str
) -> None:
    response = log_in(client, email, password)
    assert response.status_code == 422
    assert login.WRONG in response.text and f'value="{email}"' in response.text
    assert not password or password not in response.text
    assert "inpaintdpo" not in client.cookies
    with database.reading() as session:
        assert session.scalars(select(AuditEntry.action).order_by(AuditEntry.id.desc())).first() == "login.failed"


def test_people_without_password_deactivated_or_simulated_do_not_get_in(client: TestClient, database: Database) -> None:
    add_person(database, email="none@example.org")
    with database.transaction() as session:
        gone = create_person(session, None, name="Gone", email="gone@example.org", password=PASSWORD)
        gone.is_active = False
    add_person(database, Role.ANNOTATOR, email="bot@example.org", is_simulated=True)
    for email in ("none@example.org", "gone@example.org", "bot@example.org"):
        assert log_in(client, email).status_code == 422


def test_guessing_is_slowed_down_and_the_page_says_for_how_long(client: TestClient, mira: Person) -> None:
    for _ in range(FAILURES_PER_ACCOUNT):
        assert log_in(client, password="guess").status_code == 422
    response = log_in(client)
    assert response.status_code == 429
    assert "Wait 15 minutes" in response.text


def test_the_throttle_forgets_after_its_window_and_after_a_success() -> None:
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    for _ in range(FAILURES_PER_ACCOUNT):
        throttle.failed("1.2.3.4", "a@example.org")
    with pytest.raises(TooMany):
        throttle.check("1.2.3.4", "A@example.org")
    throttle.check("1.2.3.4", "b@example.org")
    throttle.check("5.6.7.8", "a@example.org")
    now[0] = WINDOW_SECONDS + 1
    throttle.check("1.2.3.4", "a@example.org")


def test_logging_in_replaces_the_session_the_browser_had(client: TestClient, mira: Person, database: Database) -> None:
    log_in(client)
    before = client.cookies["inpaintdpo"]
    token = client.get("/api/v1/me").json()["csrf_token"]
    client.post("/login", data={"email": mira.email, "password": PASSWORD, "csrf_token": token})
    assert client.cookies["inpaintdpo"] != before
    with database.reading() as session:
        assert len(session.scalars(select(LoginSession)).all()) == 1


@pytest.mark.parametrize(
    "change",
    [{"expires_at": timedelta(seconds=-1)}, {"last_seen_at": timedelta(hours=-12, seconds=-1)}],
    ids=["too old", "idle too long"],
)
def test_a_session_ends(client: TestClient, mira: Person, database: Database, change: dict[str, timedelta]) -> None:
    log_in(client)
    with database.transaction() as session:
        session.execute(update(LoginSession).values({name: utcnow() + delta for name, delta in change.items()}))
    assert client.get("/api/v1/me").status_code == 401
    assert client.get("/account", headers=HTML).status_code == 303
    # The stale cookie does not stand in the way of a new login.
    assert log_in(client).status_code == 303
    assert client.get("/api/v1/me").status_code == 200


def test_use_is_noted_but_not_on_every_request(client: TestClient, mira: Person, database: Database) -> None:
    log_in(client)
    earlier = utcnow() - timedelta(hours=1)
    with database.transaction() as session:
        session.execute(update(LoginSession).values(last_seen_at=earlier))

    def seen() -> object:
        with database.reading() as session:
            return session.scalars(select(LoginSession.last_seen_at)).one()

    client.get("/api/v1/me")
    first = seen()
    client.get("/api/v1/me")
    assert first > earlier and seen() == first


def test_logging_out_ends_the_session_on_the_server(client: TestClient, mira: Person, database: Database) -> None:
    log_in(client)
    cookie = client.cookies["inpaintdpo"]
    token = client.get("/api/v1/me").json()["csrf_token"]
    response = client.post("/logout", data={"csrf_token": token}, headers=HTML)
    assert response.headers["location"] == "/login" and "inpaintdpo" not in client.cookies
    client.cookies.set("inpaintdpo", cookie)
    assert client.get("/api/v1/me").status_code == 401


def test_an_old_hash_is_renewed_at_login(client: TestClient, mira: Person, database: Database) -> None:
    weak = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1).hash(PASSWORD)
    with database.transaction() as session:
        session.execute(update(Person).where(Person.id == mira.id).values(password_hash=weak))
    assert log_in(client).status_code == 303
    with database.reading() as session:
        renewed = session.get_one(Person, mira.id).password_hash
    assert renewed != weak and renewed.startswith("$argon2id$")
    client.cookies.clear()
    assert log_in(client).status_code == 303


def test_a_new_password_ends_all_other_sessions(app: FastAPI, client: TestClient, mira: Person) -> None:
    other = client_of(app, mira)
    log_in(client)
    client.headers["x-csrf-token"] = client.get("/api/v1/me").json()["csrf_token"]
    form = {"current": PASSWORD, "password": "four unrelated words", "again": "four unrelated words"}
    wrong = client.post("/account/password", data=form | {"current": "not it"}, headers=HTML)
    assert wrong.status_code == 422 and "not your present password" in wrong.text
    unequal = client.post("/account/password", data=form | {"again": "other words here"}, headers=HTML)
    assert unequal.status_code == 422 and "do not match" in unequal.text
    short = client.post("/account/password", data=form | {"password": "short", "again": "short"}, headers=HTML)
    assert short.status_code == 422 and "at least 10 characters" in short.text

    assert client.post("/account/password", data=form, headers=HTML).status_code == 303
    assert client.get("/api/v1/me").status_code == 200
    assert other.get("/api/v1/me").status_code == 401


def test_sessions_are_listed_and_can_be_ended_by_their_owner_only(app: FastAPI, database: Database) -> None:
    mira, tom = add_person(database), add_person(database)
    here, there, toms = client_of(app, mira), client_of(app, mira), client_of(app, tom)
    items = here.get("/api/v1/sessions").json()["items"]
    assert [item["current"] for item in items].count(True) == 1 and len(items) == 2
    other = next(item["id"] for item in items if not item["current"])

    assert toms.delete(f"/api/v1/sessions/{other}").status_code == 404
    assert there.get("/api/v1/me").status_code == 200
    assert "tests" in here.get("/account", headers=HTML).text
    assert here.post(f"/account/sessions/{other}/end").headers["location"] == "/account?saved=session"
    assert there.get("/api/v1/me").status_code == 401

    again = client_of(app, mira)
    here.post("/account/sessions/end-others")
    assert (here.get("/api/v1/me").status_code, again.get("/api/v1/me").status_code) == (200, 401)


def test_the_service_behind_https_uses_host_cookies(app: FastAPI, database: Database, mira: Person) -> None:
    app.state.settings.cookie_secure = True
    client = TestClient(app, base_url="https://localhost", follow_redirects=False)
    response = log_in(client)
    cookie = next(value for value in response.headers.get_list("set-cookie") if value.startswith("__Host-inpaintdpo="))
    assert "Secure" in cookie
    assert client.get("/api/v1/me").status_code == 200


def test_setting_a_password_refuses_what_is_guessed_first(database: Database, mira: Person) -> None:
    for weak in ("123456789012", "aaaaaaaaaaaa", "qwertyuiop", "mira@example.org"):
        with pytest.raises(Invalid), database.transaction() as session:
            set_password(session, None, mira.id, weak, keep=None)
