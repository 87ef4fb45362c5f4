"""Exit codes of `python -m trainer` and the errors that lead to them."""

from __future__ import annotations

import errno
from enum import IntEnum


class ExitCode(IntEnum):
    """How a trainer process ended. The same numbers for every command; 64-74 follow BSD's sysexits where one fits."""

    FINISHED = 0
    """All asked-for work is done and published."""
    FAILED = 1
    """An error nobody foresaw; the traceback is on stderr and the last good checkpoint stays."""
    CANCELLED = 3
    """Stopped on request, a run at a step boundary after a checkpoint; the same command goes on (`--resume auto`)."""
    BAD_CONFIG = 64
    """The config or the command line cannot be used; the message names the key. Retrying changes nothing."""
    BAD_SNAPSHOT = 65
    """The snapshot cannot be used; the message names file and row. Retrying changes nothing."""
    MODEL_UNAVAILABLE = 69
    """The base model or adapter could not be loaded from its folder or hub id."""
    SELF_CHECK_FAILED = 70
    """The check before the first step found that training could not work (e.g. policy and reference are one object)."""
    DIVERGED = 71
    """The loss became NaN or infinite, or the model was leaving its data; the last good checkpoint stays."""
    DISK = 74
    """A file could not be written or read: disk full, no permission, or a damaged checkpoint without a good one."""


class TrainerError(Exception):
    """An error with a stable `code`, one clear sentence, and the exit code the process ends with."""

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[TrainerError], tuple[str, str]]:
        return type(self), (self.code, self.message)


class CancelledError(TrainerError):
    """A command was stopped at once, by Ctrl-C or SIGTERM."""

    exit_code = ExitCode.CANCELLED


class ConfigError(TrainerError):
    """A run config, an override or a request that cannot be used."""

    exit_code = ExitCode.BAD_CONFIG


class SnapshotError(TrainerError):
    """A snapshot folder that is incomplete, altered or inconsistent; the message names file and row."""

    exit_code = ExitCode.BAD_SNAPSHOT


class ModelError(TrainerError):
    """A base model or adapter that is missing or of the wrong kind."""

    exit_code = ExitCode.MODEL_UNAVAILABLE


class SelfCheckError(TrainerError):
    """The start-up check failed; training was not begun."""

    exit_code = ExitCode.SELF_CHECK_FAILED


class DivergedError(TrainerError):
    """Training left the numbers in which it means anything."""

    exit_code = ExitCode.DIVERGED


class StorageError(TrainerError):
    """A file of the run could not be written, or none of its checkpoints could be read."""

    exit_code = ExitCode.DISK


REFUSED = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO,
    errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR,
}  # fmt: skip
"""What an OSError of the disk says: full, over quota, read-only, failing; not allowed, or a file where a folder must be
and the other way round."""


def disk_problem(error: BaseException) -> StorageError | None:
    """The StorageError that says what an OSError of the disk means, or None where it is none of the REFUSED."""
    if not isinstance(error, OSError) or error.errno not in REFUSED:
        return None
    place = f" ({error.filename})" if error.filename else ""
    return StorageError(
        "disk", f"The disk refused a file{place}: {error.strerror}. What was published before is whole."
    )
