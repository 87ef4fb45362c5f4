"""Recipes: named, typed starting points. Each is a function that returns a RunConfig; change values with overrides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trainer.contract.config import (
    CapoConfig,
    CheckpointsConfig,
    LoraConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    ReplayConfig,
    RunConfig,
    SamplesConfig,
    ScpoConfig,
    TrainingConfig,
    ValidationConfig,
)
from trainer.contract.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named starting point: `title` is one line for lists, `needs` the machine it is made for."""

    name: str
    title: str
    needs: str
    make: Callable[[], RunConfig]


def spatialworld_demo() -> RunConfig:
    """MaskDPO + CAPO + SCPO with winner replay on the shipped SpatialWorld model; two CPU cores, under ten minutes."""
    return RunConfig(
        recipe="spatialworld_demo",
        model=ModelConfig(base="spatialworld"),
        lora=LoraConfig(rank=32, targets="all"),
        objective=ObjectiveConfig(
            beta=100.0,
            t_min=0.8,
            capo=CapoConfig(weight=0.25, share=0.25),
            scpo=ScpoConfig(weight=0.1, share=0.25),
            # Winners cost a third of pairs and carry most of the gain here: six of them for each pair.
            replay=ReplayConfig(weight=20.0, per_step=48),
        ),
        optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=20, schedule="cosine"),
        training=TrainingConfig(steps=600, pairs_per_step=8, log_every=5, threads=2),
        validation=ValidationConfig(every=100, pairs=64),
        samples=SamplesConfig(every=100, conditions=8, steps=20),
        checkpoints=CheckpointsConfig(every=50, keep=2),
    )


def spatialworld_smoke() -> RunConfig:
    """The demo's objective for a few steps: proves in seconds that everything fits together; teaches nothing."""
    demo = spatialworld_demo()
    return demo.model_copy(
        update={
            "recipe": "spatialworld_smoke",
            "lora": LoraConfig(rank=4, targets="all"),
            "objective": demo.objective.model_copy(update={"replay": ReplayConfig(weight=20.0)}),
            "training": TrainingConfig(steps=6, pairs_per_step=2, log_every=1, threads=1),
            "validation": ValidationConfig(every=3, pairs=2),
            "samples": SamplesConfig(every=3, conditions=2, steps=2),
            "checkpoints": CheckpointsConfig(every=2, keep=2),
        }
    )


def flux_fill() -> RunConfig:
    """FLUX.1 Fill, LoRA on attention and MLP, the method's untuned starting values; needs a GPU of 48 GB or more."""
    return RunConfig(
        recipe="flux_fill",
        model=ModelConfig(base="black-forest-labs/FLUX.1-Fill-dev", dtype="bfloat16"),
        lora=LoraConfig(rank=32, targets="attention_mlp"),
        objective=ObjectiveConfig(beta=2000.0, replay=ReplayConfig(weight=1.0)),
        optimizer=OptimizerConfig(learning_rate=1e-5, warmup_steps=50),
        training=TrainingConfig(steps=2000, pairs_per_step=4, micro_batch=1),
        validation=ValidationConfig(every=200, pairs=32),
        samples=SamplesConfig(every=200, conditions=4, steps=28, guidance=30.0),
        checkpoints=CheckpointsConfig(every=200, keep=3),
    )


def flux_fill_debug() -> RunConfig:
    """The settings of flux_fill on a tiny pipeline in a local folder (set model.base); for tests of that path."""
    return flux_fill().model_copy(
        update={
            "recipe": "flux_fill_debug",
            "model": ModelConfig(base="spatialworld"),
            "lora": LoraConfig(rank=4, targets="attention_mlp"),
            "training": TrainingConfig(steps=4, pairs_per_step=2, micro_batch=1, log_every=1, threads=1),
            "validation": ValidationConfig(every=2, pairs=2),
            "samples": SamplesConfig(every=2, conditions=2, steps=2, guidance=30.0),
            "checkpoints": CheckpointsConfig(every=2, keep=2),
        }
    )


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("spatialworld_demo", "Demo: raise SpatialWorld's rationality", "2 CPU cores, under 10 minutes",
               spatialworld_demo),
        Recipe("spatialworld_smoke", "Smoke test: a few steps of the demo", "1 CPU core, seconds", spatialworld_smoke),
        Recipe("flux_fill", "FLUX.1 Fill, LoRA, full objective", "a GPU of 48 GB or more", flux_fill),
        Recipe("flux_fill_debug", "The settings of flux_fill on a tiny model", "1 CPU core, seconds",
               flux_fill_debug),
    )
}  # fmt: skip


def recipe_config(name: str) -> RunConfig:
    """The config of a recipe by its name. Raises ConfigError listing the known names."""
    if name not in RECIPES:
        raise ConfigError("recipe_unknown", f"There is no recipe {name!r}; known: {', '.join(RECIPES)}.")
    return RECIPES[name].make()
