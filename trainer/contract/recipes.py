"""Recipes: named, typed starting points. Each is a function that returns a RunConfig; change values with overrides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trainer.contract.config import (
    CheckpointsConfig,
    LoraConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    SamplesConfig,
    TrainingConfig,
    ValidationConfig,
    apply_overrides,
    did_you_mean,
)
from trainer.contract.errors import ConfigError
from trainer.contract.fits import FITS
from trainer.contract.objective import CapoConfig, MaskDpoConfig, ObjectiveConfig, ReplayConfig, ScpoConfig


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named starting point: `title` is one line for lists, `needs` the machine it is made for.

    `size` is the side in pixels of the images it is made for; the snapshot decides what is really trained on. `fits`
    are the values the planner chose for cards of so many GB (see `trainer.contract.fits`), None where it cannot fit.
    """

    name: str
    title: str
    needs: str
    size: int
    make: Callable[[], RunConfig]

    @property
    def fits(self) -> dict[int, dict[str, int | bool] | None]:
        return FITS.get(self.name, {})


def _objective(beta: float, winners: int | None = None) -> ObjectiveConfig:
    """All three terms as the study chose their weights and windows, with so many winners replayed a step.

    The study's beta is 30: what stands beside the preference keeps its ratio to beta, so that the gradients of another
    beta start in the same proportions.
    """
    scale = beta / 30
    return ObjectiveConfig(
        beta=beta,
        t_min=0.8,
        mask_dpo=MaskDpoConfig(foreground_weight=round(scale)),
        capo=CapoConfig(weight=0.25, share=0.5),
        scpo=ScpoConfig(weight=0.02, share=0.5),
        replay=ReplayConfig(weight=round(20 * scale), per_step=winners, t_min=0.7, boundary="exclude"),
    )


def spatialworld_demo() -> RunConfig:
    """MaskDPO + CAPO + SCPO with winner replay on the shipped SpatialWorld model, as the study chose their settings."""
    return RunConfig(
        recipe="spatialworld_demo",
        model=ModelConfig(base="spatialworld"),
        lora=LoraConfig(rank=32, targets="all"),
        objective=_objective(30.0, winners=16),
        optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=10, schedule="cosine"),
        training=TrainingConfig(steps=150, pairs_per_step=8, log_every=5, threads=2),
        validation=ValidationConfig(every=50, pairs=64),
        samples=SamplesConfig(every=50, conditions=8, steps=20),
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


def _tuned(name: str, base: str, size: int, *, guidance: float, rate: float = 1e-5) -> RunConfig:
    """The study's objective at the customary beta on a public base, LoRA on attention and MLP: nothing tuned on it."""
    return RunConfig(
        recipe=name,
        model=ModelConfig(base=base, dtype="bfloat16"),
        lora=LoraConfig(rank=32, targets="attention_mlp"),
        objective=_objective(2000.0),
        optimizer=OptimizerConfig(learning_rate=rate, warmup_steps=50),
        training=TrainingConfig(steps=2000, pairs_per_step=4, micro_batch=1, encode_batch=8 if size <= 512 else 2),
        validation=ValidationConfig(every=200, pairs=32),
        samples=SamplesConfig(every=200, conditions=4, steps=28, guidance=guidance),
        checkpoints=CheckpointsConfig(every=200, keep=3),
    )


def flux_fill(size: int = 1024) -> RunConfig:
    """FLUX.1 Fill: guidance-distilled, trained at guidance 1 and sampled at 30."""
    return _tuned("flux_fill", "black-forest-labs/FLUX.1-Fill-dev", size, guidance=30.0)


def flux_controlnet(size: int = 1024) -> RunConfig:
    """FLUX.1-dev with alimama's inpainting ControlNet; the transformer is tuned, the ControlNet stays."""
    base = "black-forest-labs/FLUX.1-dev+alimama-creative/FLUX.1-dev-Controlnet-Inpainting-Beta"
    return _tuned("flux_controlnet", base, size, guidance=3.5)


def sd_inpaint(size: int = 512) -> RunConfig:
    """Stable Diffusion 1.5 inpainting, made for 512 pixels."""
    return _tuned("sd_inpaint", "stable-diffusion-v1-5/stable-diffusion-inpainting", size, guidance=7.5, rate=5e-5)


def sdxl_inpaint(size: int = 1024) -> RunConfig:
    """Stable Diffusion XL inpainting."""
    return _tuned("sdxl_inpaint", "diffusers/stable-diffusion-xl-1.0-inpainting-0.1", size, guidance=7.5, rate=2e-5)


