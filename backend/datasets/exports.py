"""Snapshots in other people's formats."""

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.contract.snapshot import Snapshot, Split, read_snapshot

# Rows of one row group: a reader and the writer hold so many images in memory at a time.
ROW_GROUP = 64

PICK_A_PIC = pa.schema(
    [
        ("jpg_0", pa.binary()), ("jpg_1", pa.binary()), ("label_0", pa.float32()), ("label_1", pa.float32()),
        ("caption", pa.string()), ("image_0_uid", pa.string()), ("image_1_uid", pa.string()),
        ("best_image_uid", pa.string()), ("are_different", pa.bool_()), ("has_label", pa.bool_()),
        ("condition_image", pa.binary()), ("condition_mask", pa.binary()), ("split", pa.string()),
        ("p_win", pa.float64()), ("reasons", pa.list_(pa.string())), ("pair_id", pa.string()),
    ]
)  # fmt: skip


def write_pick_a_pic(folder: Path, target: Path, *, split: Split | None = None) -> int:
    """Writes the pairs of an unpacked snapshot in the columns of Pick-a-Pic, which Diffusion-DPO trains on.

    The image columns keep those names but hold PNG bytes, which every decoder tells from JPEG by content; the
    condition, p(win) and the reasons stand beside them. Which image comes first is settled by the pair's id, so that
    the place does not give the label away. Returns the number of rows; memory does not grow with it.
    """
    snapshot = read_snapshot(folder)
    rows = _rows(snapshot, split)
    written = 0
    with pq.ParquetWriter(target, PICK_A_PIC, compression="zstd") as writer:
        while batch := list(islice(rows, ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(batch, schema=PICK_A_PIC))
            written += len(batch)
    return written


def _rows(snapshot: Snapshot, split: Split | None) -> Iterator[dict[str, Any]]:
    for pair in snapshot.pairs:
        condition = snapshot.by_id[pair.condition_id]
        if split is not None and condition.split != split:
            continue
        shown = [(pair.win, pair.win_candidate, 1.0), (pair.lose, pair.lose_candidate, 0.0)]
        if hashlib.sha256(pair.pair_id.encode()).digest()[0] % 2:
            shown.reverse()
        (first, first_id, first_label), (second, second_id, second_label) = shown
        yield {
            "jpg_0": snapshot.path(first).read_bytes(),
            "jpg_1": snapshot.path(second).read_bytes(),
            "label_0": first_label,
            "label_1": second_label,
            "caption": condition.prompt,
            "image_0_uid": first_id,
            "image_1_uid": second_id,
            "best_image_uid": pair.win_candidate,
            "are_different": True,
            "has_label": True,
            "condition_image": snapshot.path(condition.image).read_bytes(),
            "condition_mask": snapshot.path(condition.mask).read_bytes(),
            "split": condition.split,
            "p_win": pair.p_win,
            "reasons": list(pair.reasons),
            "pair_id": pair.pair_id,
        }
