"""The import manifest that SpatialWorld writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.spatialworld.__main__ import main
from trainer.spatialworld.geometry import Spec
from trainer.spatialworld.scenes import condition_at


def test_the_manifest_names_files_that_fit(tmp_path: Path) -> None:
    assert main(["conditions", "--count", "6", "--seed", "3", "--out", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert [row["split"] for row in rows] == ["train"] * 4 + ["validation"] + ["train"]
    for row in rows:
        image, mask = Image.open(tmp_path / row["image"]), Image.open(tmp_path / row["mask"])
        assert (image.mode, image.size, mask.mode, mask.size) == ("RGB", (64, 64), "L", (64, 64))
        with Image.open(tmp_path / row["cutout"]) as cutout:
            assert cutout.mode == "RGBA"
        background = np.asarray(mask) == 255
        assert np.all(np.asarray(image)[background] == 128)
        spec = Spec.from_json(row["spatialworld"])
        assert spec.kind in row["subject"]
        assert row["prompt"].startswith(("a ", "an "))


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        main(["conditions", "--count", "3", "--seed", "5", "--split", "validation", "--out", str(tmp_path / name)])
    for path in sorted((tmp_path / "one").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_conditions_do_not_depend_on_how_many_are_asked_for() -> None:
    assert np.array_equal(condition_at(2, 7, "train").image, condition_at(2, 7, "train").image)
    assert condition_at(2, 7, "train").id == "train-2-00007"
