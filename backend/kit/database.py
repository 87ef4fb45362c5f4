"""The database behind one door: engines, transactions and the column types both dialects share."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from psycopg import RawCursor
from sqlalchemy import JSON, BigInteger, DateTime, Engine, Identity, Integer, MetaData, create_engine, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.types import TypeDecorator

# A page that waits longer has already failed its reader; jobs raise it for themselves.
STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 10_000
# A transaction whose process says nothing for so long (frozen, or cut off from the network) is rolled back by the
# server, so that what it had locked is free again.
IDLE_SECONDS = 60.0
# A server that acknowledges nothing for so long, in milliseconds and seconds, is taken for unreachable: well within the
# time after which a worker must know that it has lost its lease.
SILENCE = {
    "tcp_user_timeout": 8_000,
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
}
SQLITE_BUSY_TIMEOUT_MS = 30_000
# Threads that serve requests, and requests that write at a time. A writer keeps its connection while it waits for a
# thread to commit in, so there are connections for all of both: no thread ever waits for one that waits for a thread.
THREADS, WRITERS = 20, 10
# Turns at a time: enough that processors do not wait for the disk, few enough that they do not stand in each other's
# way.
TURNS = 4
# A connection is asked whether it still lives only after this long without use.
TRUST_SECONDS = 5.0
# Executions of a statement on one connection before the server keeps it parsed.
PREPARE_AFTER = 2

BigId = BigInteger().with_variant(Integer(), "sqlite")
Json = JSON().with_variant(JSONB(), "postgresql")


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware UTC datetime on dialects with and without time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A stored time needs a time zone: use datetime.now(UTC).")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utcnow() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Parent of every table; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime(), dict[str, Any]: Json, list[Any]: Json}  # noqa: RUF012  # SQLAlchemy's own declaration


class Identified:
    """A table whose rows have a sequential id, which also orders pages."""

    id: Mapped[int] = mapped_column(BigId, Identity(always=False), primary_key=True, sort_order=-1)


class Timestamped:
    created_at: Mapped[datetime] = mapped_column(default=utcnow, sort_order=100)


class Database:
    """Engines for writing and for reading, and the transactions made on them.

    On SQLite a writing transaction takes its lock at the start (``BEGIN IMMEDIATE``), so that two writers wait for
    each other instead of failing at the first write; a reading one never waits. On Postgres the server ends a
    transaction that has been idle for `idle_seconds`.
    """

    def __init__(self, url: str, *, pool_size: int = THREADS + WRITERS, idle_seconds: float = IDLE_SECONDS) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            if self.url.database:
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
            self.engine = create_engine(self.url, connect_args={"check_same_thread": False}, pool_size=pool_size)
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            options = (
                f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS} -c timezone=UTC "
                f"-c idle_in_transaction_session_timeout={round(idle_seconds * 1000)}"
            )
            # The connection used last goes out first: a few stay warm, with their statements prepared and planned.
            self.engine = create_engine(
                self.url,
                pool_size=pool_size,
                max_overflow=10,
                pool_use_lifo=True,
                connect_args={"options": options, "prepare_threshold": PREPARE_AFTER, **SILENCE},
            )
            self._keep_fresh(self.engine)
            # Long statements would be taken apart for their parameters and planned anew each time.
            self._planned = create_engine(
                self.url,
                pool_size=TURNS,
                pool_use_lifo=True,
                isolation_level="AUTOCOMMIT",
                paramstyle="numeric_dollar",
                connect_args={
                    "options": f"{options} -c plan_cache_mode=force_generic_plan",
                    "prepare_threshold": PREPARE_AFTER,
                    "cursor_factory": RawCursor,
                    **SILENCE,
                },
            )
            self._keep_fresh(self._planned)
        self.reader: Engine = self.engine.execution_options(begin_mode="DEFERRED")
        # Without a transaction around it a statement costs one round trip instead of three.
        self._looker = self.reader if self.is_sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._writers: RunVar[CapacityLimiter] = RunVar(f"writers of {id(self)}")
        self._turns: RunVar[CapacityLimiter] = RunVar(f"turns of {id(self)}")

    @staticmethod
    def _keep_fresh(engine: Engine) -> None:
        event.listen(engine, "checkin", _note_use)
        event.listen(engine, "checkout", _check_alive)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One writing transaction: commits at the end, rolls back on any error, then runs what `after_commit` kept."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session
            _commit(session)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One reading transaction; whatever it changes is rolled back, and its rows stay readable afterwards."""
        # Closing rolls back without expiring the rows, as an explicit rollback would.
        with Session(self.reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def looking_up(self) -> Iterator[Session]:
        """For single statements that only read, each of which stands for itself."""
        with Session(self._looker, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def single_statements(self) -> Iterator[Session]:
        """For statements that are each a transaction of their own and are planned once, whatever their parameters
        (Postgres only)."""
        with Session(self._planned, expire_on_commit=False) as session:
            yield session

    def writers(self) -> CapacityLimiter:
        """Admits the requests that write, of one event loop. SQLite takes one at a time; here they wait in line."""
        return _limiter(self._writers, 1 if self.is_sqlite else WRITERS)

    def turns(self) -> CapacityLimiter:
        """The line of short requests that come again and again, first come, first served, of one event loop."""
        return self.writers() if self.is_sqlite else _limiter(self._turns, TURNS)

    def dispose(self) -> None:
        self.engine.dispose()
        if not self.is_sqlite:
            self._planned.dispose()


def _limiter(kept: RunVar[CapacityLimiter], tokens: int) -> CapacityLimiter:
    try:
        return kept.get()
    except LookupError:
        limiter = CapacityLimiter(tokens)
        kept.set(limiter)
        return limiter


def is_outage(error: Exception) -> bool:
    """Whether the database did not answer or hung up, so that the same may succeed a little later."""
    return isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def after_commit(session: Session, action: Callable[[], None]) -> None:
    """Runs `action` once the session's transaction has committed; a rollback drops it."""
    session.info.setdefault("after_commit", []).append(action)


def _commit(session: Session) -> None:
    session.commit()
    for action in session.info.pop("after_commit", []):
        action()


def _note_use(_connection: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def _check_alive(connection: Any, record: Any, _proxy: Any) -> None:
    if time.monotonic() - record.info.get("used_at", time.monotonic()) < TRUST_SECONDS:
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except Exception as error:
        raise DisconnectionError from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not open transactions on its own: `_begin_sqlite` says how each begins.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_TIMEOUT_MS}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    mode = connection.get_execution_options().get("begin_mode", "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {mode}")


async def get_database(request: Request) -> Database:
    return request.app.state.database


# These two make sessions without touching the database, so that no thread is needed for it.
async def _write_session(database: Annotated[Database, Depends(get_database)]) -> AsyncIterator[Session]:
    async with database.writers():
        with Session(database.engine, expire_on_commit=False) as session:
            yield session
            await run_in_threadpool(_commit, session)


async def _read_session(database: Annotated[Database, Depends(get_database)]) -> AsyncIterator[Session]:
    with database.reading() as session:
        yield session


# "function" scope: the commit happens before the response leaves, so that a client never sees a success that failed.
WriteSession = Annotated[Session, Depends(_write_session, scope="function")]
ReadSession = Annotated[Session, Depends(_read_session, scope="function")]
