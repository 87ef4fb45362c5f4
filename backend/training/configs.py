"""From a recipe, overrides and a parent generator to a run's config; what is refused is refused in words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.catalogue.models import Generator
from backend.kit.errors import Invalid
from trainer.contract.checkpoint import LORA_FILE
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ConfigError
from trainer.contract.recipes import RECIPES, Recipe

# Where a run finds the adapter it continues from, relative to the folder its trainer starts in: the same for all runs
# of one parent, so that equal trainings have equal hashes.
PARENT_ADAPTER = "parent/{digest}/" + LORA_FILE

# Decided by the parent generator and by the recipe's own name.
ONLY_ADAPTERS = (
    "A generator of this service is a base with adapters, and training.method full tunes the base's own weights. Leave "
    "training.method at lora, or train on the downloaded snapshot with `python -m trainer train`."
)
RESERVED = ("model.base", "model.revision", "model.adapter", "recipe")


@dataclass(frozen=True, slots=True)
class Field:
    """A setting people change often, as the page asks for it."""

    key: str
    label: str
    hint: str


COMMON_FIELDS = (
    Field("training.steps", "Steps", "Optimizer steps in all."),
    Field("training.pairs_per_step", "Pairs a step", "Preference pairs averaged in one step."),
    Field("training.seed", "Seed", "Decides noise, order and the adapter's start."),
    Field("optimizer.learning_rate", "Learning rate", "Of the adapter, after the warm-up."),
    Field("objective.beta", "β", "Strength of the preference, for errors averaged over their region."),
    Field("objective.t_min", "Preference from t", "1 is pure noise; layout is decided near it."),
    Field("objective.mask_dpo.foreground_weight", "λ foreground", "Inpainting loss on the subject."),
    Field("objective.capo.weight", "λ CAPO", "Preference between differently cropped images."),
    Field("objective.scpo.weight", "λ SCPO", "Narrows the reward gap among winners."),
    Field("objective.replay.weight", "λ replay", "Inpainting loss on winners at every t."),
)


def known_recipe(name: str) -> Recipe:
    """The recipe of this name. Raises Invalid naming those that exist."""
    try:
        return RECIPES[name]
    except KeyError:
        message = f"There is no recipe “{name}”. There are: {', '.join(RECIPES)}."
        raise Invalid(message, errors=[{"field": "recipe", "message": message}], recipes=list(RECIPES)) from None


def description(recipe: Recipe) -> str:
    return " ".join((recipe.make.__doc__ or recipe.title).split())


def value_at(config: RunConfig, key: str) -> Any:
    """The value of a dotted key, as the recipe sets it."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def build_config(recipe: str, overrides: Mapping[str, Any], parent: Generator) -> RunConfig:
    """The whole config of a run that tunes `parent`. Raises Invalid naming each override that cannot be used."""
    base = known_recipe(recipe).make()
    errors = [_reserved(key) for key in overrides if key in RESERVED]
    if not errors:
        errors = [error for key, value in overrides.items() if (error := _unusable(base, key, value))]
    if not errors:
        model = {"model.base": parent.base, "model.adapter": adapter_path(parent), "model.revision": None}
        if base.model.base == parent.base:
            del model["model.revision"]
        try:
            config = apply_overrides(base, {**overrides, **model})
        except ConfigError as error:
            errors = [{"field": "overrides", "message": error.message}]
        else:
            if config.training.method == "lora":
                return config
            errors = [{"field": "overrides.training.method", "message": ONLY_ADAPTERS}]
    raise Invalid(" ".join(error["message"] for error in errors), errors=errors)


def adapter_path(parent: Generator) -> str | None:
    return PARENT_ADAPTER.format(digest=parent.adapter_digest) if parent.adapter_digest else None


def _reserved(key: str) -> dict[str, str]:
    message = f"{key} cannot be overridden: it follows the recipe and the generator that is tuned. Leave it away."
    return {"field": f"overrides.{key}", "message": message}


def _unusable(base: RunConfig, key: str, value: Any) -> dict[str, str] | None:
    """What is wrong with one override taken alone; rules between several values are left to the whole config."""
    try:
        apply_overrides(base, {key: value})
    except ConfigError as error:
        if error.code == "override_unknown" or f"{key}: " in error.message:
            return {"field": f"overrides.{key}", "message": error.message}
    return None


def parse_overrides(lines: str) -> dict[str, Any]:
    """Overrides typed one a line as `section.key = value`. Raises Invalid naming the line."""
    overrides: dict[str, Any] = {}
    for number, line in enumerate(lines.splitlines(), start=1):
        if not line.strip():
            continue
        key, equals, text = line.partition("=")
        if not equals or not key.strip():
            message = f"Line {number} is not of the form section.key = value: {line.strip()}"
            raise Invalid(message, errors=[{"field": "more", "message": message}])
        overrides[key.strip()] = parse_value(text.strip())
    return overrides


def parse_value(text: str) -> Any:
    """A typed value: JSON where it is JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
