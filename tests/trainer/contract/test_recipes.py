"""Recipes of every family at both sizes, and as they were fitted to cards."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from trainer.backbones.families import FAMILIES as KNOWN_FAMILIES
from trainer.cli import main
from trainer.contract.checkpoint import RunFolder
from trainer.contract.config import TrainingConfig, apply_overrides
from trainer.contract.errors import ConfigError, ExitCode
from trainer.contract.events import Metrics, Validation, read_events
from trainer.contract.fits import FITS
from trainer.contract.recipes import FAMILIES, RECIPES, needs_of, recipe_config


def test_every_family_has_both_sizes_and_a_debug_recipe() -> None:
    assert list(FAMILIES) == list(KNOWN_FAMILIES)
    for family, (_, _, own) in FAMILIES.items():
        other = 512 if own == 1024 else 1024
        assert (RECIPES[family].size, RECIPES[f"{family}_{other}"].size) == (own, other)
        assert recipe_config(f"{family}_debug").model.base == f"{family}_debug"
        assert recipe_config(family).model.base == recipe_config(f"{family}_{other}").model.base


def test_a_debug_recipe_is_seen_to_learn(snapshot_folder: Path, tmp_path: Path) -> None:
    from trainer.engine import train

    config = apply_overrides(recipe_config("flux_fill_debug"), {"samples.every": 0, "model.dtype": "float32"})
    assert train(snapshot_folder, config, tmp_path / "run").state == "finished"
    events = read_events(RunFolder(tmp_path / "run").events)[0]
    losses = [event.values["loss_preference"] for event in events if isinstance(event, Metrics)]
    held_out = [event.values for event in events if isinstance(event, Validation)]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert min(abs(loss - losses[0]) for loss in losses[1:]) > 0.02
    assert held_out[0]["margin"] == 0 and abs(held_out[-1]["margin"]) > 0.02 and held_out[-1]["d_win"] < -1e-4


def test_bases_of_recipes_can_be_planned_without_a_network() -> None:
    from trainer.planning.known import KNOWN

    assert {recipe_config(family).model.base for family in FAMILIES} == set(KNOWN)


def test_fits_are_values_of_the_config() -> None:
    for name, cards in FITS.items():
        assert list(cards) == [24, 48, 80, 140] and name in RECIPES
        for card, values in cards.items():
            if values is not None:
                training = recipe_config(name, card).training
                assert {key: getattr(training, key) for key in values} == values
                assert values.keys() <= TrainingConfig.model_fields.keys()


def test_cards_that_do_not_fit_are_refused_with_what_is_needed() -> None:
    with pytest.raises(ConfigError, match="was fitted to no card of 7 GB"):
        recipe_config("sd_inpaint", 7)
    with pytest.raises(ConfigError, match="spatialworld_demo was fitted to no card of 24 GB; known: none"):
        recipe_config("spatialworld_demo", 24)
    tight = [(name, card) for name, cards in FITS.items() for card, values in cards.items() if values is None]
    for name, card in tight:
        with pytest.raises(ConfigError, match=f"does not fit a card of {card} GB; it needs a GPU of"):
            recipe_config(name, card)
    assert needs_of({24: None, 48: {"micro_batch": 1}}) == "a GPU of 48 GB or more"


def test_the_command_line_takes_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--recipe", "sd_inpaint", "--card", "7"]) == ExitCode.BAD_CONFIG
    assert "fitted to no card of 7 GB" in capsys.readouterr().err
    assert main(["recipes", "--json"]) == ExitCode.FINISHED
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert listed.keys() == RECIPES.keys()
