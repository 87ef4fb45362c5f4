"""People for tests: real rows, real sessions, and clients that are logged in as them."""

import secrets

from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.accounts import csrf, sessions
from backend.accounts.models import ApiToken, Person, Role
from backend.accounts.tokens import fingerprint, new_api_token
from backend.kit.database import Database


def add_person(database: Database, role: Role | str = Role.LEAD, **columns: object) -> Person:
    """A stored person with a name and address of their own."""
    name = f"{role} {secrets.token_hex(3)}"
    values = {"name": name.title(), "email": f"{name.replace(' ', '.')}@example.org", "role": Role(role)} | columns
    with database.transaction() as session:
        person = Person(**values)
        session.add(person)
        session.flush()
        session.expunge(person)
    return person


def log_in(client: TestClient, database: Database, person: Person) -> TestClient:
    """Gives `client` a session of `person` and the CSRF token that belongs to it; returns the client."""
    with database.transaction() as session:
        cookie = sessions.start_session(session, person, "tests")
    client.cookies.set("inpaintdpo", cookie)
    client.headers["x-csrf-token"] = csrf.token_for(cookie)
    return client


def client_of(app: FastAPI, person: Person) -> TestClient:
    """A new client of `app` that is logged in as `person` and follows no redirects."""
    client = TestClient(app, base_url="http://localhost", follow_redirects=False)
    return log_in(client, app.state.database, person)


def token_of(database: Database, person: Person, *scopes: str) -> dict[str, str]:
    """The headers of a program that holds a token of `person` with `scopes`."""
    secret = new_api_token()
    with database.transaction() as session:
        session.add(
            ApiToken(
                token_hash=fingerprint(secret),
                prefix=secret[:11],
                name="tests",
                person_id=person.id,
                scopes=list(scopes),
            )
        )
    return {"authorization": f"Bearer {secret}"}
