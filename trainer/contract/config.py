"""The typed config of a run: one tree, unknown keys refused, hashed, overridable by `key.path=value`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from trainer.contract.errors import ConfigError
from trainer.contract.files import sha256_bytes
from trainer.contract.objective import ObjectiveConfig
from trainer.contract.section import Section


class ModelConfig(Section):
    """Which pipeline is tuned."""

    base: str = "spatialworld"
    """`spatialworld` (the model shipped with this package), a local folder in diffusers format, or a hub id."""
    revision: str | None = None
    """Commit or branch of a hub id."""
    adapter: str | None = None
    """A LoRA folder or file to continue from; it stays the frozen reference, the new adapter is trained beside it."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute type: auto takes bfloat16 where the hardware multiplies it fast. LoRA weights, noise and errors are
    float32 in any case."""


class LoraConfig(Section):
    """The low-rank adapter that is trained. Dropout is always 0: policy and reference must differ by weights alone."""

    rank: int = Field(32, ge=1, le=1024)
    alpha: float | None = Field(None, gt=0)
    """Scale of the adapter is alpha/rank; None means alpha = rank."""
    targets: Literal["all", "attention", "attention_mlp"] = "all"
    """Linear layers that get an adapter: every one of the transformer, attention only, or attention and MLP."""


class ReferenceConfig(Section):
    """Where the errors of the frozen reference come from."""

    source: Literal["model", "cache"] = "model"
    """`model`: a forward beside the policy's (the same weights with the adapter off, or a frozen copy under full
    fine-tuning). `cache`: error maps computed once, before the first step, for a few fixed draws of noise and timestep
    a pair; no step then needs the reference."""
    draws: int = Field(4, ge=1)
    """Fixed draws of (noise, t) for each pair, with source cache. Fewer cost less to compute and vary less."""


class OptimizerConfig(Section):
    """AdamW with warm-up and a schedule."""

    learning_rate: float = Field(1e-5, gt=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    epsilon: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    """Largest norm of the whole gradient."""
    warmup_steps: int = Field(0, ge=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """After the warm-up: constant, or down to 0 at the last step."""


class TrainingConfig(Section):
    """How long and how much at once."""

    method: Literal["lora", "full"] = "lora"
    """What is trained: a low-rank adapter, or every weight of the denoiser (the reference is then a frozen copy, or a
    cache). Under full fine-tuning `lora` is not looked at, and the run ends with a model instead of an adapter."""
    steps: int = Field(1000, ge=1)
    pairs_per_step: int = Field(8, ge=1)
    micro_batch: int | None = Field(None, ge=1)
    """Pairs a forward; smaller ones accumulate gradients over a step. None takes all pairs of a step at once."""
    checkpointing: bool = False
    """Keep only the blocks' inputs for the backward and compute the rest again: a third more time, far less memory."""
    encode_batch: int = Field(16, ge=1)
    """Images that are encoded at once before the first step."""
    seed: int = Field(0, ge=0, lt=2**63)
    log_every: int = Field(10, ge=1)
    threads: int | None = Field(None, ge=1)
    """CPU threads of torch; None leaves torch's choice. Bit-exact resume needs the same number."""
    compile: bool = False
    """Compile the model's repeated blocks: faster steps for a slower first one. Needs a C++ compiler on a CPU and
    Triton on a GPU."""
    attention: Literal["default", "probe", "flash", "cudnn", "efficient", "math"] = "default"
    """Attention kernels: torch's own choice; the fastest, by timing all that can run the model before the first step
    (a resumed run keeps what was chosen); or the one named."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay of an exponential moving average of the trained weights. Validation, samples and the published result are
    then the average's; None keeps none."""


class ValidationConfig(Section):
    """Margin and D_w, D_l on held-out pairs at fixed noise."""

    every: int = Field(100, ge=0)
    """Steps between validations; 0 turns them off."""
    pairs: int = Field(64, ge=1)
    patience: int | None = Field(None, ge=1)
    """Stop after this many validations in a row without a gain, and publish the weights of the best one; None trains
    all steps and publishes the last weights."""
    watch: Literal["margin", "accuracy", "loss_preference"] = "margin"
    """The held-out figure that `patience` watches."""
    min_gain: float = Field(0.0, ge=0)
    """By how much a validation must beat the best one to count as a gain."""

    @model_validator(mode="after")
    def _watched(self) -> Self:
        if self.patience and not self.every:
            raise ValueError("patience needs validations to watch: set every above 0")
        return self


class SamplesConfig(Section):
    """Images of held-out conditions at fixed seeds, drawn during training."""

    every: int = Field(100, ge=0)
    """Steps between sample grids; 0 turns them off."""
    conditions: int = Field(8, ge=1)
    steps: int = Field(20, ge=1, le=1000)
    guidance: float = Field(1.0, ge=0)
    seed: int = Field(0, ge=0, lt=2**62)
    """Of the first image; further ones count on from it."""


class CheckpointsConfig(Section):
    """When the state of training is published."""

    every: int = Field(100, ge=1)
    keep: int = Field(2, ge=1)
    """How many checkpoints stay; older ones are removed after a new one is safe."""