def sd3_controlnet(size: int = 1024) -> RunConfig:
    """Stable Diffusion 3 medium with alimama's inpainting ControlNet."""
    base = "stabilityai/stable-diffusion-3-medium-diffusers+alimama-creative/SD3-Controlnet-Inpainting"
    return _tuned("sd3_controlnet", base, size, guidance=7.0)


def qwen_image_edit(size: int = 1024) -> RunConfig:
    """Qwen-Image-Edit, twenty billion parameters: the mask enters the loss alone."""
    return _tuned("qwen_image_edit", "Qwen/Qwen-Image-Edit", size, guidance=4.0)


FAMILIES: dict[str, tuple[str, Callable[[int], RunConfig], int]] = {
    "flux_fill": ("FLUX.1 Fill", flux_fill, 1024),
    "flux_controlnet": ("FLUX.1 with an inpainting ControlNet", flux_controlnet, 1024),
    "sd_inpaint": ("Stable Diffusion inpainting", sd_inpaint, 512),
    "sdxl_inpaint": ("Stable Diffusion XL inpainting", sdxl_inpaint, 1024),
    "sd3_controlnet": ("Stable Diffusion 3 with an inpainting ControlNet", sd3_controlnet, 1024),
    "qwen_image_edit": ("Qwen-Image-Edit", qwen_image_edit, 1024),
}
"""Title, recipe and own size of each family; the family's bare name is the recipe at that size."""


def debug(family: str) -> RunConfig:
    """A family's own recipe on its tiny random-weight variant, for a few steps at a rate that moves its figures.

    It proves the path; weights that know nothing learn nothing of use.
    """
    _, make, size = FAMILIES[family]
    config = make(size)
    return config.model_copy(
        update={
            "recipe": f"{family}_debug",
            "model": ModelConfig(base=f"{family}_debug"),
            "lora": LoraConfig(rank=4, targets="attention_mlp"),
            "optimizer": OptimizerConfig(learning_rate=2e-2),
            "training": TrainingConfig(steps=4, pairs_per_step=2, micro_batch=1, log_every=1, threads=1),
            "validation": ValidationConfig(every=2, pairs=2),
            "samples": SamplesConfig(every=2, conditions=2, steps=2, guidance=config.samples.guidance),
            "checkpoints": CheckpointsConfig(every=2, keep=2),
        }
    )


def _of_family(family: str) -> list[Recipe]:
    title, make, own = FAMILIES[family]

    def at(name: str, size: int) -> Recipe:
        needs = needs_of(FITS.get(name, {}))
        return Recipe(
            name, f"{title}, LoRA, full objective, {size} px", needs, size,
            lambda: make(size).model_copy(update={"recipe": name}),
        )  # fmt: skip

    other = 512 if own == 1024 else 1024
    tiny = Recipe(f"{family}_debug", f"{title} with a tiny model", "1 CPU core, seconds", 64, lambda: debug(family))
    return [at(family, own), at(f"{family}_{other}", other), tiny]


def needs_of(fits: dict[int, dict[str, int | bool] | None]) -> str:
    """The smallest of the cards that the planner found to fit, where it was asked."""
    if not fits:
        return "a GPU; ask `plan --cards` which"
    fitting = [card for card, values in fits.items() if values is not None]
    return f"a GPU of {min(fitting)} GB or more" if fitting else "several GPUs, or one of more than 140 GB"


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("spatialworld_demo", "Demo: raise SpatialWorld's rationality", "2 CPU cores, a few minutes", 64,
               spatialworld_demo),
        Recipe("spatialworld_smoke", "Smoke test: a few steps of the demo", "1 CPU core, seconds", 64,
               spatialworld_smoke),
        *(recipe for family in FAMILIES for recipe in _of_family(family)),
    )
}  # fmt: skip


def recipe_config(name: str, card: int | None = None) -> RunConfig:
    """The config of a recipe by its name, as the planner fitted it to a card of `card` GB where one is given.

    Raises ConfigError listing the known names or cards, or saying that the recipe does not fit.
    """
    if name not in RECIPES:
        mean = did_you_mean(name, RECIPES)
        raise ConfigError("recipe_unknown", f"There is no recipe {name!r}{mean}; known: {', '.join(RECIPES)}.")
    recipe = RECIPES[name]
    if card is None:
        return recipe.make()
    if card not in recipe.fits:
        known = ", ".join(str(each) for each in recipe.fits) or "none"
        raise ConfigError("card_unknown", f"Recipe {name} was fitted to no card of {card} GB; known: {known}.")
    values = recipe.fits[card]
    if values is None:
        raise ConfigError("does_not_fit", f"Recipe {name} does not fit a card of {card} GB; it needs {recipe.needs}.")
    return apply_overrides(recipe.make(), {f"training.{key}": value for key, value in values.items()})
