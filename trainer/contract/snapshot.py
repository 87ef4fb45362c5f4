"""The snapshot: a frozen, content-hashed folder of preference pairs and winner groups, split by subject.

Layout::

    manifest.json        written last; a folder without it is not a snapshot
    conditions.parquet   condition_id, subject_id, split, prompt, image, mask, width, height, spec
    pairs.parquet        pair_id, condition_id, win, lose, win_candidate, lose_candidate, p_win, reasons, judgments,
                         annotators, win_seed, lose_seed (null where the sampling noise is not known)
    winners.parquet      condition_id, image, candidate, p_win      (a condition with k winners has k rows)
    images/<sha256>.png  every image once, named by the hash of its bytes

Paths in tables are relative to the folder. Images are 8-bit RGB PNG of the condition's size and carry the condition's
true foreground; masks are 8-bit L PNG, 255 = background to be generated, 0 = subject. Two snapshots with the same
rows, images and rules have the same `content_hash`, whatever their name and time.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trainer.contract.errors import SnapshotError
from trainer.contract.files import fsync_path, fsync_tree, sha256_bytes, sha256_file, write_durably
from trainer.contract.images import ImageStore, Source, check_images
from trainer.contract.tables import CONDITION_SCHEMA, PAIR_SCHEMA, WINNER_SCHEMA, read_rows, write_table

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TABLES = ("conditions.parquet", "pairs.parquet", "winners.parquet")

Split = Literal["train", "validation"]


@dataclass(frozen=True, slots=True)
class ConditionInput:
    """A condition on its way into a snapshot. `image` and `mask` are encoded bytes or a path to them."""

    condition_id: str
    subject_id: str
    split: Split
    prompt: str
    image: Source
    mask: Source
    spec: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PairInput:
    """A preference pair on its way into a snapshot; `p_win` in [0.5, 1] is the consensus that `win` is the better."""

    pair_id: str
    condition_id: str
    win: Source
    lose: Source
    win_candidate: str
    lose_candidate: str
    p_win: float = 1.0
    reasons: tuple[str, ...] = ()
    judgments: tuple[str, ...] = ()
    annotators: int = 1
    win_seed: int | None = None
    """Seed of the noise the winner was sampled from by `python -m trainer sample`; None for any other source."""
    lose_seed: int | None = None


@dataclass(frozen=True, slots=True)
class WinnerInput:
    """One image judged a winner of its condition, with probability `p_win`; a condition may have several."""

    condition_id: str
    image: Source
    candidate: str
    p_win: float = 1.0


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition as stored; `image` and `mask` are paths relative to the snapshot, sizes are in pixels."""

    condition_id: str
    subject_id: str
    split: Split
    prompt: str
    image: str
    mask: str
    width: int
    height: int
    spec: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Pair:
    """A preference pair as stored; `win` and `lose` are paths relative to the snapshot."""

    pair_id: str
    condition_id: str
    win: str
    lose: str
    win_candidate: str
    lose_candidate: str
    p_win: float
    reasons: tuple[str, ...]
    judgments: tuple[str, ...]
    annotators: int
    win_seed: int | None = None
    lose_seed: int | None = None


@dataclass(frozen=True, slots=True)
class Winner:
    """One winner of a condition as stored; `image` is a path relative to the snapshot."""

    condition_id: str
    image: str
    candidate: str
    p_win: float


class FileEntry(BaseModel):
    """Hash and size of one file of the snapshot."""

    model_config = ConfigDict(extra="forbid")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Manifest(BaseModel):
    """The content of `manifest.json`."""

    model_config = ConfigDict(extra="forbid")
    format_version: int
    name: str
    created_at: datetime
    content_hash: str
    rules: dict[str, Any]
    counts: dict[str, int]
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class Snapshot:
    """An opened snapshot: its manifest and its tables in memory (images stay on disk)."""

    folder: Path
    manifest: Manifest
    conditions: tuple[Condition, ...]
    pairs: tuple[Pair, ...]
    winners: tuple[Winner, ...]
    by_id: dict[str, Condition] = field(repr=False)

    def pairs_of(self, split: Split) -> list[Pair]:
        """The pairs whose condition is in `split`, in the table's order (sorted by `pair_id`)."""
        return [pair for pair in self.pairs if self.by_id[pair.condition_id].split == split]

    def winners_of(self, split: Split) -> list[Winner]:
        """The winners whose condition is in `split`, sorted by condition and candidate."""
        return [winner for winner in self.winners if self.by_id[winner.condition_id].split == split]

    def path(self, relative: str) -> Path:
        """The absolute path of an image named in a table."""
        return self.folder / relative


