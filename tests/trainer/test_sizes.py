"""Images of a size that the model cannot take are refused by row and with a way out, before anything is walked."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.cli import main
from trainer.contract.checkpoint import RunFolder
from trainer.contract.errors import ExitCode
from trainer.contract.events import read_events
from trainer.contract.snapshot import ConditionInput, PairInput, write_snapshot

RECIPE = ["--recipe", "flux_fill_debug"]
WORDS = (
    "conditions.parquet row 2 (c2): 50x64 pixels, but this model needs multiples of 8: resize or crop to 48x64 or "
    "56x64 before importing."
)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Two training conditions of 64x64 pixels and a held-out one of 50x64."""
    conditions, pairs = [], []
    for index, (width, split) in enumerate([(64, "train"), (64, "train"), (50, "validation")]):
        mask = np.full((64, width), 255, np.uint8)
        mask[20:40, 20:40] = 0
        grey = [png(np.full((64, width, 3), 60 + 10 * draw, np.uint8)) for draw in range(3)]
        name = f"c{index}"
        conditions.append(ConditionInput(name, f"s{index}", split, "a car", grey[0], png(mask)))
        pairs.append(PairInput(f"p{index}", name, grey[1], grey[2], f"w{index}", f"l{index}"))
    write_snapshot(tmp_path / "odd", name="odd", rules={}, conditions=conditions, pairs=pairs, winners=[])
    return tmp_path / "odd"


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The last line on stdout, after a look that nothing but a sentence is on stderr."""
    out, err = capsys.readouterr()
    assert "Traceback" not in err and "aten." not in err
    found: dict[str, str] = json.loads(out.splitlines()[-1])
    return found


def test_a_plan_names_row_and_way_out(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *RECIPE, "--snapshot", str(odd), "--json"]) == ExitCode.BAD_SNAPSHOT
    assert told(capsys) == {"error": "size_multiple", "message": WORDS}


def test_a_run_names_row_and_way_out_in_its_folder(
    odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(tmp_path / "run")
    options = [*RECIPE, "--snapshot", str(odd), "--out", str(run.root), "--fit", "--json"]
    assert main(["train", *options]) == ExitCode.BAD_SNAPSHOT
    assert told(capsys) == {"error": "size_multiple", "message": WORDS}
    assert json.loads(run.result.read_text())["message"] == WORDS
    assert read_events(run.events)[0][-1].kind == "failed"


@pytest.mark.parametrize(("size", "way_out"), [("50", "48 or 56"), ("3", "8"), ("0", "8"), ("-64", "8")])
def test_a_size_is_checked_too(size: str, way_out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *RECIPE, "--size", size, "--json"]) == ExitCode.BAD_CONFIG
    found = told(capsys)
    assert found["error"] == "size_multiple"
    assert found["message"] == (
        f"--size {size}: this model needs images whose sides are multiples of 8 pixels: take {way_out}."
    )
