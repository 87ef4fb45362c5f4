"""What the engine asks of a model family. Nothing else knows how a family packs, conditions or samples."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Tensors = dict[str, Tensor]
    """Named tensors with one leading axis of samples."""


class Backbone(Protocol):
    """A base pipeline with at most one LoRA, frozen but for that."""

    device: torch.device
    pixel_multiple: int
    """Both sides of an image must be a multiple of this."""

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(channels, h, w) of the latents of an image."""
        ...

    def encode_text(self, prompts: Sequence[str]) -> Tensors:
        """Text conditioning of prompts, float as the model computes, on its device."""
        ...

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Latents [B,C,h,w] (float32, the encoder's mode) of pixels [B,3,H,W] in [-1,1]."""
        ...

    def encode_condition(self, pixels: Tensor, mask: Tensor) -> Tensors:
        """Conditioning from pixels [B,3,H,W] in [-1,1] and a mask [B,1,H,W] (1 = background, binarised here)."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels [B,3,H,W] in [-1,1] of latents."""
        ...

    def drop_text_encoders(self) -> None:
        """Free the text encoders; `encode_text` cannot be called afterwards."""
        ...

    def noisy(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t [B,C,h,w] of clean latents, noise and timesteps [B] in [0,1] (1 = noise)."""
        ...

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What `predict` should return."""
        ...

    def predict(self, noisy: Tensor, t: Tensor, condition: Tensors, text: Tensors, guidance: float = 1.0) -> Tensor:
        """The model's prediction [B,C,h,w], in float32."""
        ...

    def sample(self, noise: Tensor, condition: Tensors, text: Tensors, *, steps: int, guidance: float) -> Tensor:
        """Latents [B,C,h,w] sampled from noise with the family's own scheduler."""
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

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """The parameters of the trained LoRA by name, float32, in a fixed order."""
        ...

    def reference(self) -> AbstractContextManager[None]:
        """Within it, `predict` is the frozen reference."""
        ...

    def export_adapter(self, folder: Path) -> None:
        """Write the trained LoRA as the family's own diffusers pipeline loads it."""
        ...

    def sizes(self) -> dict[str, int]:
        """Numbers of parameters by part, for the plan."""
        ...
