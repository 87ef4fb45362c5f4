"""REST of imports: a zip or a folder as an upload, or a bucket prefix by its address."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

from backend.accounts.access import CurrentPerson, is_admin, require_scope
from backend.accounts.models import Person
from backend.catalogue import repository
from backend.catalogue.access import ProjectForLead
from backend.catalogue.importing import ImportReport, run_import
from backend.catalogue.models import Project
from backend.catalogue.schemas import BucketImport, ImportRecord, ImportResult
from backend.catalogue.sources import BucketSource, Source
from backend.catalogue.uploads import MAX_FOLDER_FILES, source_of_uploads
from backend.kit.database import ReadSession
from backend.kit.errors import Forbidden, Invalid
from backend.kit.paging import Page, Paging

router = APIRouter()


class ImportRefused(Invalid):
    code, title = "import_refused", "The import needs correcting"


@router.post("/projects/{slug}/imports", status_code=201, dependencies=[require_scope("import")])
async def create_import(
    request: Request,
    response: Response,
    project: ProjectForLead,
    person: CurrentPerson,
    dry_run: Annotated[bool, Query(description="Check everything, write nothing.")] = False,
) -> ImportResult:
    """Imports a manifest and its images: `multipart/form-data` with one zip (or the files of a folder), or JSON
    `{"source": "s3://bucket/prefix"}`.

    All rows are checked before anything is written; with one bad row nothing is, and `problems` names them all. What
    was imported before is left as it is, so that a repetition changes nothing (status 200).
    """
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        report = await import_upload(request, project, person, dry_run=dry_run)
    else:
        source = _bucket_of(request, person, await request.body())
        report = await run_in_threadpool(_run, request, project, person, source, dry_run)
    if not report.ok and not dry_run:
        rows = [{"field": f"row {item.row}", "message": item.message} for item in report.problems]
        raise ImportRefused(report.summary(), errors=rows, **_tables(report))
    if not report.written:
        response.status_code = 200
    return ImportResult.model_validate(report.as_dict())


def _tables(report: ImportReport) -> dict[str, Any]:
    document = report.as_dict()
    return {"rows": document["rows"], "problems": document["problems"], "warnings": document["warnings"]}


async def import_upload(request: Request, project: Project, person: Person, *, dry_run: bool) -> ImportReport:
    """Runs the import of a request's uploads in a thread of its own. Raises Invalid for an upload that is too large."""
    max_bytes = request.app.state.settings.max_import_mb << 20
    length = request.headers.get("content-length")
    if length is None:
        raise Invalid("The upload does not say how large it is: send it with a Content-Length.")
    if int(length) > max_bytes:
        raise Invalid(f"The upload is larger than {max_bytes >> 20} MB: split it, or import from a folder or bucket.")
    try:
        form = await request.form(max_files=MAX_FOLDER_FILES, max_fields=MAX_FOLDER_FILES)
    except MultiPartException as error:
        raise Invalid(f"The upload cannot be read ({error.message}). Send a larger folder as a zip.") from None
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]

    def work() -> ImportReport:
        with source_of_uploads(files, max_bytes=max_bytes) as source:
            return _run(request, project, person, source, dry_run)

    try:
        return await run_in_threadpool(work)
    finally:
        await form.close()


def _run(request: Request, project: Project, person: Person, source: Source, dry_run: bool) -> ImportReport:
    state = request.app.state
    return run_import(
        state.database,
        state.blobs,
        project.id,
        source,
        person=person,
        max_image_bytes=state.settings.max_upload_mb << 20,
        dry_run=dry_run,
    )


def _bucket_of(request: Request, person: Person, body: bytes) -> BucketSource:
    try:
        wanted = BucketImport.model_validate_json(body)
    except ValidationError:
        raise Invalid('Send a zip as multipart/form-data, or JSON {"source": "s3://bucket/prefix"}.') from None
    settings = request.app.state.settings
    allowed = [prefix.strip() for prefix in settings.import_sources.split(",") if prefix.strip()]
    # The service reads with its own credentials, so that an open choice would read whatever they can.
    if not is_admin(person) and not any(_within(wanted.source, prefix) for prefix in allowed):
        raise Forbidden("Leads may import from the buckets in INPAINTDPO_IMPORT_SOURCES: ask an admin to add this one.")
    return BucketSource(wanted.source, endpoint_url=settings.s3_endpoint_url)


def _within(source: str, prefix: str) -> bool:
    prefix = prefix.rstrip("/")
    return source == prefix or source.startswith(prefix + "/")


@router.get("/projects/{slug}/imports")
def list_imports(project: ProjectForLead, session: ReadSession, page: Paging) -> Page[ImportRecord]:
    rows, cursor = repository.imports_page(session, project.id, page)
    return Page(items=[ImportRecord.model_validate(row) for row in rows], next_cursor=cursor)
