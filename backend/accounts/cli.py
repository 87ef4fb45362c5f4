"""Commands about people, tokens and invitations, for `inpaintdpo` to mount."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from pydantic import ValidationError
from sqlalchemy.orm import Session

from backend.accounts import invitations, repository, service
from backend.accounts.models import Person, Role
from backend.accounts.projects import NoProjects, Projects
from backend.accounts.schemas import AccountChange, InvitationIn, PeopleFilter, PersonChange, PersonOut, TokenIn
from backend.accounts.tokens import SCOPES
from backend.kit.database import Database
from backend.kit.errors import AppError, NotFound
from backend.kit.forms import in_words
from backend.kit.paging import PageRequest
from backend.settings import Settings

user = typer.Typer(no_args_is_help=True, help="People: create, list, set a password, make a login link, deactivate.")
token = typer.Typer(no_args_is_help=True, help="API tokens for programs.")
# Set by the command's entry point, which knows the catalogue.
projects: Projects = NoProjects()

Email = Annotated[str, typer.Argument(help="Email of the person.")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking.")
]


def _say(words: str) -> None:
    typer.echo(words)


@contextmanager
def _transaction() -> Iterator[tuple[Session, Settings]]:
    """A transaction of the configured database; what is wrong is said in one sentence, with exit status 1."""
    settings = Settings()
    database = Database(settings.resolved_database_url)
    try:
        with database.transaction() as session:
            yield session, settings
    except AppError as error:
        typer.secho(error.detail, err=True, fg=typer.colors.RED)
        raise typer.Exit(1) from None
    except ValidationError as error:
        for item in error.errors():
            typer.secho(
                f"{item['loc'][0] if item['loc'] else 'input'}: {in_words(item)}", err=True, fg=typer.colors.RED
            )
        raise typer.Exit(1) from None
    finally:
        database.dispose()


def _find(session: Session, email: str) -> Person:
    person = repository.person_by_email(session, email)
    if person is None:
        raise NotFound(f"Nobody here has the email {email}. `inpaintdpo user list` shows who there is.")
    return person


def _read_password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    return typer.prompt("Password", hide_input=True, confirmation_prompt=True)


def _address(settings: Settings, path: str) -> str:
    return (settings.public_url or f"http://{settings.host}:{settings.port}").rstrip("/") + path


@user.command("create")
def create_user(
    email: Email,
    name: Annotated[str, typer.Option(help="Name others see.")],
    role: Annotated[Role, typer.Option(help="What they may do.")] = Role.ANNOTATOR,
    password_stdin: PasswordStdin = False,
    link: Annotated[bool, typer.Option("--link", help="No password yet: print a one-time login link instead.")] = False,
) -> None:
    """Make an account."""
    password = None if link else _read_password(password_stdin)
    with _transaction() as (session, settings):
        wanted = AccountChange(name=name, email=email)
        person = service.create_person(
            session, None, name=wanted.name, email=wanted.email, role=role, password=password
        )
        _say(f"{person.name} ({person.email}) is here now, as {role}.")
        if link:
            _say(_address(settings, service.make_login_link(session, None, person)))


@user.command("list")
def list_users(
    role: Annotated[Role | None, typer.Option(help="Only people of this role.")] = None, as_json: AsJson = False
) -> None:
    """List people, newest first."""
    with _transaction() as (session, _):
        after: int | None = None
        while True:
            people, more = repository.people_page(session, PeopleFilter(role=role), PageRequest(limit=200, after=after))
            for person in people:
                if as_json:
                    _say(PersonOut.model_validate(person).model_dump_json())
                else:
                    marks = [
                        *(["simulated"] if person.is_simulated else []),
                        *([] if person.is_active else ["deactivated"]),
                    ]
                    _say(
                        f"{person.role:<10} {person.email:<40} {person.name}{' · ' if marks else ''}{', '.join(marks)}"
                    )
            if more is None:
                return
            after = people[-1].id


@user.command("password")
def set_user_password(email: Email, password_stdin: PasswordStdin = False) -> None:
    """Set somebody's password; all their sessions end."""
    password = _read_password(password_stdin)
    with _transaction() as (session, _):
        person = _find(session, email)
        service.set_password(session, None, person.id, password, keep=None)
        _say(f"The password of {person.name} is set; they have been logged out everywhere.")


@user.command("link")
def make_user_link(email: Email) -> None:
    """Print a link that logs somebody in once, within a day."""
    with _transaction() as (session, settings):
        _say(_address(settings, service.make_login_link(session, None, _find(session, email))))


@user.command("deactivate")
def deactivate_user(email: Email) -> None:
    """Log somebody out for good and end their tokens and invitations; their judgments stay."""
    with _transaction() as (session, _):
        person = _find(session, email)
        service.change_person(session, None, person.id, PersonChange(is_active=False))
        _say(f"{person.name} can no longer log in.")


@token.command("create")
def create_token(
    email: Email,
    name: Annotated[str, typer.Option(help="What uses it.")],
    scope: Annotated[list[str], typer.Option(help=f"One of {', '.join(SCOPES)}; may be given again.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days until it expires.")] = 90,
    as_json: AsJson = False,
) -> None:
    """Make an API token of a person and print it: it is shown this once."""
    with _transaction() as (session, _):
        made, secret = service.create_token(session, _find(session, email), TokenIn(name=name, scopes=scope, days=days))
        _say(json.dumps({"id": made.id, "token": secret, "scopes": made.scopes}) if as_json else secret)


def invite(
    by: Annotated[str, typer.Option(help="Email of the lead or admin who invites.")],
    role: Annotated[Role, typer.Option(help="What they may do.")] = Role.ANNOTATOR,
    project: Annotated[str | None, typer.Option(help="Name of the project they join.")] = None,
    uses: Annotated[int, typer.Option(min=1, max=1000, help="How many people may use the link.")] = 1,
    days: Annotated[int, typer.Option(min=1, max=90, help="Days until it expires.")] = 14,
    note: Annotated[str, typer.Option(help="A line they see with it.")] = "",
) -> None:
    """Print an invitation link: whoever opens it makes an account of their own."""
    with _transaction() as (session, settings):
        person = _find(session, by)
        names = {name: number for number, name in projects.choices(session, person)}
        if project is not None and project not in names:
            raise NotFound(f"{person.name} has no project “{project}”. There is {', '.join(names) or 'none'}.")
        wanted = InvitationIn(
            role=role, project_id=names[project] if project else None, max_uses=uses, days=days, note=note
        )
        _, path = invitations.create_invitation(session, person, wanted, projects)
        _say(_address(settings, path))
