"""The web application: the one place where the rooms are wired together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio.to_thread import current_default_thread_limiter
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware

from backend.accounts import api as accounts_api
from backend.accounts import pages as accounts_pages
from backend.accounts.access import RecentSessions, guard, session_cookie
from backend.catalogue import api as catalogue_api
from backend.catalogue import pages as catalogue_pages
from backend.catalogue.invited import InvitedProjects
from backend.datasets import api as datasets_api
from backend.datasets import pages as datasets_pages
from backend.generation import api as generation_api
from backend.generation import pages as generation_pages
from backend.jobs import api as jobs_api
from backend.jobs import pages as jobs_pages
from backend.judging import api as judging_api
from backend.judging import images as judging_images
from backend.judging import pages as judging_pages
from backend.judging.shortcut import ImageShortcut
from backend.judging.shortcut_answers import AnswerShortcut
from backend.judging.tickets import Tickets
from backend.kit.blobs import open_blobs
from backend.kit.body_limit import BodyLimit
from backend.kit.database import THREADS, Database
from backend.kit.migrations import current_revision, head_revision
from backend.kit.pages import STATIC
from backend.kit.secret import installation_secret
from backend.kit.web import install_web
from backend.overview import pages as overview_pages
from backend.overview import reference
from backend.preferences import api as preferences_api
from backend.preferences import pages as preferences_pages
from backend.settings import Settings
from backend.training import api as training_api
from backend.training import pages as training_pages
from backend.worker import connect_bell

API_ROOMS = (
    judging_api,
    accounts_api,
    jobs_api,
    catalogue_api,
    preferences_api,
    datasets_api,
    generation_api,
    training_api,
)
PAGE_ROOMS = (
    accounts_pages,
    jobs_pages,
    catalogue_pages,
    judging_pages,
    preferences_pages,
    datasets_pages,
    generation_pages,
    training_pages,
    overview_pages,
    reference,
)

health = APIRouter()


@health.get("/healthz", include_in_schema=False)
def healthz() -> dict[str, str]:
    return {"status": "ok"}


nowhere = APIRouter()


@nowhere.get("/{path:path}", include_in_schema=False)
def nothing_here() -> None:
    """Behind the guard like any page, so that an address that leads nowhere still shows the way on."""
    raise HTTPException(404)


@health.get("/readyz", include_in_schema=False)
def readyz(request: Request) -> JSONResponse:
    """Whether the database is at the newest schema and the blob store answers; 503 names what is not."""
    problems = {}
    try:
        if current_revision(request.app.state.database) != head_revision():
            problems["database"] = "The schema is not at its newest version: run `inpaintdpo migrate`."
    except Exception as error:
        problems["database"] = f"The database does not answer: {type(error).__name__}."
    try:
        request.app.state.blobs.check()
    except Exception as error:
        problems["blobs"] = f"The blob store does not answer: {type(error).__name__}."
    return JSONResponse(
        {"status": "unready" if problems else "ready", **problems}, status_code=503 if problems else 200
    )


class VersionedStatic(StaticFiles):
    """Static files; those asked for by their content's version may be kept for ever."""

    async def get_response(self, path: str, scope):  # type: ignore[no-untyped-def]  # the parent has no types
        response = await super().get_response(path, scope)
        if b"v=" in scope.get("query_string", b""):
            response.headers["cache-control"] = "public, max-age=31536000, immutable"
        else:
            response.headers["cache-control"] = "no-cache"
        return response


def create_app(settings: Settings | None = None, *, database: Database | None = None) -> FastAPI:
    """The service configured by `settings`; `database` may be handed over by whoever already holds one."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = THREADS
        yield
        if database is None:
            app.state.database.dispose()

    app = FastAPI(
        title="InpaintDPO",
        version="0.1.0",
        lifespan=lifespan,
        # The framework's own pages load scripts from elsewhere; overview/reference.py shows the same behind the guard.
        openapi_url=None,
        dependencies=[Depends(guard)],
    )
    app.state.settings = settings
    app.state.database = database or Database(settings.resolved_database_url)
    app.state.projects = InvitedProjects()
    app.state.recent_sessions = RecentSessions()
    app.state.blobs = open_blobs(settings.resolved_blob_url, endpoint_url=settings.s3_endpoint_url)
    app.state.tickets = Tickets(installation_secret(settings.home))
    connect_bell(settings, app.state.database)
    # A form around the largest image, and one around the largest import.
    app.add_middleware(
        BodyLimit,
        limit=(settings.max_upload_mb + 1) << 20,
        large=r"/projects/[^/]+/import|/api/v1/projects/[^/]+/imports",
        large_limit=(settings.max_import_mb + 1) << 20,
    )
    app.add_middleware(
        ImageShortcut,
        tickets=app.state.tickets,
        blobs=app.state.blobs,
        recent=app.state.recent_sessions,
        cookie=session_cookie(settings),
        database=app.state.database,
    )
    app.add_middleware(
        AnswerShortcut,
        settings=settings,
        database=app.state.database,
        recent=app.state.recent_sessions,
        tickets=app.state.tickets,
    )
    install_web(app, https=settings.secure_cookies)
    # Routes are tried one after the other: what annotators ask for all the time comes first.
    app.include_router(judging_images.router, include_in_schema=False)
    app.include_router(health)
    for room in API_ROOMS:
        app.include_router(room.router, prefix="/api/v1")
    for room in PAGE_ROOMS:
        app.include_router(room.router, include_in_schema=False)
    # Pages are not compressed: they carry CSRF tokens, whose bytes compression would give away.
    app.mount("/static", GZipMiddleware(VersionedStatic(directory=STATIC), minimum_size=1000), name="static")
    app.include_router(nowhere)
    return app
