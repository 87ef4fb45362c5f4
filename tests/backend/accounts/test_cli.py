"""The commands about people, tokens and invitations."""

import json

import pytest
from click.testing import Result
from fastapi.testclient import TestClient
from sqlalchemy import select
from typer import Typer
from typer.testing import CliRunner

from backend.accounts import cli, login
from backend.accounts.models import ApiToken, Person, Role
from backend.kit.database import Database
from tests.people import add_person

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setenv("INPAINTDPO_DATABASE_URL", database_url)


def run(*words: str, typed: str = "") -> Result:
    app = Typer()
    app.add_typer(cli.user, name="user")
    app.add_typer(cli.token, name="token")
    app.command("invite")(cli.invite)
    return CliRunner().invoke(app, list(words), input=typed)


def test_a_person_is_made_with_a_password(database: Database) -> None:
    made = run(
        "user", "create", "mira@example.org", "--name", "Mira", "--role", "lead", "--password-stdin", typed=PASSWORD
    )
    assert made.exit_code == 0 and "Mira (mira@example.org) is here now, as lead." in made.output
    assert login.check_password(database, "here", "mira@example.org", PASSWORD).role == Role.LEAD
    twice = run("user", "create", "Mira@example.org", "--name", "Mira", "--password-stdin", typed=PASSWORD)
    assert twice.exit_code == 1 and "the email mira@example.org already has an account" in twice.output
    assert "email: Write an email address" in run("user", "create", "x", "--name", "X", "--link").output


def test_capital_letters_in_an_email_make_no_difference(database: Database) -> None:
    made = run("user", "create", "Mira@Example.org", "--name", "Mira", "--password-stdin", typed=PASSWORD)
    assert made.exit_code == 0 and "Mira (mira@example.org) is here now" in made.output
    assert login.check_password(database, "here", "MIRA@example.org", PASSWORD).name == "Mira"
    assert "/login/link/" in run("user", "link", "Mira@Example.org").output


def test_a_person_is_made_with_a_login_link(database: Database, client: TestClient) -> None:
    link = run("user", "create", "mira@example.org", "--name", "Mira", "--link").output.splitlines()[-1]
    assert "Log in as Mira" in client.get(link.removeprefix("http://127.0.0.1:8000")).text


def test_people_are_listed_in_words_and_json(database: Database) -> None:
    add_person(database, Role.ANNOTATOR, name="Sim", is_simulated=True)
    add_person(database, name="Mira")
    assert "Sim · simulated" in run("user", "list").output
    assert [
        json.loads(line)["name"] for line in run("user", "list", "--role", "lead", "--json").output.splitlines()
    ] == ["Mira"]


def test_password_link_and_deactivation(database: Database) -> None:
    add_person(database, email="mira@example.org", name="Mira")
    assert run("user", "password", "mira@example.org", typed=f"{PASSWORD}\n{PASSWORD}\n").exit_code == 0
    assert login.check_password(database, "here", "mira@example.org", PASSWORD).name == "Mira"
    assert "/login/link/" in run("user", "link", "mira@example.org").output
    assert run("user", "deactivate", "mira@example.org").exit_code == 0
    assert run("user", "link", "mira@example.org").exit_code == 1
    missing = run("user", "deactivate", "nobody@example.org")
    assert missing.exit_code == 1 and "Nobody here has the email nobody@example.org" in missing.output


def test_tokens_and_invitations(database: Database) -> None:
    add_person(database, email="mira@example.org")
    secret = run(
        "token", "create", "mira@example.org", "--name", "ci", "--scope", "read", "--scope", "train"
    ).output.strip()
    assert secret.startswith("idpo_")
    with database.reading() as session:
        assert session.scalars(select(ApiToken.scopes)).one() == ["read", "train"]
        assert session.scalars(select(Person)).one() is not None
    assert run("token", "create", "mira@example.org", "--name", "ci", "--scope", "all").exit_code == 1
    assert "/invite/" in run("invite", "--by", "mira@example.org").output
    refused = run("invite", "--by", "mira@example.org", "--project", "streets")
    assert refused.exit_code == 1 and "no project “streets”" in refused.output
