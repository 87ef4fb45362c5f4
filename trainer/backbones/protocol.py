"""What the engine asks of a model family. Nothing else knows how a family packs, conditions or samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from trainer.backbones.families import Base

    Tensors = dict[str, Tensor]
    """Named tensors with one leading axis of samples; of one shape for all samples of one image size."""

PredictionType = Literal["flow", "epsilon", "v_prediction", "sample"]
EncoderKind = Literal["text", "vae"]
ENCODER_KINDS: tuple[EncoderKind, ...] = ("text", "vae")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a backbone's parts come from, and the type in which they are held."""

    base: Base
    revision: str | None
    dtype: torch.dtype


class Backbone(Protocol):
    """A base pipeline with at most one LoRA, frozen but for that."""

    family: str
    """Its name in `trainer.backbones.families`."""
    device: torch.device
    denoiser: torch.nn.Module
    """The transformer or UNet that is trained."""
    pixel_multiple: int
    """Both sides of an image must be a multiple of this."""
    prediction_type: PredictionType
    """What `target` is: noise - clean, the noise, the scheduler's velocity, or the clean latents."""
    fill: float
    """Pixel value in [-1,1] that the background has in the condition's image: 0 (grey) or -1 (black)."""
    text_sees_image: bool
    """The text encoder reads the condition's image beside the prompt, so that text belongs to a condition."""
    leads_from_nothing: bool
    """Guidance in sampling leads away from a text of its own, which `encode_nothing` gives."""
    no_text: Tensors | None
    """What `encode_nothing` gave, once it is known; `sample` needs it where the text encoders are not held."""
    source: Source | None
    """Where it was loaded from."""

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(channels, h, w) of the latents of an image."""
        ...

    def encode_text(self, prompts: Sequence[str], pixels: Tensor | None = None, mask: Tensor | None = None) -> Tensors:
        """Text conditioning of prompts, float as the model computes, on its device.

        Where `text_sees_image`, it needs the conditions' pixels [B,3,H,W] and masks [B,1,H,W], as `encode_condition`
        does; elsewhere they are not looked at. CAPO's crops keep the text of their whole condition.
        """
        ...

    def cut(self, prompts: Sequence[str]) -> int:
        """How many of these prompts are longer than what the model reads: the rest of them has no effect."""
        ...

    def encode_nothing(self) -> Tensors:
        """Text conditioning [1,...] of what guidance leads away from; empty where that is no text of its own."""
        ...

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Latents [B,C,h,w] (float32, the encoder's mode) of pixels [B,3,H,W] in [-1,1]."""
        ...

    def encode_condition(self, pixels: Tensor, mask: Tensor) -> Tensors:
        """Conditioning from pixels [B,3,H,W] in [-1,1] and a mask [B,1,H,W] (1 = background, binarised here).

        A family whose model takes 1 for what is kept turns the mask over itself.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels [B,3,H,W] in [-1,1] of latents."""
        ...

    def encoder_parts(self, kind: EncoderKind) -> tuple[str, ...]:
        """The names of the text encoders, or of the autoencoder, in the pipeline."""
        ...

    def encoders(self, kind: EncoderKind) -> list[torch.nn.Module]:
        """The text encoders, or the autoencoder, as far as they are held: what encoded data depend on."""
        ...

    def load_encoders(self, kind: EncoderKind, why: str) -> None:
        """Load the text encoders, or the autoencoder, where they are not held.

        Raises ModelError, with what they are needed for (`why`), where they cannot be had.
        """
        ...

    def drop_text_encoders(self) -> None:
        """Free the text encoders; `encode_text` cannot be called afterwards, `sample` can."""
        ...

    def drop_vae(self) -> None:
        """Free the autoencoder; images can be neither encoded nor decoded afterwards."""
        ...

    def predictors(self) -> list[torch.nn.Module]:
        """The parts that predict: the denoiser, and a ControlNet where there is one."""
        ...

    def noisy(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t [B,C,h,w] of clean latents, noise and timesteps [B] in [0,1].

        t is the share of noise, in every family: x_t is in proportion to (1-t) clean + t noise. Rectified flow has
        every t; a discrete schedule reaches a part of [0,1], over which t is spread linearly, and takes the nearest
        of its timesteps (see `trainer.backbones.diffusion`).
        """
        ...

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What `predict` should return."""
        ...

    def residuals(self, noisy: Tensor, t: Tensor, condition: Tensors, text: Tensors, guidance: float = 1.0) -> Tensors:
        """What a ControlNet, which is never trained, adds behind the denoiser's blocks; empty where there is none.

        `predict` takes them from `condition` where they are among it, so that policy and reference can share them.
        """
        ...

    def predict(self, noisy: Tensor, t: Tensor, condition: Tensors, text: Tensors, guidance: float = 1.0) -> Tensor:
        """The model's prediction [B,C,h,w], in float32, by one forward.

        `guidance` is the embedded one of guidance-distilled models; others have none in a single forward.
        """
        ...

    def sample(self, noise: Tensor, condition: Tensors, text: Tensors, *, steps: int, guidance: float) -> Tensor:
        """Latents [B,C,h,w] sampled from noise with the family's own scheduler.

        `guidance` above 1 is classifier-free guidance in the families that are not guidance-distilled.
        """
        ...

    def add_adapter(self, rank: int, alpha: float, targets: str, seed: int) -> None:
        """Add the LoRA that is trained; as it stands after this it changes nothing."""
        ...

    def continue_adapter(self, path: Path) -> None:
        """Load a LoRA twice: a copy that is trained, and the frozen reference."""
        ...

    def load_adapter(self, path: Path, scale: float = 1.0) -> None:
        """Load a LoRA for sampling."""
        ...

    def fuse_adapter(self, stored: torch.dtype) -> None:
        """Put the loaded LoRA into the denoiser's weights, which `export_model` then writes as `stored`."""
        ...

    def train_fully(self, *, copy_reference: bool) -> None:
        """Train all weights of the denoiser, held in float32; a frozen copy of them is the reference, if asked for."""
        ...

    def reference_copy(self) -> torch.nn.Module | None:
        """The frozen copy beside a fully trained denoiser."""
        ...

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that are trained, the LoRA's or all of the denoiser's, by name, float32, in a fixed order."""
        ...

    def reference(self) -> AbstractContextManager[None]:
        """Within it, `predict` is the frozen reference."""
        ...

    def export_adapter(self, folder: Path) -> None:
        """Write the trained LoRA as the family's own diffusers pipeline loads it."""
        ...

    def export_model(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the denoiser with these weights as a part of a pipeline in diffusers format, in the base's type."""
        ...

    def sizes(self) -> dict[str, int]:
        """Numbers of parameters by part, for the plan."""
        ...
