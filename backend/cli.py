"""The `inpaintdpo` command."""

import json
import os
import socket
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from backend.accounts import cli as accounts_cli
from backend.catalogue import cli as catalogue_cli
from backend.catalogue.invited import InvitedProjects
from backend.jobs.machine import package_version
from backend.judging import cli as judging_cli
from backend.kit.database import Database
from backend.kit.errors import AppError
from backend.kit.logs import configure_logging
from backend.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="From human judgments of spatial rationality to preference-tuned inpainting models.\n\n"
    "Everything is configured by INPAINTDPO_… variables, which .env.example explains; without any, all data lies in "
    "the folder var/ and no other server is needed.",
)


class QueueName(StrEnum):
    CPU = "cpu"
    GPU = "gpu"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"inpaintdpo {package_version('inpaintdpo') or 'unknown'}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def up(
    home: Annotated[Path | None, typer.Option(help="Folder of all data. [INPAINTDPO_HOME, default var]")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [INPAINTDPO_HOST, default 127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one. [INPAINTDPO_PORT, default 8000]")
    ] = None,
) -> None:
    """Run the whole service on this machine: web server and workers, until Ctrl-C.

    The first start makes the database, the first admin and a demo project, and prints a link that logs that admin in.
    A part that crashes is started again; Ctrl-C hands running jobs back and leaves no process behind. A second start
    finds all data.
    """
    from backend.cli_up import CannotStart
    from backend.cli_up import up as run_up
    from backend.cli_web import AddressTaken

    # The parts are processes of their own, which read the same variables.
    for name, value in (("HOME", home), ("HOST", host), ("PORT", port)):
        if value is not None:
            os.environ[f"INPAINTDPO_{name}"] = str(value)
    settings = Settings()
    configure_logging("up", settings.log_format)
    try:
        run_up(settings, typer.echo)
    except (CannotStart, AddressTaken) as error:
        _refuse(str(error))


@app.command()
def web(
    inherited: Annotated[
        int | None, typer.Option("--socket", help="Serve on this inherited listening socket.", hidden=True)
    ] = None,
) -> None:
    """Run only the web server, at INPAINTDPO_HOST and INPAINTDPO_PORT.

    The schema must be there (`inpaintdpo migrate`), and workers run elsewhere (`inpaintdpo worker`).
    """
    from backend.cli_web import AddressTaken, listen, serve

    settings = Settings()
    configure_logging("web", settings.log_format)
    try:
        listener = listen(settings) if inherited is None else socket.socket(fileno=inherited)
    except AddressTaken as error:
        _refuse(str(error))
    raise typer.Exit(serve(settings, listener))


@app.command()
def worker(
    queue: Annotated[QueueName, typer.Option(help="cpu: imports, snapshots, simulation; gpu: sampling, training.")],
) -> None:
    """Run one worker, until SIGTERM or Ctrl-C; running jobs are then handed back.

    As many workers as wanted may run, on as many machines: a job is claimed by one of them, and taken over by another
    when that one dies. INPAINTDPO_CPU_SLOTS and INPAINTDPO_GPU_SLOTS say how many jobs a worker runs at a time.
    """
    from backend.jobs.machine import trainer_missing
    from backend.worker import run_worker

    settings = Settings()
    if queue is QueueName.GPU and (missing := trainer_missing()):
        _refuse(
            f"A worker of the queue gpu needs the trainer extra, and {', '.join(missing)} cannot be found: "
            "run `pip install 'inpaintdpo[trainer]'`."
        )
    configure_logging(f"worker-{queue}", settings.log_format)
    raise typer.Exit(run_worker(settings, queue))


@app.command()
def migrate(
    revision: Annotated[str, typer.Argument(help="The version to go to.")] = "head",
    furnish: Annotated[
        bool, typer.Option("--furnish", help="Also make the first admin, with a login link, and the demo project.")
    ] = False,
) -> None:
    """Bring the database to the newest schema; does nothing where it is there already.

    Several may run at once: on Postgres they wait for each other. With --furnish the service is then ready for its
    first visitor, as `inpaintdpo up` makes it.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from backend.jobs.health import short
    from backend.kit import migrations

    settings = Settings()
    database = Database(settings.resolved_database_url)
    try:
        before = migrations.current_revision(database)
        migrations.migrate(database, revision)
        after = migrations.current_revision(database)
        typer.echo(f"Schema version {after}, which was {'there already' if before == after else before or 'missing'}.")
        if furnish:
            _furnish(settings, database)
    except SQLAlchemyError as error:
        place = database.url.render_as_string(hide_password=True)
        _refuse(f"The database {place} cannot be migrated: {short(error.__cause__ or error)}")
    finally:
        database.dispose()


def _furnish(settings: Settings, database: Database) -> None:
    from backend.cli_up import furnish

    link = furnish(settings, database)
    address = settings.public_url or f"http://{settings.host}:{settings.port}"
    if link:
        typer.echo(f"Log in as the first admin, once:  {address.rstrip('/')}{link}")


@app.command()
def bucket() -> None:
    """Make the bucket of INPAINTDPO_BLOB_URL where it is missing; a local folder needs nothing.

    Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or whatever else the AWS tools read; they need the
    right to make buckets only here, the service itself reads and writes objects.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    from backend.jobs.health import short
    from backend.kit.blobs import S3Blobs, open_blobs

    settings = Settings()
    try:
        store = open_blobs(settings.resolved_blob_url, endpoint_url=settings.s3_endpoint_url)
        made = store.make_bucket() if isinstance(store, S3Blobs) else False
    except (ValueError, OSError, BotoCoreError, ClientError) as error:
        _refuse(f"The bucket of {settings.resolved_blob_url} cannot be made: {short(error)}")
    typer.echo("The bucket is made." if made else "Nothing to do: it is there.")


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check a configuration and say in words what is wrong with it.

    Exit code 0: it works (notes may still be worth reading). Exit code 1: something must be mended first.
    """
    from backend.jobs.health import Level, check_all

    settings = Settings()
    configure_logging("doctor", settings.log_format, level=30)
    findings = check_all(settings)
    is_well = all(check.level is not Level.BAD for check in findings)
    if as_json:
        document = {"ok": is_well, "checks": [check.document() for check in findings]}
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        marks = {Level.GOOD: "ok   ", Level.NOTE: "note ", Level.BAD: "WRONG"}
        for check in findings:
            typer.echo(f"{marks[check.level]} {check.name:<9} {check.words}")
            if check.way_out:
                typer.echo(f"{'':<16}-> {check.way_out}")
        typer.echo("The configuration works." if is_well else "Mend what is marked WRONG, then run this again.")
    raise typer.Exit(0 if is_well else 1)


accounts_cli.projects = InvitedProjects()
app.add_typer(accounts_cli.user, name="user")
app.add_typer(accounts_cli.token, name="token")
app.command("invite")(accounts_cli.invite)
app.add_typer(catalogue_cli.app)
app.add_typer(judging_cli.app)


def _refuse(message: str) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(2)


def main() -> None:
    """The entry point; what a person can mend is told in a sentence rather than a traceback."""
    try:
        app()
    except ValidationError as error:
        if error.title != Settings.__name__:
            raise
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            typer.echo(f"INPAINTDPO_{name} cannot be used: {problem['msg']} (it is {problem['input']!r}).", err=True)
        sys.exit(2)
    except AppError as error:
        typer.echo(error.detail, err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
