"""`inpaintdpo import`: a manifest and its images from this machine or a bucket."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from sqlalchemy.orm import Session

from backend.catalogue import repository
from backend.catalogue.importing import ImportReport, run_import
from backend.catalogue.models import Project
from backend.catalogue.schemas import ProjectCreate
from backend.catalogue.service import create_project
from backend.catalogue.sources import BucketSource, FolderSource, Source, ZipSource
from backend.kit.blobs import open_blobs
from backend.kit.database import Database
from backend.kit.errors import AppError, Invalid, NotFound
from backend.kit.migrations import migrate
from backend.settings import Settings

app = typer.Typer(no_args_is_help=True)
# More would scroll the first ones away; --json has them all.
SHOWN_PROBLEMS = 40
# No project has this number: whatever a manifest names is new to it.
NO_PROJECT = 0


@app.command("import")
def import_command(
    manifest: Annotated[str, typer.Argument(help="A manifest, a folder or zip that holds one, or s3://bucket/prefix.")],
    project: Annotated[
        str | None, typer.Option(help="The project's short name; made if missing. Default: the only one there is.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder that the manifest's paths start from. Default: its own.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Check everything and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Bring in subjects, masks, prompts and candidates (docs/import.md names the columns).

    Every row is checked before anything is written; with one bad row nothing is. What was imported before is left as
    it is, so the same import may be run again. Exit code 0: imported, or nothing to do. Exit code 1: rows to correct.
    """
    settings = Settings()
    database = Database(settings.resolved_database_url)
    try:
        with _source(manifest, root, settings) as source:
            report = _run(settings, database, source, project, check=check, quiet=as_json)
    except AppError as error:
        typer.echo(error.detail, err=True)
        raise typer.Exit(2) from None
    finally:
        database.dispose()
    if as_json:
        typer.echo(json.dumps(report.as_dict(), ensure_ascii=False))
    else:
        _tell(report)
    raise typer.Exit(0 if report.ok else 1)


@contextmanager
def _source(manifest: str, root: Path | None, settings: Settings) -> Iterator[Source]:
    if manifest.startswith("s3://"):
        yield BucketSource(manifest, endpoint_url=settings.s3_endpoint_url)
    elif manifest.lower().endswith(".zip"):
        path = Path(manifest)
        if not path.is_file():
            raise NotFound(f"There is no file {path}.")
        # One's own file on one's own machine: only the address space bounds it.
        with ZipSource(path, max_bytes=sys.maxsize) as source:
            yield source
    else:
        yield FolderSource(Path(manifest), root)


def _run(
    settings: Settings, database: Database, source: Source, slug: str | None, *, check: bool, quiet: bool
) -> ImportReport:
    migrate(database)
    with database.transaction() as session:
        found = _project(session, slug, may_make=not check)
        project_id = found.id if found else NO_PROJECT

    def progress(done: int, total: int) -> None:
        if not quiet and sys.stderr.isatty() and (done % 50 == 0 or done == total):
            typer.echo(f"\rchecked {done:,} of {total:,} rows", nl=done == total, err=True)

    return run_import(
        database,
        open_blobs(settings.resolved_blob_url, endpoint_url=settings.s3_endpoint_url),
        project_id,
        source,
        person=None,
        max_image_bytes=settings.max_upload_mb << 20,
        dry_run=check,
        progress=progress,
    )


def _project(session: Session, slug: str | None, *, may_make: bool) -> Project | None:
    """The project of that name, made where it is missing and may be made; None for one that is only checked for."""
    if slug is not None:
        found = repository.project_by_slug(session, slug)
        if found is not None:
            return found
        new = _new_project(slug)
        return create_project(session, None, new) if may_make else None
    projects = repository.all_projects(session)
    if len(projects) == 1:
        return projects[0]
    names = ", ".join(project.slug for project in projects)
    raise NotFound(
        f"There are several projects ({names}): name one with --project."
        if projects
        else "There is no project yet: --project SHORT-NAME makes one."
    )


def _new_project(slug: str) -> ProjectCreate:
    try:
        return ProjectCreate(name=slug, slug=slug)
    except ValidationError:
        raise Invalid(
            f"There is no project “{slug}”, and none can be made by that name: a short name has small letters, digits "
            "and single hyphens, such as street-scenes."
        ) from None


def _tell(report: ImportReport) -> None:
    for problem in report.problems[:SHOWN_PROBLEMS]:
        typer.echo(problem.text(), err=True)
    if len(report.problems) > SHOWN_PROBLEMS:
        typer.echo(f"… and {len(report.problems) - SHOWN_PROBLEMS} more; --json prints them all.", err=True)
    for warning in report.warnings[:SHOWN_PROBLEMS]:
        typer.echo(f"note, {warning.text()}", err=True)
    if len(report.warnings) > SHOWN_PROBLEMS:
        typer.echo(f"… and {len(report.warnings) - SHOWN_PROBLEMS} more notes.", err=True)
    typer.echo(report.summary())
