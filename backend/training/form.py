"""The form of a new run: what it offers, what was typed, and where what is wrong stands."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy.orm import Session

from backend.catalogue.models import Generator, Project
from backend.datasets.models import Snapshot
from backend.kit.errors import AppError, Invalid
from backend.kit.forms import field_errors, read_form
from backend.training import repository
from backend.training.charts import number_words
from backend.training.configs import COMMON_FIELDS, RESERVED, description, parse_overrides, parse_value, value_at
from backend.training.models import Run
from backend.training.schemas import RunIn
from trainer.contract.recipes import RECIPES, Recipe

PREFIX = "overrides."


class BadForm(Exception):
    """Fields that cannot be read, as ``{field: sentence}``."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(errors.values()))
        self.errors = errors


def read_new_run(form: Mapping[str, Any]) -> RunIn:
    """The request the fields make; empty fields keep the recipe's value. Raises BadForm or Invalid."""
    overrides = parse_overrides(str(form.get("more", "")))
    for common in COMMON_FIELDS:
        typed = str(form.get(PREFIX + common.key, "")).strip()
        if typed:
            overrides[common.key] = parse_value(typed)
    values = {
        "snapshot_id": form.get("snapshot_id") or None,
        "recipe": form.get("recipe", ""),
        "name": str(form.get("name", "")).strip() or None,
        "parent_generator_id": form.get("parent_generator_id") or None,
        "overrides": overrides,
    }
    request, errors = read_form(RunIn, values)
    if request is None:
        if values["snapshot_id"] is None:
            errors["snapshot_id"] = "Choose the snapshot to train on."
        raise BadForm(errors)
    return request


@dataclass(frozen=True, slots=True)
class Setting:
    """One of the settings people change: its field, what the recipe sets, what was typed."""

    name: str
    label: str
    hint: str
    default: str
    value: str


@dataclass(frozen=True)
class NewRun:
    """All that the page of a new run shows."""

    snapshots: list[Snapshot]
    generators: list[Generator]
    recipe: Recipe
    values: dict[str, str]
    settings: list[Setting] = field(default_factory=list)

    @classmethod
    def blank(cls, session: Session, project: Project, typed: Mapping[str, Any]) -> Self:
        """The form with what was typed; what was not is filled with the most likely choice."""
        snapshots = repository.ready_snapshots(session, project.id)
        generators = repository.tunable_generators(session, project.id)
        values = {key: "" if value is None else str(value) for key, value in typed.items() if isinstance(key, str)}
        values["snapshot_id"] = values.get("snapshot_id") or (str(snapshots[0].id) if snapshots else "")
        parent = values.get("parent_generator_id") or (str(generators[0].id) if generators else "")
        values["parent_generator_id"] = parent
        recipe = RECIPES.get(values.get("recipe", "")) or _fitting(generators, parent)
        config = recipe.make()
        settings = [
            Setting(
                name=PREFIX + common.key,
                label=common.label,
                hint=common.hint,
                default=number_words(value_at(config, common.key)),
                value=values.get(PREFIX + common.key, ""),
            )
            for common in COMMON_FIELDS
        ]
        return cls(snapshots, generators, recipe, values, settings)

    @property
    def recipes(self) -> list[tuple[Recipe, str]]:
        """The recipes made for the base of the chosen generator, or all where none is, and the one chosen."""
        found = _made_for(self.generators, self.values["parent_generator_id"]) or list(RECIPES.values())
        chosen = [] if self.recipe in found else [self.recipe]
        return [(recipe, description(recipe)) for recipe in [*found, *chosen]]

    @property
    def other_recipes(self) -> list[tuple[Recipe, str]]:
        shown = {recipe.name for recipe, _ in self.recipes}
        return [(recipe, description(recipe)) for recipe in RECIPES.values() if recipe.name not in shown]

    @property
    def snapshot(self) -> Snapshot | None:
        return next((row for row in self.snapshots if str(row.id) == self.values["snapshot_id"]), None)

    @property
    def passes(self) -> str:
        """How often the recipe goes over the snapshot's pairs, in words."""
        pairs = self.snapshot.counts.get("train_pairs") if self.snapshot else None
        if not pairs:
            return ""
        training = self.recipe.make().training
        times = training.steps * training.pairs_per_step / pairs
        return (
            f"{training.steps:,} steps of {training.pairs_per_step} pairs: {number_words(times)} passes over {pairs:,} "
            "training pairs."
        )

    def errors_of(self, error: AppError | BadForm) -> dict[str, str]:
        """The sentences of an error beside their fields; what has no field of its own stands beside "more"."""
        if isinstance(error, BadForm):
            found = error.errors
        elif isinstance(error, Invalid) or error.errors:
            found = field_errors(error)  # type: ignore[arg-type]  # any AppError names its fields the same way
        else:
            return {"": error.detail}
        known = {"snapshot_id", "recipe", "name", "parent_generator_id", "more", "", *(s.name for s in self.settings)}
        placed: dict[str, str] = {}
        for name, sentence in found.items():
            place = name if name in known else "more"
            placed[place] = f"{placed[place]} {sentence}" if place in placed else sentence
        return placed


def values_of(run: Run) -> dict[str, Any]:
    """The fields that make this run again: its overrides in their own fields where they have one, else as lines."""
    values: dict[str, Any] = {
        "snapshot_id": run.snapshot_id,
        "recipe": run.recipe,
        "parent_generator_id": run.parent_generator_id,
    }
    recipe = RECIPES.get(run.recipe)
    if recipe is None:
        return values
    theirs = dict(_leaves(recipe.make().model_dump(mode="json")))
    common = {item.key for item in COMMON_FIELDS}
    more = []
    for key, value in _leaves(run.config):
        if key in RESERVED or theirs.get(key) == value:
            continue
        if key in common:
            values[PREFIX + key] = json.dumps(value)
        else:
            more.append(f"{key} = {json.dumps(value)}")
    return values | {"more": "\n".join(more)}


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield path + key, value


def _fitting(generators: list[Generator], chosen: str) -> Recipe:
    """The first recipe made for the chosen generator's base, else the first of all."""
    return (_made_for(generators, chosen) or list(RECIPES.values()))[0]


def _made_for(generators: list[Generator], chosen: str) -> list[Recipe]:
    base = next((row.base for row in generators if str(row.id) == chosen), None)
    return [recipe for recipe in RECIPES.values() if recipe.make().model.base == base]
