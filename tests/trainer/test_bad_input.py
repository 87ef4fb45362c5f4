"""Every kind of bad snapshot ends training with one sentence that names file and row, before anything is computed."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trainer.contract.checkpoint import RunFolder
from trainer.contract.config import RunConfig
from trainer.contract.errors import ExitCode, SnapshotError
from trainer.contract.events import read_events
from trainer.contract.images import load_pixels
from trainer.contract.snapshot import FileEntry, Snapshot, content_hash, read_manifest, read_snapshot


def freeze_again(folder: Path) -> None:
    """Give a changed snapshot the hashes of what it now holds, as another program's own export would have."""
    manifest = read_manifest(folder)
    files = {
        name: FileEntry(sha256=hashlib.sha256((folder / name).read_bytes()).hexdigest(), bytes=path.stat().st_size)
        for name in manifest.files
        if (path := folder / name).is_file()
    }
    changed = manifest.model_copy(update={"files": files, "content_hash": content_hash(files, manifest.rules)})
    (folder / "manifest.json").write_text(changed.model_dump_json())


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def tiff_of_nan(size: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size), np.nan, np.float32)).save(buffer, format="TIFF")
    return buffer.getvalue()


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def mask_of(snapshot: Snapshot) -> Path:
    return snapshot.path(snapshot.conditions[0].mask)


def lose_of(snapshot: Snapshot) -> Path:
    return snapshot.path(snapshot.pairs[1].lose)


def invert(path: Path) -> None:
    path.write_bytes(png(255 - np.asarray(Image.open(path))))


