"""Config sentences, overrides, hashes; the event stream over crashes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.contract.config import apply_overrides, load_config, parse_config
from trainer.contract.errors import ConfigError
from trainer.contract.events import EventWriter, Metrics, Started, Warn, read_events
from trainer.contract.recipes import RECIPES, recipe_config
from trainer.contract.sampling import load_request


def test_the_contract_never_imports_torch() -> None:
    code = (
        "import sys\n"
        "from trainer.contract import checkpoint, config, events, recipes, sampling, snapshot\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipes_survive_json(name: str, tmp_path: Path) -> None:
    config = recipe_config(name)
    path = tmp_path / "config.json"
    path.write_text(config.model_dump_json())
    assert load_config(path) == config
    assert load_config(path).config_hash() == config.config_hash()
    assert config.recipe == name


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("objective.bta=3", r"names no known key \(did you mean objective.beta\?\); known there: anchor"),
        ("objektive.beta=3", r"names no section objektive \(did you mean objective\?\); known there: checkpoints"),
        ('training={"stepz": 1}', r"override training.stepz names no known key \(did you mean training.steps\?\)"),
        ('objective={"capo": {"share_of": 1}}', "override objective.capo.share_of names no known key"),
        ("nothing.like=it", "names no section nothing; known there: checkpoints"),
        ("objective.beta=-1", "objective.beta: Input should be greater than 0, got -1"),
        ("objective.t_min=1", "t_min must be below t_max"),
        ("objective.beta=NaN", "objective.beta: Input should be"),
        ("optimizer.learning_rate=Infinity", "optimizer.learning_rate: Input should be a finite number"),
        ("samples.steps=2000", "samples.steps: Input should be less than or equal to 1000, got 2000"),
        ("samples.seed=9223372036854775807", "samples.seed: Input should be less than"),
        ("objective.preference=none", "leaves nothing for CAPO and SCPO"),
        ("objective.beta", "not of the form section.key=value"),
    ],
)
def test_bad_overrides_get_a_sentence(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        apply_overrides(recipe_config("spatialworld_demo"), [override])


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.yaml", "objective: [\n"), ("b.yml", "objective:\n\tbeta: 3\n"), ("c.yaml", "\x00"), ("d.json", "{")],
)
def test_a_broken_file_is_named_in_one_line(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=f"{name} is not valid") as caught:
        load_config(tmp_path / name)
    assert "\n" not in caught.value.message


def test_yaml_may_turn_wandb_off_in_the_defaults_own_word(tmp_path: Path) -> None:
    for word, meant in (("off", "off"), ("false", "off"), ("online", "online")):
        (tmp_path / "a.yaml").write_text(f"telemetry:\n  wandb: {word}\n")
        assert load_config(tmp_path / "a.yaml").telemetry.wandb == meant
    (tmp_path / "a.yaml").write_text("telemetry:\n  wandb: on\n")
    with pytest.raises(ConfigError, match=r"telemetry.wandb: Input should be 'off', 'offline' or 'online', got True"):
        load_config(tmp_path / "a.yaml")


def test_overrides_and_hash() -> None:
    base = recipe_config("spatialworld_demo")
    assert apply_overrides(base, []).config_hash() == base.config_hash()
    changed = apply_overrides(base, ["objective.capo.weight=0.2", "model.base=here", "model.adapter=null"])
    assert (changed.objective.capo.weight, changed.model.base, changed.model.adapter) == (0.2, "here", None)
    nested = apply_overrides(base, {"objective": {"capo": {"weight": 0.2}}, "model.base": "here"})
    assert nested == changed and nested.config_hash() != base.config_hash()


def test_unknown_keys_and_recipes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown key objective.x; known there: .*beta"):
        parse_config({"objective": {"x": 1}})
    with pytest.raises(
        ConfigError, match=r"unknown key objective.capo.wieght \(did you mean objective.capo.weight\?\)"
    ):
        parse_config({"objective": {"capo": {"wieght": 1}}})
    with pytest.raises(ConfigError, match="no recipe 'nothing'; known: spatialworld_demo"):
        recipe_config("nothing")
    with pytest.raises(
        ConfigError, match=r"no recipe 'flux_fil' \(did you mean flux_fill\?\); known: spatialworld_demo"
    ):
        recipe_config("flux_fil")


def test_events_tolerate_a_cut_line_and_keep_counting(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventWriter(path) as writer:
        writer.write(Started(snapshot="s", config_hash="c", config={}, total_steps=3))
        writer.write(Metrics(step=1, values={"loss": 0.5}))
    events, offset = read_events(path)
    assert [event.seq for event in events] == [0, 1]
    with path.open("ab") as handle:
        handle.write(b'{"seq": 2, "kind": "metr')
    assert read_events(path, offset) == ([], offset)
    with EventWriter(path) as writer:
        writer.write(Warn(step=2, code="x", message="y"))
    later, end = read_events(path, offset)
    assert [event.seq for event in later] == [2] and end == path.stat().st_size
    with path.open("ab") as handle:  # whole, but for its newline
        handle.write(Warn(seq=3, code="x", message="z").model_dump_json().encode())
    with EventWriter(path) as writer:
        writer.write(Warn(code="x", message="last"))
    assert [event.seq for event in read_events(path)[0]] == [0, 1, 2, 3, 4]


def test_requests_are_checked(tmp_path: Path) -> None:
    item = {"key": "a", "image": "i.png", "mask": "m.png", "prompt": "p", "seed": 1}
    path = tmp_path / "request.json"
    path.write_text(json.dumps({"items": [item]}))
    assert load_request(path).items[0].image == tmp_path / "i.png"
    path.write_text(json.dumps({"items": [item, item]}))
    with pytest.raises(ConfigError, match="'a' was there before"):
        load_request(path)
    path.write_text(json.dumps({"items": [{**item, "key": "../x"}]}))
    with pytest.raises(ConfigError, match=r"items.0.key"):
        load_request(path)
