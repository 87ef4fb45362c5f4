"""A backbone without weights: every tensor has shape, type and device, none has values.

What the family's own code does with it costs no memory and no arithmetic, so that a step of a model of any size can be
walked through operation by operation on a laptop.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from trainer.planning.architecture import Architecture

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone, Tensors

TOKENS_PER_WORD = 1.25
"""Of a language model's tokenizer, in English."""
TEMPLATE_TOKENS = 7
"""What a template puts around a prompt and its picture."""
PICTURE_CELL = 28
"""Pixels along the side of a token of a picture that a language model reads."""


class _Words:
    """A tokenizer of which only the longest prompt is known."""

    def __init__(self, longest: int) -> None:
        self.model_max_length = longest


class _AllValid:
    """A mask of tokens, all of them valid, whose sums are known although no tensor here has values."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __getitem__(self, _: object) -> _AllValid:
        return self

    def sum(self, dim: int) -> _AllValid:
        return self

    def max(self) -> int:
        return self._length

    def all(self) -> bool:
        return True


@contextmanager
def shadow_mode() -> Iterator[None]:
    """Within it, tensors are made without values, and modules stay on the device and of the type they were made with.

    Moving a module swaps its parameters, which torch refuses for tensors without values.
    """
    apply = nn.Module._apply
    nn.Module._apply = lambda self, *_, **__: self  # type: ignore[method-assign]  # put back below
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        nn.Module._apply = apply  # type: ignore[method-assign]  # as it was


def shadow_backbone(
    architecture: Architecture, stored: torch.dtype, compute: torch.dtype, words: int = 24, *, full: bool = False
) -> Backbone:
    """The family's own backbone around parts without values; call it, and use it, within one `shadow_mode`.

    `stored` is the type of the frozen weights, `compute` float32 but where the CPU multiplies in bfloat16, `words` the
    longest prompt's, which counts where prompts are not padded to a fixed length. With `full` the denoiser is held in
    float32, and multiplied in bfloat16 where it was stored so, as `train_fully` does it.
    """
    kind = architecture.family.load_class()
    types = {kind.denoiser_name: torch.float32} if full else {}
    compute = torch.bfloat16 if full and stored == torch.bfloat16 else compute
    parts = {name: _part(name, architecture, types.get(name, stored)) for name in architecture.parts}
    given = {name: _Words(longest) for name, longest in architecture.words.items()}
    pipeline = _Pipeline(kind.pipeline_class, {**parts, **given, **dict.fromkeys(architecture.encoders)})

    def encode_text(_: Any, prompts: Any, pixels: Any = None, *_more: Any) -> Tensors:
        size = pixels.shape[2:] if pixels is not None else (512, 512)
        return text_of(architecture, len(prompts), *size, words, stored)

    shadowed: Any = type(f"Shadow{kind.__name__}", (kind,), {"encode_text": encode_text})
    backbone: Backbone = shadowed(pipeline, "cpu", compute)
    return backbone


class _Pipeline:
    """The parts of a pipeline under their names, and the pipeline class's own functions for packing them."""

    def __init__(self, kind: Any, parts: dict[str, Any]) -> None:
        self._kind = kind
        self.components = parts
        self.config = {"force_zeros_for_empty_prompt": True}
        self.vae_scale_factor = _scale(parts["vae"])
        self.__dict__.update(parts)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._kind, name)
        alone = isinstance(inspect.getattr_static(self._kind, name), staticmethod)
        return found if alone or not callable(found) else found.__get__(self)


def _scale(vae: Any) -> int:
    """Pixels along the side of a latent cell, as the families' pipelines work it out."""
    if hasattr(vae, "temperal_downsample"):
        return 2 ** len(vae.temperal_downsample)
    return int(2 ** (len(vae.config.block_out_channels) - 1))


def pixel_multiple(architecture: Architecture) -> int:
    """The number of pixels of which an image's sides must be multiples, as the family's backbone has it."""
    with shadow_mode():
        return _scale(_part("vae", architecture, torch.float32)) * architecture.family.load_class().patch


def _part(name: str, architecture: Architecture, stored: torch.dtype) -> Any:
    part = architecture.parts[name]
    kind = part.load_class()
    if issubclass(kind, nn.Module):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32 if part.config.get("force_upcast") else stored)
        try:
            return kind.from_config(part.config)
        finally:
            torch.set_default_dtype(before)
    with unset_fake_temporarily():  # a scheduler's tables are small, and it reads their values
        return kind.from_config(part.config)


def text_of(
    architecture: Architecture, rows: int, height: int, width: int, longest: int, dtype: torch.dtype
) -> Tensors:
    """Text conditioning of `rows` prompts by its shapes alone: what `encode_text` of the family would return."""

    def empty(*shape: int) -> Tensor:
        return torch.empty(rows, *shape, dtype=dtype)

    denoiser = architecture.parts.get("transformer") or architecture.parts["unet"]
    config, words = denoiser.config, architecture.words
    makers: dict[str, Callable[[], Tensors]] = {
        "flux": lambda: {
            "embeds": empty(min(512, words.get("tokenizer_2", 512)), config["joint_attention_dim"]),
            "pooled": empty(config["pooled_projection_dim"]),
        },
        "sd3": lambda: {
            "embeds": empty(
                words.get("tokenizer", 77) + min(256, words.get("tokenizer_3", 256)), config["joint_attention_dim"]
            ),
            "pooled": empty(config["pooled_projection_dim"]),
        },
        "sdxl": lambda: {
            "embeds": empty(words.get("tokenizer", 77), config["cross_attention_dim"]),
            "pooled": empty(config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]),
        },
        "sd": lambda: {"embeds": empty(words.get("tokenizer", 77), config["cross_attention_dim"])},
        "qwen": lambda: _read_with_picture(empty, height, width, longest, config["joint_attention_dim"]),
    }
    return makers[architecture.family.name.partition("_")[0]]()


def _read_with_picture(empty: Callable[..., Tensor], height: int, width: int, longest: int, dim: int) -> Tensors:
    picture = round(height / PICTURE_CELL) * round(width / PICTURE_CELL)
    length = picture + round(TOKENS_PER_WORD * longest) + TEMPLATE_TOKENS
    valid: Any = _AllValid(length)
    return {"embeds": empty(length, dim), "valid": valid}
