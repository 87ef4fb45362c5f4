"""The snapshot format: what goes in comes out, and every kind of damage is named."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.contract.errors import SnapshotError
from trainer.contract.snapshot import (
    ConditionInput,
    PairInput,
    Snapshot,
    WinnerInput,
    read_snapshot,
    verify_snapshot,
    write_snapshot,
)


def picture(seed: int, size: int = 16, format: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=format)
    return buffer.getvalue()


def mask(size: int = 16, value: int | None = None) -> bytes:
    pixels = np.full((size, size), 255 if value is None else value, np.uint8)
    if value is None:
        pixels[4:8, 4:8] = 0
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def conditions(**changes: object) -> list[ConditionInput]:
    return [
        ConditionInput(
            **{  # type: ignore[arg-type]  # the tests pass wrong values on purpose
                "condition_id": f"c{i}",
                "subject_id": f"s{i}",
                "split": "train" if i else "validation",
                "prompt": f"a thing {i}",
                "image": picture(i),
                "mask": mask(),
                "spec": {"b": 1, "a": i},
                **changes,
            }
        )
        for i in range(2)
    ]


def pairs() -> list[PairInput]:
    return [
        PairInput(
            f"p{i}", f"c{i}", picture(10 + i), picture(20 + i), f"w{i}", f"l{i}", 0.9, ("scale",), ("j1", "j2"), 2
        )
        for i in range(2)
    ]


def make(folder: Path, name: str = "first", rules: dict[str, object] | None = None) -> Snapshot:
    winners = [WinnerInput("c1", picture(30), "w9", 1.0), WinnerInput("c1", picture(11), "w1", 0.9)]
    return write_snapshot(
        folder, name=name, rules=rules or {"threshold": 0.8}, conditions=conditions(), pairs=pairs(), winners=winners
    )


def test_round_trip_and_foreground_is_pasted(tmp_path: Path) -> None:
    snapshot = make(tmp_path / "a")
    again = verify_snapshot(tmp_path / "a")
    assert again.pairs == snapshot.pairs and again.winners == snapshot.winners
    assert again.by_id["c1"].spec == {"a": 1, "b": 1}
    assert [pair.pair_id for pair in again.pairs_of("validation")] == ["p0"]
    assert [winner.candidate for winner in again.winners_of("train")] == ["w1", "w9"]
    assert again.pairs[0].reasons == ("scale",) and again.pairs[0].judgments == ("j1", "j2")
    true = np.asarray(Image.open(again.path(again.by_id["c1"].image)))
    win = np.asarray(Image.open(again.path(again.pairs[1].win)))
    assert (win[4:8, 4:8] == true[4:8, 4:8]).all() and not (win == true).all()
    assert again.manifest.counts["train_pairs"] == 1


def test_hash_ignores_name_and_time_but_not_rules(tmp_path: Path) -> None:
    first = make(tmp_path / "a")
    assert make(tmp_path / "b", name="second").manifest.content_hash == first.manifest.content_hash
    assert make(tmp_path / "c", rules={"threshold": 0.9}).manifest.content_hash != first.manifest.content_hash


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"mask": mask(value=255)}, "mask_full", "condition c0"),
        ({"mask": mask(value=0)}, "mask_empty", "condition c0"),
        ({"mask": mask(12)}, "mask_size", "12x12"),
        ({"subject_id": "s"}, "subject_in_both_splits", "conditions.parquet row 1"),
        ({"split": "test"}, "split_unknown", "conditions.parquet row 0"),
        ({"image": b"nothing"}, "image_damaged", "condition c0, image"),
    ],
)
def test_bad_conditions_are_refused_and_nothing_stays(
    tmp_path: Path, changes: dict[str, object], code: str, words: str
) -> None:
    with pytest.raises(SnapshotError, match=words) as caught:
        write_snapshot(tmp_path / "a", name="a", rules={}, conditions=conditions(**changes), pairs=pairs(), winners=[])
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_a_candidate_of_another_size_is_named(tmp_path: Path) -> None:
    bad = [PairInput("p7", "c1", picture(1, size=12), picture(2), "w", "l")]
    with pytest.raises(SnapshotError, match="pair p7, win: the image is 12x12"):
        write_snapshot(tmp_path / "a", name="a", rules={}, conditions=conditions(), pairs=bad, winners=[])


def test_damage_names_file_and_row(tmp_path: Path) -> None:
    snapshot = make(tmp_path / "a")
    lose = snapshot.pairs[1].lose
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path / "a", cut)
    (cut / lose).write_bytes((cut / lose).read_bytes()[:40])
    with pytest.raises(SnapshotError, match=r"pairs.parquet row 1, p1") as caught:
        verify_snapshot(cut)
    assert caught.value.code == "file_altered"
    (cut / lose).unlink()
    with pytest.raises(SnapshotError, match=lose) as caught:
        verify_snapshot(cut)
    assert caught.value.code == "file_missing"
    (cut / "manifest.json").write_text('{"format_version": 1}')
    with pytest.raises(SnapshotError, match=r"manifest.json is damaged at"):
        read_snapshot(cut)
    (cut / "manifest.json").unlink()
    with pytest.raises(SnapshotError, match="not a snapshot"):
        read_snapshot(cut)


def test_an_existing_folder_is_never_overwritten(tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(SnapshotError, match="never overwritten"):
        make(tmp_path / "a")
