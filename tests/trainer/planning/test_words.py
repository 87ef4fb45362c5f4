"""A plan as a person reads it, and as a program does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from trainer.cli import main
from trainer.contract.errors import ExitCode
from trainer.words import duration, quantity

RECIPE = ["plan", "--recipe", "flux_fill_debug"]


def test_quantities_have_three_digits_and_a_prefix() -> None:
    assert [quantity(value, "B") for value in (0, 12, 999, 1000, 606.2e6, 999.9e6, 7.34562e10)] == [
        "0 B", "12 B", "999 B", "1.00 kB", "606 MB", "1.00 GB", "73.5 GB"
    ]  # fmt: skip
    assert quantity(5.65153e15, "FLOP") == "5.65 PFLOP"


def test_durations_are_in_the_units_one_says() -> None:
    told = [duration(value) for value in (0.0505, 0.9999, 3.24, 59.99, 303, 3599.9, 19116.9, 28_602_000)]
    assert told == ["50 ms", "1.0 s", "3.2 s", "1 min 0 s", "5 min 3 s", "1 h 0 min", "5 h 19 min", "7,945 h"]


def test_a_plan_says_what_is_picked_what_it_costs_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RECIPE, "--set", "training.micro_batch=1"]) == ExitCode.FINISHED
    table = capsys.readouterr().out
    assert not re.search(r"e[+-]\d|[{}]", table)
    rows = {line[:28].strip(): line[28:].strip() for line in table.splitlines()}
    assert re.match(
        r"[\d.]+ [MG]B +[\d.]+ [MG]B  of [\d.]+ GB free on this computer's CPU \(\d+ threads?\)$", rows["memory"]
    )
    assert rows["trained"] == "a LoRA of rank 4, 6,784 parameters"
    assert rows["steps"] == "4 steps of 2 pairs"
    assert "--set training.micro_batch=2" in rows["picked"]
    assert rows["why"] == "all pairs of a step fit in one forward."
    assert rows["FLOPs of a pair"].count("MFLOP") == 2 and rows["time of all steps"].count(" s") >= 1


def test_programs_get_the_pick_with_its_costs_and_nothing_that_is_not_known(
    snapshot_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*RECIPE, "--json"]) == ExitCode.FINISHED
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert not {"train_pairs", "epochs"} & told.keys()
    assert told["fit"]["training.micro_batch"] == 2 and told["fit_why"]
    assert told["device_bytes"] <= told["fit_values"]["device_bytes"] < told["machine_bytes"]
    assert told["seconds_in_all"] == pytest.approx(told["steps"] * told["seconds_per_step"])
    assert main([*RECIPE, "--snapshot", str(snapshot_folder), "--json"]) == ExitCode.FINISHED
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["train_pairs"] == 6
    assert main([*RECIPE, "--cards"]) == ExitCode.FINISHED
    assert re.match(r"  24 GB  +\d+ MB  --set training.micro_batch=2 ", capsys.readouterr().out)
