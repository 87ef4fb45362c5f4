"""What all families share: a diffusers pipeline frozen but for one LoRA, its autoencoder, its export."""

from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from trainer.backbones.layers import select_layers
from trainer.backbones.products import multiply_fast
from trainer.backbones.protocol import EncoderKind, Source
from trainer.contract.checkpoint import lora_file
from trainer.contract.errors import ModelError

if TYPE_CHECKING:
    from trainer.backbones.families import Base
    from trainer.backbones.protocol import Tensors

POLICY = "policy"
FROZEN = "frozen"


class PipelineBackbone:
    """A pipeline behind the protocol; see `trainer.backbones.protocol.Backbone` for the methods' shapes.

    A family adds `encode_text`, `encode_condition`, `predict`, `sample`, and takes `noisy` and `target` from
    `trainer.backbones.flow` or `trainer.backbones.diffusion`.
    """

    family: ClassVar[str]
    pipeline_class: ClassVar[type[DiffusionPipeline]]
    denoiser_name: ClassVar[str] = "transformer"
    encoder_names: ClassVar[tuple[str, ...]] = ("text_encoder",)
    patch: ClassVar[int] = 1
    """Latent cells along the side of a token: an image's sides must be a multiple of that many cells."""
    fill: ClassVar[float] = 0.0
    text_sees_image: ClassVar[bool] = False
    leads_from_nothing: ClassVar[bool] = False

    def __init__(self, pipeline: Any, device: torch.device | str = "cpu", compute: torch.dtype = torch.float32) -> None:
        self.pipeline = pipeline
        self.device = torch.device(device)
        self.autocasts = self.device.type == "cpu" and compute == torch.bfloat16
        self.vae_config: Any = pipeline.vae.config
        if is_hollow(pipeline.vae):
            pipeline.vae = None
        for name, part in pipeline.components.items():
            if isinstance(part, nn.Module):
                self.settle(name, part)
        self.denoiser: Any = getattr(pipeline, self.denoiser_name)
        self.vae: Any = pipeline.vae
        self.source: Source | None = None
        self.no_text: Tensors | None = None
        self.scale = int(pipeline.vae_scale_factor)
        self.pixel_multiple = self.scale * self.patch
        self._continued = False
        self._full = False
        self._copy: Any = None

    @classmethod
    def open(cls, base: Base, *, revision: str | None, dtype: torch.dtype, **parts: Any) -> DiffusionPipeline:
        """The base's pipeline; a family with a ControlNet loads that beside it.

        `parts` are taken as they are given instead of being loaded; None leaves one out.
        """
        return cls.pipeline_class.from_pretrained(base.path, revision=revision, dtype=dtype, **parts)

    @classmethod
    def without_encoders(cls, base: Base, revision: str | None) -> dict[str, Any]:
        """What `open` takes to leave the text encoders out, and the autoencoder but for its config."""
        index = cls.pipeline_class.load_config(base.path, revision=revision)
        kind = getattr(importlib.import_module(index["vae"][0]), index["vae"][1])
        with torch.device("meta"):
            vae = kind.from_config(kind.load_config(base.path, subfolder="vae", revision=revision))
        return {"vae": vae, **dict.fromkeys(cls.encoder_names)}

    def settle(self, name: str, part: nn.Module) -> None:
        """Bring a loaded part to the device, frozen."""
        multiply_fast(part.to(self.device).eval().requires_grad_(False))

    def autocast(self) -> AbstractContextManager[Any]:
        """bfloat16 products on float32 weights: on a CPU, and where all weights are trained; nothing elsewhere."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocasts)

    # --- encoding -------------------------------------------------------------------------------------------------

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        return int(self.vae_config.latent_channels), height // self.scale, width // self.scale

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> Tensor:
        config = self.vae.config
        mode = self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist.mode()
        return (mode.float() - (config.shift_factor or 0.0)) * config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        config = self.vae.config
        unscaled = latents.to(self.device) / config.scaling_factor + (config.shift_factor or 0.0)
        return self.vae.decode(unscaled.to(self.vae.dtype), return_dict=False)[0].float()

    def reader(self) -> tuple[Any, int]:
        """The tokenizer of the encoder that reads furthest, and how many tokens the model takes of it."""
        return self.pipeline.tokenizer, int(self.pipeline.tokenizer.model_max_length)

    def cut(self, prompts: Sequence[str]) -> int:
        tokenizer, longest = self.reader()
        return sum(len(tokenizer(prompt, truncation=False, verbose=False).input_ids) > longest for prompt in prompts)

    def encode_nothing(self) -> Tensors:
        return {}

    def unconditional(self) -> Tensors:
        """`encode_nothing`, kept, since the text encoders may be gone when it is needed."""
        if self.no_text is None:
            self.no_text = self.encode_nothing()
        return {name: value.to(self.device) for name, value in self.no_text.items()}

    def encoder_parts(self, kind: EncoderKind) -> tuple[str, ...]:
        return self.encoder_names if kind == "text" else ("vae",)

    def encoders(self, kind: EncoderKind) -> list[nn.Module]:
        parts = (getattr(self.pipeline, name) for name in self.encoder_parts(kind))
        return [part for part in parts if part is not None]

    def load_encoders(self, kind: EncoderKind, why: str) -> None:
        source, parts = self.source, self.encoder_parts(kind)
        if self.encoders(kind) or source is None:
            return
        held = {name: part for name, part in self.pipeline.components.items() if name not in parts}
        try:
            found = self.open(source.base, revision=source.revision, dtype=source.dtype, **held)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            what = "text encoders" if kind == "text" else "autoencoder"
            raise ModelError(
                "encoder_unloadable",
                f"{why}, but the {what} of {source.base.path} cannot be loaded: {first_line(error)}",
            ) from error
        for name in parts:
            if (part := getattr(found, name)) is not None:
                self.settle(name, part)
                setattr(self.pipeline, name, part)
        self.vae = self.pipeline.vae

    def drop_text_encoders(self) -> None:
        if self.encoders("text"):
            self.unconditional()
        for name in self.encoder_names:
            setattr(self.pipeline, name, None)

    def drop_vae(self) -> None:
        self.vae = self.pipeline.vae = None

    def predictors(self) -> list[nn.Module]:
        parts = [self.denoiser, getattr(self.pipeline, "controlnet", None)]
        return [part for part in parts if part is not None]

    def residuals(self, noisy: Tensor, t: Tensor, condition: Tensors, text: Tensors, guidance: float = 1.0) -> Tensors:
        return {}

    # --- all weights ----------------------------------------------------------------------------------------------

    def train_fully(self, *, copy_reference: bool) -> None:
        self.stored = self.denoiser.dtype
        self.autocasts = self.autocasts or self.stored == torch.bfloat16
        self.denoiser.float()
        self._copy = copy.deepcopy(self.denoiser) if copy_reference else None
        self.denoiser.requires_grad_(True)
        self._full = True

    def reference_copy(self) -> nn.Module | None:
        found: nn.Module | None = self._copy
        return found

    def export_model(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        place = folder / self.denoiser_name
        place.mkdir(parents=True)
        self.denoiser.save_config(place)
        stored = {name: value.detach().to("cpu", self.stored).contiguous() for name, value in weights.items()}
        save_file(stored, place / SAFETENSORS_WEIGHTS_NAME, metadata={"format": "pt"})

    # --- the adapter ----------------------------------------------------------------------------------------------

    def linear_layers(self, targets: str) -> list[str]:
        """Full names of the denoiser's linear layers that `targets` (all, attention, attention_mlp) means."""
        named = self.denoiser.named_modules()
        return select_layers((name for name, module in named if isinstance(module, nn.Linear)), targets)

    def add_adapter(self, rank: int, alpha: float, targets: str, seed: int) -> None:
        layers = self.linear_layers(targets)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=layers)
            self.denoiser.add_adapter(config, POLICY)
        self._train_policy()

    def continue_adapter(self, path: Path) -> None:
        self._load(path, FROZEN)
        self._load(path, POLICY)
        self._continued = True
        self.denoiser.set_adapter(POLICY)
        self._train_policy()

    def load_adapter(self, path: Path, scale: float = 1.0) -> None:
        self._load(path, POLICY)
        self.denoiser.set_adapters([POLICY], [scale])

    def fuse_adapter(self, stored: torch.dtype) -> None:
        self.denoiser.fuse_lora(adapter_names=[POLICY])
        self.denoiser.unload_lora()
        self.stored = stored

    def _load(self, path: Path, name: str) -> None:
        file = lora_file(path)
        try:
            with warnings.catch_warnings():  # a second adapter is what is wanted here
                warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
                self.pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=name)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ModelError("adapter_unloadable", f"The adapter {path} does not fit this model: {error}") from error
        if name not in getattr(self.denoiser, "peft_config", {}):
            raise ModelError(
                "adapter_unloadable", f"The adapter {path} holds nothing for this model's {self.denoiser_name}."
            )

    def _train_policy(self) -> None:
        multiply_fast(self.denoiser)
        for name, parameter in self.denoiser.named_parameters():
            trained = f".{POLICY}." in name
            parameter.requires_grad_(trained)
            if trained:
                parameter.data = parameter.data.float()

    def trainable(self) -> dict[str, nn.Parameter]:
        named = self.denoiser.named_parameters()
        return {name: parameter for name, parameter in named if self._full or f".{POLICY}." in name}

    @contextmanager
    def reference(self) -> Iterator[None]:
        if self._full:
            if self._copy is None:
                raise RuntimeError("there is no frozen copy: the reference of this run is a cache")
            trained, self.denoiser = self.denoiser, self._copy
            try:
                yield
            finally:
                self.denoiser = trained
            return
        if self._continued:
            self.denoiser.set_adapter(FROZEN)
        else:
            self.denoiser.disable_adapters()
        try:
            yield
        finally:
            if self._continued:
                self.denoiser.set_adapter(POLICY)
            else:
                self.denoiser.enable_adapters()

    def export_adapter(self, folder: Path) -> None:
        """Write the LoRA with alpha/rank folded into its second factor, so that no loader has to know alpha."""
        config = self.denoiser.peft_config[POLICY]
        weights = {}
        for name, value in get_peft_model_state_dict(self.denoiser, adapter_name=POLICY).items():
            value = value.detach().float().cpu()
            if ".lora_B." in name:
                value = value * _scaling(config, name)
            weights[name] = value.contiguous()
        folder.mkdir(parents=True, exist_ok=True)
        save: Any = self.pipeline_class
        save.save_lora_weights(folder, **{f"{self.denoiser_name}_lora_layers": weights})

    def sizes(self) -> dict[str, int]:
        adapter = sum(parameter.numel() for parameter in self.trainable().values())
        parts = {name: part for name, part in self.pipeline.components.items() if isinstance(part, nn.Module)}
        sizes = {name: _stored(part) for name, part in parts.items()}
        sizes[self.denoiser_name] -= adapter
        return {**sizes, "adapter": adapter}


