"""How a run begins and is asked to stop: its folder, what it was started with, signals and the cancel file."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from trainer.contract.checkpoint import RunFolder
from trainer.contract.config import RunConfig, load_config
from trainer.contract.errors import ConfigError, StorageError
from trainer.contract.files import write_durably

LEAST_FREE_BYTES = 64 * 2**20
"""Free disk below which a run does not start: its first checkpoint would fail."""


def open_folder(folder: RunFolder, config: RunConfig, *, resume: bool, force: bool) -> None:
    """Make or take up a run folder. Raises ConfigError for another run's folder, StorageError for a bad disk."""
    try:
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder.root).free < LEAST_FREE_BYTES:
            raise StorageError("disk_full", f"Less than {LEAST_FREE_BYTES >> 20} MiB are free where the run is kept.")
        if folder.config.exists():
            if not resume:
                raise ConfigError("run_exists", f"{folder.root} holds a run already; resume it or take a new folder.")
            before = load_config(folder.config)
            if before.config_hash() != config.config_hash() and not force:
                raise ConfigError(
                    "config_changed",
                    f"The config differs from the one {folder.root.name} was started with; resuming would mix two "
                    "runs. Take a new folder, or force it.",
                )
        write_durably(folder.config, (config.model_dump_json(indent=1) + "\n").encode())
        folder.cancel.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError("run_folder", f"The run folder {folder.root} cannot be used: {error}.") from error


def accept_snapshot(folder: RunFolder, path: Path, content_hash: str, *, force: bool) -> None:
    """Write down which snapshot a run is trained on; the result of an earlier attempt goes, this one is on its way.

    Raises ConfigError when the run was started on another, StorageError when it cannot be told on which.
    """
    record = {"folder": str(path.resolve()), "content_hash": content_hash}
    if folder.snapshot.exists() and not force:
        try:
            before = str(json.loads(folder.snapshot.read_text())["content_hash"])
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(
                "run_folder",
                f"{folder.snapshot} is damaged, so it cannot be told which snapshot the run was started on. Take a new "
                "folder, or force it.",
            ) from error
        if before != content_hash:
            raise ConfigError(
                "snapshot_changed",
                f"The run was started on snapshot {before[:12]}, not {content_hash[:12]}; "
                "resuming would mix two runs. Take a new folder, or force it.",
            )
    write_durably(folder.snapshot, json.dumps(record, indent=1).encode())
    folder.result.unlink(missing_ok=True)


def check_processes(before: int, now: int, *, force: bool) -> None:
    """Raise ConfigError when a run was shared by another number of processes, unless `force`."""
    if before != now and not force:
        raise ConfigError(
            "processes_changed",
            f"The run was shared by {before} process{'es' * (before > 1)}, not {now}: its sums would be taken in "
            f"another order. Start {before}, or force it.",
        )


class StopRequested(Exception):
    """Raised inside long work before the first step when the run was asked to stop."""


class StopFlag:
    """Set by SIGTERM, SIGINT or the file `cancel`; read where work can be left. A second SIGINT leaves it at once."""

    def __init__(self, folder: RunFolder, in_hand: str | None) -> None:
        self._folder = folder
        self._in_hand = in_hand
        self.reason = ""

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Take a signal in. Raises KeyboardInterrupt for a second SIGINT."""
        again, self.reason = self.reason == "SIGINT", signal.Signals(number).name
        if number == signal.SIGINT and again:
            raise KeyboardInterrupt
        if self._in_hand:
            way_out = "; Ctrl-C again to stop at once" if number == signal.SIGINT else ""
            _say(f"stopping after the {self._in_hand} in hand{way_out}")

    def __bool__(self) -> bool:
        if not self.reason and self._folder.cancel.exists():
            self.reason = "cancel file"
        return bool(self.reason)


def _say(text: str) -> None:
    # past the buffer of sys.stderr, in the middle of which the signal may have come
    with suppress(OSError):
        os.write(2, ("\n" * os.isatty(2) + text + "\n").encode())


@contextmanager
def stop_requests(folder: RunFolder, in_hand: str | None) -> Iterator[StopFlag]:
    """The flag that SIGTERM and SIGINT set while work is under way.

    stderr tells that it ends after what is `in_hand`, as "step"; None says nothing, for all processes but the first.
    """
    flag = StopFlag(folder, in_hand)
    before = {number: signal.signal(number, flag.on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