def squash(path: Path) -> None:
    path.write_bytes(png(np.asarray(Image.open(path)) // 255))


def lift(path: Path) -> None:
    path.write_bytes(png(np.maximum(np.asarray(Image.open(path)), 1)))


def both_splits(snapshot: Snapshot) -> None:
    path = snapshot.folder / "conditions.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[-1]["subject_id"] = rows[0]["subject_id"]
    pq.write_table(table.from_pylist(rows, schema=table.schema), path)


def held_out_only(snapshot: Snapshot) -> None:
    path = snapshot.folder / "conditions.parquet"
    table = pq.read_table(path)
    rows = [{**row, "split": "validation"} for row in table.to_pylist()]
    pq.write_table(table.from_pylist(rows, schema=table.schema), path)


def put(name: str, column: str, value: object) -> Callable[[Snapshot], object]:
    """Sets `column` of the second row of a table, whatever type that gives the column."""

    def damage(snapshot: Snapshot) -> None:
        path = snapshot.folder / name
        rows = pq.read_table(path).to_pylist()
        if isinstance(value, str):
            rows = [{**row, column: None if row[column] is None else str(row[column])} for row in rows]
        rows[1][column] = value
        pq.write_table(pa.Table.from_pylist(rows), path)

    return damage


def make_folder(name: str) -> Callable[[Snapshot], object]:
    def damage(snapshot: Snapshot) -> None:
        (snapshot.folder / name).unlink()
        (snapshot.folder / name).mkdir()

    return damage


CASES: list[tuple[str, Callable[[Snapshot], object], bool, str]] = [
    ("missing image", lambda s: lose_of(s).unlink(), False, r"images/.*png is missing .*pairs.parquet row 1, p1"),
    ("truncated image", lambda s: half(lose_of(s)), False, r"not the file that was frozen .*pairs.parquet row 1, p1"),
    ("truncated before freezing", lambda s: half(lose_of(s)), True, r"pairs.parquet row 1 \(p1\), lose.* decoded"),
    ("mask of another size", lambda s: mask_of(s).write_bytes(png(np.full((16, 16), 255, np.uint8))), True,
     r"conditions.parquet row 0 \(c0\): the mask is 16x16, not 32x32"),
    ("mask all 0", lambda s: mask_of(s).write_bytes(png(np.zeros((32, 32), np.uint8))), True,
     r"conditions.parquet row 0 \(c0\): the mask is 0 everywhere"),
    ("mask all 255", lambda s: mask_of(s).write_bytes(png(np.full((32, 32), 255, np.uint8))), True,
     r"conditions.parquet row 0 \(c0\): the mask is 255 everywhere"),
    ("mask of 0 and 1", lambda s: squash(mask_of(s)), True,
     r"conditions.parquet row 0 \(c0\): the mask is 0 to 1, so there is no background"),
    ("mask that is nowhere 0", lambda s: lift(mask_of(s)), True,
     r"conditions.parquet row 0 \(c0\): the mask is 1 to 255, so there is no subject"),
    ("mask the other way round", lambda s: invert(mask_of(s)), True,
     r"pairs.parquet row 0 \(p0\), win: .* is this one the other way round"),
    ("pixels of NaN", lambda s: lose_of(s).write_bytes(tiff_of_nan(32)), True,
     r"pairs.parquet row 1 \(p1\), lose: .* is TIFF F, it must be PNG RGB"),
    ("members of different size", lambda s: lose_of(s).write_bytes(png(np.zeros((48, 48, 3), np.uint8))), True,
     r"pairs.parquet row 1 \(p1\), lose: .* is 48x48, its condition 32x32"),
    ("subject in both splits", both_splits, True, r"conditions.parquet row 8 \(c8\): subject s0 is in both splits"),
    ("table cut in half", lambda s: half(s.folder / "pairs.parquet"), True, r"pairs.parquet cannot be read as Parquet"),
    ("prompt of null", put("conditions.parquet", "prompt", None), True,
     r"conditions.parquet row 1 \(c1\): prompt is null"),
    ("subject of null", put("conditions.parquet", "subject_id", None), True,
     r"conditions.parquet row 1 \(c1\): subject_id is null"),
    ("spec that is no JSON", put("conditions.parquet", "spec", "{'a': 1}"), True,
     r"conditions.parquet row 1 \(c1\): spec is not valid JSON"),
    ("spec that is a list", put("conditions.parquet", "spec", "[1]"), True,
     r"conditions.parquet row 1 \(c1\): spec is \[1\], it must be a JSON object"),
    ("p(win) of null", put("pairs.parquet", "p_win", None), True, r"pairs.parquet row 1 \(p1\): p_win is null"),
    ("p(win) in words", put("pairs.parquet", "p_win", "most"), True,
     r"pairs.parquet: the column p_win is string, it must be double: .*'most'"),
    ("reason of null", put("pairs.parquet", "reasons", ["scale", None]), True,
     r"pairs.parquet row 1 \(p1\): reasons holds a null"),
    ("p(win) of a winner above 1", put("winners.parquet", "p_win", 7.0), True,
     r"winners.parquet row 1 \(w0-1\): p_win is 7.0, it must lie in \[0, 1\]"),
    ("table that is a folder", make_folder("pairs.parquet"), True, r"pairs.parquet cannot be read .*directory"),
    ("manifest that is a folder", make_folder("manifest.json"), False, r"manifest.json cannot be read: .*directory"),
    ("manifest cut in half", lambda s: half(s.folder / "manifest.json"), False, r"manifest.json is damaged"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "again", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_bad_snapshot_is_named_and_nothing_is_lost(
    damage: Callable[[Snapshot], object], again: bool, words: str, smoke: RunConfig, snapshot_folder: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    from trainer.engine import train

    bad, run = tmp_path / "bad", RunFolder(tmp_path / "run")
    shutil.copytree(snapshot_folder, bad)
    damage(read_snapshot(bad))
    if again:
        freeze_again(bad)
    before = {path: path.read_bytes() for path in bad.rglob("*") if path.is_file()}
    with pytest.raises(SnapshotError, match=words) as caught:
        train(bad, smoke, run.root)
    assert caught.value.exit_code == ExitCode.BAD_SNAPSHOT
    assert caught.value.message.count("\n") == 0
    assert {path: path.read_bytes() for path in bad.rglob("*") if path.is_file()} == before
    assert json.loads(run.result.read_text())["exit_code"] == ExitCode.BAD_SNAPSHOT
    assert [event.kind for event in read_events(run.events)[0]] == ["failed"]


def test_a_snapshot_of_held_out_subjects_only_is_nothing_to_train_on(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path
) -> None:
    from trainer.engine import train

    bad = tmp_path / "bad"
    shutil.copytree(snapshot_folder, bad)
    held_out_only(read_snapshot(bad))
    freeze_again(bad)
    with pytest.raises(SnapshotError, match="holds no pair of the train split: nothing to train on"):
        train(bad, smoke, tmp_path / "run")


def test_tables_of_other_types_are_read_where_they_say_the_same(snapshot_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(snapshot_folder, tmp_path / "other")
    before = read_snapshot(tmp_path / "other")
    path = before.folder / "pairs.parquet"
    table = pq.read_table(path).drop_columns(["win_seed", "lose_seed"])
    wide = {pa.string(): pa.large_string(), pa.int32(): pa.int64(), pa.list_(pa.string()): pa.large_list(pa.string())}
    types = [pa.field(field.name, wide.get(field.type, field.type)) for field in table.schema]
    pq.write_table(table.cast(pa.schema(types)), path)
    freeze_again(before.folder)
    after = read_snapshot(before.folder)
    assert (after.conditions, after.pairs, after.winners) == (before.conditions, before.pairs, before.winners)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_deep_pixels_are_refused_on_the_way_in(kind: str, mode: str) -> None:
    grey = np.random.default_rng(0).integers(0, 2**16, (8, 8), np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(grey if kind == "PNG" else (grey / 2**16).astype(np.float32)).save(buffer, format=kind)
    with pytest.raises(
        SnapshotError, match=r"pair p, win: the image has more than 8 bits a channel .*; save it with 8"
    ):
        load_pixels(buffer.getvalue(), mode, "pair p, win")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_pixels_of_eight_bits_keep_their_mean(mode: str) -> None:
    pixels = Image.fromarray(np.repeat(np.uint8([[0, 85], [170, 255]]), 8, axis=0))
    buffer = io.BytesIO()
    pixels.convert("RGB").convert(mode).save(buffer, format="TIFF")
    assert np.abs(load_pixels(buffer.getvalue(), "L", "mask").mean() - 127.5) < 2