def numbered(prefix: str, tensors: Iterable[Tensor] | None) -> Tensors:
    """Tensors by the name `prefix` and their place."""
    return {f"{prefix}{place:03}": each for place, each in enumerate(tensors or ())}


def in_order(prefix: str, tensors: Tensors, dtype: torch.dtype) -> list[Tensor]:
    """What `numbered` named, in its order, as `dtype`."""
    return [tensors[name].to(dtype) for name in sorted(tensors) if name.startswith(prefix)]


def is_hollow(part: nn.Module) -> bool:
    """Whether a part stands for its config alone: its weights were not loaded."""
    return any(parameter.device.type == "meta" for parameter in part.parameters())


def first_line(error: Exception) -> str:
    """What an error says, up to the end of its first line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _stored(part: nn.Module) -> int:
    """Numbers that the part's files hold: parameters, and fixed ones such as SD3's positions."""
    kept = part.state_dict().keys()
    return sum(value.numel() for name, value in (*part.named_parameters(), *part.named_buffers()) if name in kept)


def _scaling(config: LoraConfig, name: str) -> float:
    layer = name.split(".lora_B.")[0]
    rank = next((r for key, r in config.rank_pattern.items() if layer.endswith(key)), config.r)
    alpha = next((a for key, a in config.alpha_pattern.items() if layer.endswith(key)), config.lora_alpha)
    return alpha / rank