class TelemetryConfig(Section):
    """Where figures go beside the event stream and TensorBoard. Both need the extra `tracking`."""

    mlflow: str | None = None
    """URI of an MLflow tracking server, or `file:` and a folder; None turns it off."""
    wandb: Literal["off", "offline", "online"] = "off"
    """Weights & Biases: offline writes under the run folder, to be synchronised later."""
    project: str = Field("inpaintdpo", min_length=1)
    """MLflow's experiment, the project at Weights & Biases."""

    @field_validator("wandb", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return "off" if value is False else value  # YAML reads a bare `off` as false


class RunConfig(Section):
    """Everything that decides a run, beside the snapshot."""

    recipe: str | None = None
    """The recipe it came from, for the record."""
    model: ModelConfig = ModelConfig()
    lora: LoraConfig = LoraConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    reference: ReferenceConfig = ReferenceConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()
    validation: ValidationConfig = ValidationConfig()
    samples: SamplesConfig = SamplesConfig()
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    telemetry: TelemetryConfig = TelemetryConfig()

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.training.method == "full" and self.model.adapter:
            raise ValueError(
                "training.method full trains the base's own weights, model.adapter would be left out: fuse the adapter "
                "into the base first, or train with method lora"
            )
        if self.reference.source == "cache" and not self.objective.prefers and not self.validation.every:
            raise ValueError(
                f"objective.preference {self.objective.preference} needs no reference: set reference.source to model"
            )
        return self

    def config_hash(self) -> str:
        """SHA-256 of the canonical JSON of the tree; equal configs have equal hashes."""
        body = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return sha256_bytes(body.encode())


def parse_config(values: Mapping[str, Any], source: str = "the config") -> RunConfig:
    """Build a RunConfig from plain values. Raises ConfigError with one sentence that names the key."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError("config_invalid", _sentence(error, source)) from error


def _sentence(error: ValidationError, source: str) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        section = _section(first["loc"][:-1])
        known = sorted(section.model_fields) if section else ["none"]
        return f"{source} has an unknown key {key}{did_you_mean(key, known)}; known there: {', '.join(known)}."
    message = first["msg"].removeprefix("Value error, ")
    where = f"{key}: " if key else ""
    return f"{source} cannot be used: {where}{message}, got {_short(first.get('input'))}."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known name closest to a mistyped one as a question in brackets, under the mistyped one's section; or ''."""
    above, dot, last = name.rpartition(".")
    close = difflib.get_close_matches(last, known, n=1)
    return f" (did you mean {above}{dot}{close[0]}?)" if close else ""


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, BaseModel | dict) else "these values together"
    return text if len(text) <= 80 else text[:77] + "..."


def _section(location: Iterable[Any]) -> type[BaseModel] | None:
    section: type[BaseModel] = RunConfig
    for part in location:
        found = section.model_fields.get(str(part))
        if found is None or not (isinstance(found.annotation, type) and issubclass(found.annotation, BaseModel)):
            return None
        section = found.annotation
    return section


def load_config(path: Path | str) -> RunConfig:
    """Read a config from a JSON or YAML file. Raises ConfigError."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("config_unreadable", f"{path} cannot be read: {error}.") from error
    import yaml

    try:
        values = yaml.safe_load(text) if path.suffix in (".yaml", ".yml") else json.loads(text)
    except (ValueError, yaml.YAMLError) as error:
        words = " ".join(str(error).split())
        raise ConfigError("config_unreadable", f"{path} is not valid {path.suffix[1:] or 'JSON'}: {words}.") from error
    if not isinstance(values, dict):
        raise ConfigError("config_invalid", f"{path} holds no mapping of keys to values.")
    return parse_config(values, str(path))


def apply_overrides(config: RunConfig, overrides: Iterable[str] | Mapping[str, Any]) -> RunConfig:
    """A new config with values replaced.

    `overrides` is a list of `section.key=value` (value as JSON, else taken as text), or a mapping of dotted keys or
    nested sections to values. Raises ConfigError naming the key.
    """
    values = config.model_dump(mode="json")
    for key, value in _pairs(overrides):
        _put(values, key, value)
    return parse_config(values, "the config with overrides")


def _pairs(overrides: Iterable[str] | Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    if isinstance(overrides, Mapping):
        yield from overrides.items()
        return
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise ConfigError("override_invalid", f"The override {item!r} is not of the form section.key=value.")
        try:
            yield key.strip(), json.loads(text)
        except ValueError:
            yield key.strip(), text


def _put(values: dict[str, Any], key: str, value: Any, above: str = "") -> None:
    """Set `key`, dotted, in `values`, which are those of the section that the prefix `above` names."""
    section, dot, inner = key.partition(".")
    name, known = above + section, sorted(values)
    if section not in values or (dot and not isinstance(values[section], dict)):
        what = f"section {section}" if dot else "known key"
        raise ConfigError(
            "override_unknown",
            f"The override {above}{key} names no {what}{did_you_mean(name, known)}; known there: {', '.join(known)}.",
        )
    if dot:
        _put(values[section], inner, value, f"{name}.")
    elif isinstance(value, Mapping) and isinstance(values[section], dict):
        for inner_key, inner_value in value.items():
            _put(values[section], inner_key, inner_value, f"{name}.")
    else:
        values[section] = value
