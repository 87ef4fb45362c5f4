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
from trainer.contract.snapshot import Snapshot
from trainer.sinks import flat

LEAST_FREE_BYTES = 64 * 2**20
"""Free disk below which a run does not start: its first checkpoint would fail."""
WEIGHTLESS = ("recipe", "telemetry.", "samples.", "checkpoints.", "training.log_every")
"""What keys begin with that change no weight: a run may go on with others."""
NAMED = 3
"""Changed keys that a refusal names."""


def open_folder(folder: RunFolder, config: RunConfig, *, resume: bool, force: bool) -> None:
    """Make or take up a run folder. Raises ConfigError for another run's folder, StorageError for a bad disk."""
    try:
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder.root).free < LEAST_FREE_BYTES:
            raise StorageError("disk_full", f"Less than {LEAST_FREE_BYTES >> 20} MiB are free where the run is kept.")
        if folder.config.exists():
            _check_taken_up(folder, config, resume=resume, force=force)
        write_durably(folder.config, (config.model_dump_json(indent=1) + "\n").encode())
        folder.cancel.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError("run_folder", f"The run folder {folder.root} cannot be used: {error}.") from error


def holds_training(folder: RunFolder) -> bool:
    """Whether a run folder holds a checkpoint or a result of training; without one nothing is lost by a new start."""
    products = (folder.adapter, folder.root / "model")
    return bool(folder.published_checkpoints()) or any(product.exists() for product in products)


def _check_taken_up(folder: RunFolder, config: RunConfig, *, resume: bool, force: bool) -> None:
    begun = holds_training(folder)
    if not resume and (begun or not folder.result.exists()):  # without a result it may be under way
        raise ConfigError(
            "run_exists", f"{folder.root} holds a run already; go on with it by --resume auto, or take a new folder."
        )
    before = config_before(folder, force=force) if begun else None
    changed = changes(before, config) if before else []
    if changed and not force:
        more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
        raise ConfigError(
            "config_changed",
            f"The config differs from the one {folder.root.name} was started with: {', '.join(changed[:NAMED])}{more}. "
            "Resuming would mix two runs. Put this back, take a new folder, or go on as it is now by --force.",
        )


def config_before(folder: RunFolder, *, force: bool) -> RunConfig | None:
    """The config that a run was started with; one that cannot be read is None under `force`, else a ConfigError."""
    try:
        return load_config(folder.config)
    except ConfigError as error:
        if force:
            return None
        raise ConfigError(
            error.code,
            f"{error.message} So it cannot be told how the run was started: take a new folder, or go on with the "
            "config given now by --force.",
        ) from error


def changes(before: RunConfig, now: RunConfig) -> list[str]:
    """What differs between two configs and decides the weights, as “training.steps 4 → 8”."""
    unwatched = before.validation.patience is None and now.validation.patience is None
    weightless = (*WEIGHTLESS, *["validation."] * unwatched)
    old, new = flat(before.model_dump(mode="json")), flat(now.model_dump(mode="json"))
    return [
        f"{key} {_shown(old.get(key))} → {_shown(new.get(key))}"
        for key in {**old, **new}
        if old.get(key) != new.get(key) and not key.startswith(weightless)
    ]


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= 60 else f"{text[:57]}..."


def accept_snapshot(folder: RunFolder, path: Path, content_hash: str, *, force: bool) -> None:
    """Write down which snapshot a run is trained on; the result of an earlier attempt goes, this one is on its way.

    Raises ConfigError when training was begun on another, StorageError when it cannot be told on which.
    """
    record = {"folder": str(path.resolve()), "content_hash": content_hash}
    if folder.snapshot.exists() and holds_training(folder) and not force:
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


def check_watched(config: RunConfig, snapshot: Snapshot) -> None:
    """Raise ConfigError when `validation.patience` is to watch held-out pairs and the snapshot has none."""
    if config.validation.patience and not snapshot.pairs_of("validation"):
        raise ConfigError(
            "nothing_to_watch",
            "validation.patience watches held-out pairs, but the snapshot has no pair in its validation split: set it "
            "to null, or freeze a snapshot with held-out subjects.",
        )


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
