"""The whole study at its smallest: killed, started again, reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.contract.config import RunConfig
from trainer.spatialworld.__main__ import main

MAIN_ARMS = {"base", "sft", "dpo", "mask_dpo", "mask_dpo_capo", "mask_dpo_scpo", "full"}


def killed_after(out: Path, words: str) -> list[str]:
    """Start the smoke study in a process, kill it when a line says `words`; returns its lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer.spatialworld", "study", "--scale", "smoke", "--out", str(out)],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    lines = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if words in line:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.stderr.close()
    process.wait()
    return lines


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_smoke(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "study"
    lines = killed_after(out, "trials sft-0")
    assert any("left" in line for line in lines)
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    assert kept
    assert main(["study", "--scale", "smoke", "--out", str(out), "--only-report"]) == 0
    assert "not finished" in (out / "study.md").read_text()
    capsys.readouterr()
    for arm, config in (("sft", RunConfig().model_dump_json()), ("dpo", '{"a_key_of_old": 1}')):
        begun_before_an_update = out / "cells" / "arms" / arm / "seed-0" / "run"
        (begun_before_an_update / "adapter").mkdir(parents=True)  # something to lose
        (begun_before_an_update / "config.json").write_text(config)

    assert main(["study", "--scale", "smoke", "--out", str(out)]) == 0
    again = capsys.readouterr()
    assert "are there already; going on" in again.err
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert again.out.strip() == str(out / "study.md")

    results = json.loads((out / "study" / "results.json").read_text())
    assert results["complete"]
    assert set(results["arms"]) == MAIN_ARMS
    for name, measures in results["arms"].items():
        for measure in ("rational", "foreground_error", "expansion", "coherence", "diversity", "d_win", "elo"):
            found = measures[measure]
            assert found["low"] <= found["mean"] <= found["high"], (name, measure)
            assert found["n"] > 0
    assert results["judge"]["agreement"] >= 0.99
    text = (out / "study.md").read_text()
    for picture in ("rational.svg", "samples.webp", "gallery.webp"):
        assert f"study/{picture}" in text
        assert (out / "study" / picture).stat().st_size > 1000

    assert main(["study", "--scale", "cpu", "--out", str(out)]) == 2
    assert "another folder" in capsys.readouterr().err
    assert main(["study", "--scale", "smoke", "--out", str(out / "study.md" / "below")]) == 2
    assert "error: " in capsys.readouterr().err
