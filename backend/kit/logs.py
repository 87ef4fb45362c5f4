"""One line a log entry, for people on a terminal or for programs as JSON; libraries' entries come out the same way."""

import logging
import sys
import traceback
from typing import Any, TextIO

import structlog

# At INFO these tell each request or each poll of the broker, which is noise beside the service's own words.
QUIET = ("kombu", "amqp", "celery", "botocore", "boto3", "urllib3", "alembic", "uvicorn.access", "httpx")


class StandardError(logging.StreamHandler):  # type: ignore[type-arg]  # generic only in the stubs
    """Writes to what is standard error at that moment, which a program may have redirected since."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr


def configure_logging(process: str, log_format: str = "console", *, level: int = logging.INFO) -> None:
    """Sends every entry of this process to standard error; `process` (web, worker-cpu …) is named in each.

    `log_format` is `console` (one line for people; a traceback follows it) or `json` (one document a line).
    """

    def name_process(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {"process": process, **event}

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if log_format == "console" else "iso", utc=False),
        name_process,
    ]
    if log_format == "json":
        last: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        last = [_render_line]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    )
    handler = StandardError()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(True)


def _render_line(_logger: Any, _method: str, event: dict[str, Any]) -> str:
    """`12:00:00 worker-cpu  job ended  job_id=1 …`; only what is not INFO names its level."""
    time, process, level = event.pop("timestamp"), event.pop("process"), event.pop("level")
    # Some libraries break their messages over lines; here a line is an entry.
    message, exception = " ".join(str(event.pop("event")).split()), event.pop("exc_info", None)
    if isinstance(exception, BaseException):
        exception = (type(exception), exception, exception.__traceback__)
    elif exception is True:
        exception = sys.exc_info()
    mark = "" if level == "info" else f"{level.upper()}: "
    details = "  ".join(f"{key}={value}" for key, value in event.items() if not key.startswith("_"))
    line = f"{time} {process:<10} {mark}{message}" + (f"  ({details})" if details else "")
    if exception and exception[0]:
        line += "\n" + "".join(traceback.format_exception(*exception)).rstrip()
    return line