def content_hash(files: dict[str, FileEntry], rules: dict[str, Any]) -> str:
    """SHA-256 over the sorted file hashes and the rules; name and time do not enter."""
    body = {"format_version": FORMAT_VERSION, "files": {k: v.sha256 for k, v in files.items()}, "rules": rules}
    return sha256_bytes(json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def write_snapshot(
    folder: Path | str,
    *,
    name: str,
    rules: dict[str, Any],
    conditions: Iterable[ConditionInput],
    pairs: Iterable[PairInput],
    winners: Iterable[WinnerInput],
) -> Snapshot:
    """Freeze rows and images into `folder`, which must not exist, and return it opened.

    The iterables are read once, conditions first, so they may stream. Images that are not yet 8-bit RGB PNG are
    re-encoded; where a candidate's foreground differs from the condition's (mask = 0), the true pixels are pasted.
    Everything is staged beside `folder`, flushed, the manifest written last, then renamed: a crash leaves nothing
    under the final name. Raises SnapshotError (nothing is left behind) for bad rows and OSError for a full disk.
    """
    folder = Path(folder)
    if folder.exists():
        raise SnapshotError("snapshot_exists", f"{folder.name} already exists; a snapshot is never overwritten.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = folder.with_name(f".{folder.name}.{os.getpid()}.staged")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        _stage(staged, name, rules, conditions, pairs, winners)
        fsync_tree(staged)
        staged.replace(folder)
        fsync_path(folder.parent)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return read_snapshot(folder)


def _stage(
    staged: Path,
    name: str,
    rules: dict[str, Any],
    conditions: Iterable[ConditionInput],
    pairs: Iterable[PairInput],
    winners: Iterable[WinnerInput],
) -> None:
    (staged / "images").mkdir(parents=True)
    store = ImageStore(staged)
    condition_rows = [_condition_row(store, item) for item in conditions]
    pair_rows = [_pair_row(store, item) for item in pairs]
    winner_rows = [
        {
            "condition_id": item.condition_id,
            "image": store.add_candidate(item.condition_id, item.image, f"winner {item.candidate}"),
            "candidate": item.candidate,
            "p_win": float(item.p_win),
        }
        for item in winners
    ]
    condition_rows.sort(key=lambda row: row["condition_id"])
    pair_rows.sort(key=lambda row: row["pair_id"])
    winner_rows.sort(key=lambda row: (row["condition_id"], row["candidate"]))
    write_table(staged / "conditions.parquet", condition_rows, CONDITION_SCHEMA)
    write_table(staged / "pairs.parquet", pair_rows, PAIR_SCHEMA)
    write_table(staged / "winners.parquet", winner_rows, WINNER_SCHEMA)
    files = {
        path.relative_to(staged).as_posix(): FileEntry(sha256=sha256_file(path), bytes=path.stat().st_size)
        for path in sorted(staged.rglob("*"))
        if path.is_file()
    }
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=name,
        created_at=datetime.now(UTC),
        content_hash=content_hash(files, rules),
        rules=rules,
        counts=_counts(condition_rows, pair_rows, winner_rows),
        files=files,
    )
    snapshot = _open(staged, manifest)
    check_rows(snapshot)
    write_durably(staged / MANIFEST, (manifest.model_dump_json(indent=1) + "\n").encode())


def _condition_row(store: ImageStore, item: ConditionInput) -> dict[str, Any]:
    image, mask, width, height = store.add_condition(item.condition_id, item.image, item.mask)
    return {
        "condition_id": item.condition_id,
        "subject_id": item.subject_id,
        "split": item.split,
        "prompt": item.prompt,
        "image": image,
        "mask": mask,
        "width": width,
        "height": height,
        "spec": None if item.spec is None else json.dumps(item.spec, sort_keys=True),
    }


def _pair_row(store: ImageStore, item: PairInput) -> dict[str, Any]:
    return {
        "pair_id": item.pair_id,
        "condition_id": item.condition_id,
        "win": store.add_candidate(item.condition_id, item.win, f"pair {item.pair_id}, win"),
        "lose": store.add_candidate(item.condition_id, item.lose, f"pair {item.pair_id}, lose"),
        "win_candidate": item.win_candidate,
        "lose_candidate": item.lose_candidate,
        "p_win": float(item.p_win),
        "reasons": list(item.reasons),
        "judgments": list(item.judgments),
        "annotators": int(item.annotators),
        "win_seed": item.win_seed,
        "lose_seed": item.lose_seed,
    }


def _counts(
    conditions: list[dict[str, Any]], pairs: list[dict[str, Any]], winners: list[dict[str, Any]]
) -> dict[str, int]:
    split = {row["condition_id"]: row["split"] for row in conditions}
    return {
        "conditions": len(conditions),
        "subjects": len({row["subject_id"] for row in conditions}),
        "pairs": len(pairs),
        "train_pairs": sum(split.get(row["condition_id"]) == "train" for row in pairs),
        "validation_pairs": sum(split.get(row["condition_id"]) == "validation" for row in pairs),
        "winners": len(winners),
    }


def read_manifest(folder: Path | str) -> Manifest:
    """Read and check `manifest.json` alone. Raises SnapshotError."""
    path = Path(folder) / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise SnapshotError("manifest_missing", f"{folder} holds no manifest.json, so it is not a snapshot.") from None
    except OSError as error:
        raise SnapshotError("manifest_unreadable", f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise SnapshotError("manifest_invalid", f"manifest.json is damaged at {place}: {first['msg']}.") from error
    if manifest.format_version != FORMAT_VERSION:
        raise SnapshotError(
            "format_version",
            f"manifest.json has format version {manifest.format_version}, this trainer reads {FORMAT_VERSION}.",
        )
    return manifest


def read_snapshot(folder: Path | str) -> Snapshot:
    """Open a snapshot: manifest and tables, checked for consistency; image bytes are not read (see verify_snapshot)."""
    folder = Path(folder)
    snapshot = _open(folder, read_manifest(folder))
    check_rows(snapshot)
    return snapshot


def _open(folder: Path, manifest: Manifest) -> Snapshot:
    conditions = tuple(Condition(**row) for row in read_rows(folder, "conditions.parquet", CONDITION_SCHEMA))
    pairs = tuple(Pair(**row) for row in read_rows(folder, "pairs.parquet", PAIR_SCHEMA))
    winners = tuple(Winner(**row) for row in read_rows(folder, "winners.parquet", WINNER_SCHEMA))
    by_id = {condition.condition_id: condition for condition in conditions}
    return Snapshot(folder, manifest, conditions, pairs, winners, by_id)


def check_rows(snapshot: Snapshot) -> None:
    """Check the tables against each other and the manifest. Raises SnapshotError naming file and row (from 0)."""
    split_of: dict[str, str] = {}
    for index, row in enumerate(snapshot.conditions):
        place = f"conditions.parquet row {index} ({row.condition_id})"
        if row.split not in ("train", "validation"):
            raise SnapshotError("split_unknown", f"{place}: split is {row.split!r}, not train or validation.")
        if split_of.setdefault(row.subject_id, row.split) != row.split:
            raise SnapshotError("subject_in_both_splits", f"{place}: subject {row.subject_id} is in both splits.")
        _check_files(snapshot, place, image=row.image, mask=row.mask)
    if len(snapshot.by_id) != len(snapshot.conditions):
        raise SnapshotError("condition_twice", "conditions.parquet holds the same condition_id twice.")
    seen: set[str] = set()
    for index, pair in enumerate(snapshot.pairs):
        place = f"pairs.parquet row {index} ({pair.pair_id})"
        if pair.pair_id in seen:
            raise SnapshotError("pair_twice", f"{place}: this pair_id was there before.")
        seen.add(pair.pair_id)
        if pair.condition_id not in snapshot.by_id:
            raise SnapshotError("condition_unknown", f"{place}: condition {pair.condition_id} is not in the snapshot.")
        if not 0.5 <= pair.p_win <= 1.0:
            raise SnapshotError("p_win_range", f"{place}: p_win is {pair.p_win}, it must lie in [0.5, 1].")
        if pair.win == pair.lose:
            raise SnapshotError("pair_of_one", f"{place}: win and lose are the same image.")
        _check_files(snapshot, place, win=pair.win, lose=pair.lose)
    for index, winner in enumerate(snapshot.winners):
        place = f"winners.parquet row {index} ({winner.candidate})"
        if winner.condition_id not in snapshot.by_id:
            raise SnapshotError(
                "condition_unknown", f"{place}: condition {winner.condition_id} is not in the snapshot."
            )
        if not 0.0 <= winner.p_win <= 1.0:
            raise SnapshotError("p_win_range", f"{place}: p_win is {winner.p_win}, it must lie in [0, 1].")
        _check_files(snapshot, place, image=winner.image)


def _check_files(snapshot: Snapshot, place: str, **paths: str) -> None:
    for column, path in paths.items():
        if path not in snapshot.manifest.files:
            raise SnapshotError("image_unlisted", f"{place}: {column} names {path}, which the manifest does not list.")


def verify_snapshot(folder: Path | str) -> Snapshot:
    """Open a snapshot and read every byte: hashes, sizes, image modes, mask values, pasted foreground.

    Raises SnapshotError whose message names the file and, for an image, the row that uses it.
    """
    snapshot = read_snapshot(folder)
    for name, entry in snapshot.manifest.files.items():
        path = snapshot.folder / name
        if not path.is_file():
            raise SnapshotError("file_missing", f"{name} is missing from the snapshot{_user_of(snapshot, name)}.")
        if path.stat().st_size != entry.bytes or sha256_file(path) != entry.sha256:
            raise SnapshotError(
                "file_altered", f"{name} is not the file that was frozen{_user_of(snapshot, name)}: its hash differs."
            )
    if content_hash(snapshot.manifest.files, snapshot.manifest.rules) != snapshot.manifest.content_hash:
        raise SnapshotError("content_hash", "manifest.json was altered: its content hash does not fit its files.")
    check_images(snapshot)
    return snapshot


def _user_of(snapshot: Snapshot, name: str) -> str:
    uses = [
        *((f"conditions.parquet row {i}, {row.condition_id}", row.image, row.mask)
          for i, row in enumerate(snapshot.conditions)),
        *((f"pairs.parquet row {i}, {pair.pair_id}", pair.win, pair.lose) for i, pair in enumerate(snapshot.pairs)),
        *((f"winners.parquet row {i}, {row.candidate}", row.image) for i, row in enumerate(snapshot.winners)),
    ]  # fmt: skip
    return next((f" ({place})" for place, *images in uses if name in images), "")
