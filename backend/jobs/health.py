"""What a configuration needs to work, checked one by one and told in words."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from kombu.exceptions import KombuError
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from backend.jobs import repository
from backend.jobs.celery_app import make_celery
from backend.jobs.machine import trainer_missing
from backend.jobs.models import Worker
from backend.jobs.registry import QUEUES
from backend.kit.blobs import open_blobs
from backend.kit.database import Database, utcnow
from backend.kit.migrations import current_revision, head_revision
from backend.settings import Settings

GIB = 1 << 30
# One run with its checkpoints and caches takes about this much; below the first, SQLite itself is in danger.
DISK_BAD, DISK_LOW = GIB // 2, 5 * GIB
# A worker reports six times a lease; who missed more than two leases is gone.
SEEN_LEASES = 2


class Level(StrEnum):
    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True)
class Check:
    """One finding; `words` says what is so, `way_out` what to do about it (empty where nothing is to be done)."""

    name: str
    level: Level
    words: str
    way_out: str = ""

    def document(self) -> dict[str, Any]:
        return asdict(self)


def good(name: str, words: str) -> Check:
    return Check(name, Level.GOOD, words)


def bad(name: str, words: str, way_out: str) -> Check:
    return Check(name, Level.BAD, words, way_out)


def note(name: str, words: str, way_out: str) -> Check:
    return Check(name, Level.NOTE, words, way_out)


def short(error: BaseException) -> str:
    """The first line of an error, which is the part that a person can use."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def check_home(settings: Settings) -> Check:
    home = settings.home.absolute()
    way_out = "Give this user the right to write there, or set INPAINTDPO_HOME to another folder."
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe = home / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return bad("home", f"The folder {home} cannot be written: {error.strerror}.", way_out)
    return good("home", f"{home} can be written.")


def check_disk(settings: Settings) -> Check:
    folder = settings.home.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    words = f"{free / GIB:.1f} GiB are free where {settings.home.absolute()} lies."
    if free < DISK_BAD:
        return bad("disk", words, "Make room: the service stops writing when the disk is full.")
    if free < DISK_LOW:
        return note("disk", words, "Make room before the next training: its checkpoints take a few GiB.")
    return good("disk", words)


def check_database(settings: Settings) -> Check:
    name = "database"
    try:
        database = Database(settings.resolved_database_url, pool_size=1)
    except (ArgumentError, ImportError) as error:
        words = f"INPAINTDPO_DATABASE_URL cannot be used: {short(error)}."
        return bad(name, words, "Write it as postgresql+psycopg://user:password@host:5432/name, or leave it empty.")
    place = database.url.render_as_string(hide_password=True)
    try:
        current, head = current_revision(database), head_revision()
    except SQLAlchemyError as error:
        words = f"The database {place} cannot be reached: {short(error.__cause__ or error)}"
        return bad(name, words, "Start it, or correct INPAINTDPO_DATABASE_URL.")
    finally:
        database.dispose()
    if current != head:
        words = f"The schema of {place} is at version {current or 'none'}, the code needs {head}."
        return bad(name, words, "Run `inpaintdpo migrate`.")
    return good(name, f"{place} answers and has schema version {head}.")


def check_broker(settings: Settings) -> Check:
    name = "broker"
    app = make_celery(settings)
    place = app.connection().as_uri()
    if app.conf.broker_transport:
        return good(name, f"Messages go through a folder under {settings.home.absolute()}; no server is needed.")
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
    except (BrokerError, KombuError, OSError) as error:
        words = f"The broker {place} cannot be reached: {short(error)}"
        return bad(name, words, "Start it, or correct INPAINTDPO_BROKER_URL. Meanwhile jobs start a few seconds late.")
    return good(name, f"{place} answers.")


def check_blobs(settings: Settings) -> Check:
    name = "blobs"
    url = settings.resolved_blob_url
    way_out = "Correct INPAINTDPO_BLOB_URL, INPAINTDPO_S3_ENDPOINT_URL and the AWS_… credentials, or make the bucket."
    try:
        store = open_blobs(url, endpoint_url=settings.s3_endpoint_url)
        store.check()
        digest = store.put(b"inpaintdpo writes this to see whether it can\n")
        store.read(digest)
    except ValueError as error:
        return bad(name, str(error), "Correct INPAINTDPO_BLOB_URL.")
    except (OSError, BotoCoreError, ClientError) as error:
        return bad(name, f"The blob store {url} does not work: {short(error)}", way_out)
    return good(name, f"{url} can be written and read.")


def check_trainer() -> Check:
    missing = trainer_missing()
    if missing:
        words = f"The trainer extra is not installed (missing: {', '.join(missing)}): no training or sampling here."
        return note("trainer", words, "Install `inpaintdpo[trainer]` where a GPU worker is to run.")
    return good("trainer", "The trainer extra is installed: this machine can train and sample.")


def check_exposure(settings: Settings) -> Check:
    """Whether the address fits how cookies and links are made."""
    name = "address"
    if settings.host not in {"127.0.0.1", "localhost", "::1"} and not settings.secure_cookies:
        words = f"The service listens on {settings.host} without TLS: passwords and cookies cross the network in clear."
        return note(name, words, "Put a TLS proxy in front and set INPAINTDPO_PUBLIC_URL to its https address.")
    if settings.public_url:
        return good(name, f"People reach it at {settings.public_url}.")
    port = f"port {settings.port}" if settings.port else "a free port, chosen at each start"
    return good(name, f"It listens on {settings.host}, {port}.")


def seen_workers(database: Database, settings: Settings) -> list[Worker]:
    """The workers that have reported themselves lately."""
    with database.reading() as session:
        rows = repository.workers(session)
    oldest = SEEN_LEASES * settings.job_lease_seconds
    return [row for row in rows if (utcnow() - row.seen_at).total_seconds() <= oldest]


def check_workers(settings: Settings) -> Check:
    """Whether each queue has somebody to serve it; only where the database answers."""
    database = Database(settings.resolved_database_url, pool_size=1)
    try:
        served = {row.queue for row in seen_workers(database, settings)}
    except SQLAlchemyError:
        return note("workers", "Who works cannot be seen without the database.", "See the database above.")
    finally:
        database.dispose()
    idle = [queue for queue in QUEUES if queue not in served]
    if idle:
        queues = f"queues {' and '.join(idle)}: their" if len(idle) > 1 else f"queue {idle[0]}: its"
        words = f"Nobody serves the {queues} jobs wait."
        starts = " and ".join(f"`inpaintdpo worker --queue {queue}`" for queue in idle)
        return note("workers", words, f"Start the service with `inpaintdpo up`, or {starts}.")
    return good("workers", f"Workers serve the queues {' and '.join(QUEUES)}.")


def check_all(settings: Settings) -> list[Check]:
    """Every check, those that must hold first."""
    checks: tuple[Callable[[], Check], ...] = (
        lambda: check_home(settings),
        lambda: check_disk(settings),
        lambda: check_database(settings),
        lambda: check_broker(settings),
        lambda: check_blobs(settings),
        lambda: check_exposure(settings),
        lambda: check_workers(settings),
        check_trainer,
    )
    found = [checks[0]()]
    # Without its folder nothing below can be told apart from it.
    if found[0].level is Level.BAD:
        return found
    return found + [check() for check in checks[1:]]
