"""What only Qwen-Image-Edit has; what all families have is in `test_backbones.py`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from trainer.backbones.debug.qwen_image_edit import build
from trainer.backbones.load import load_backbone
from trainer.backbones.qwen_image_edit import LONGEST_TEXT, ImagePromptProcessor, QwenImageEditBackbone, edit_pictures
from trainer.contract.errors import ModelError

PROMPTS = ["a red car on a street", "a dog"]
HEIGHT, WIDTH = 32, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Any:
    return load_backbone(str(folder), dtype="float32", device="cpu")


@pytest.fixture
def canvas() -> tuple[Tensor, Tensor]:
    """Pixels [2,3,H,W] of whole bytes and masks (1 = background)."""
    mask = torch.ones(2, 1, HEIGHT, WIDTH)
    mask[:, :, 10:21, 8:22] = 0
    bytes_ = torch.randint(0, 256, (2, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1))
    return bytes_.float() / 127.5 - 1, mask


def noise_for(backbone: QwenImageEditBackbone) -> Tensor:
    return torch.randn(2, *backbone.latent_shape(HEIGHT, WIDTH), generator=torch.Generator().manual_seed(2))


def pictures_of(canvas: tuple[Tensor, Tensor]) -> list[Image.Image]:
    return [Image.fromarray(each) for each in edit_pictures(*canvas).permute(0, 2, 3, 1).numpy()]


def test_the_prompt_is_read_with_its_picture(backbone: QwenImageEditBackbone, canvas: tuple[Tensor, Tensor]) -> None:
    pixels, mask = canvas
    text = backbone.encode_text(PROMPTS, pixels, mask)
    embeds, valid = backbone.pipeline.encode_prompt(PROMPTS, pictures_of(canvas), backbone.device)
    assert text["embeds"].shape[1] == int(text["prefix"][0]) + LONGEST_TEXT
    torch.testing.assert_close(text["embeds"][:, : embeds.shape[1]], embeds)
    assert torch.equal(text["valid"].sum(dim=1), valid.sum(dim=1))
    assert not text["embeds"][:, embeds.shape[1] :].any()
    other = backbone.encode_text(PROMPTS, -pixels, mask)
    assert (other["embeds"] - text["embeds"]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="pixels and mask"):
        backbone.encode_text(PROMPTS)


def test_only_what_follows_the_picture_is_kept_of_the_negative_prompt(
    backbone: QwenImageEditBackbone, canvas: tuple[Tensor, Tensor]
) -> None:
    text = backbone.encode_text(PROMPTS, *canvas)
    whole, _ = backbone.pipeline.encode_prompt([" ", " "], pictures_of(canvas), backbone.device)
    rebuilt = torch.cat((text["embeds"][:, : int(text["prefix"][0])], text["negative"]), dim=1)
    torch.testing.assert_close(rebuilt, whole, atol=1e-5, rtol=1e-5)


def test_the_length_of_the_padding_does_not_matter(
    backbone: QwenImageEditBackbone, canvas: tuple[Tensor, Tensor]
) -> None:
    condition, text = backbone.encode_condition(*canvas), backbone.encode_text(PROMPTS, *canvas)
    noise, t = noise_for(backbone), torch.tensor([0.4, 0.9])
    both = backbone.predict(noise, t, condition, text)
    alone = backbone.predict(
        noise[1:], t[1:], {k: v[1:] for k, v in condition.items()}, {k: v[1:] for k, v in text.items()}
    )
    torch.testing.assert_close(alone, both[1:], atol=1e-5, rtol=1e-5)


def test_the_background_does_not_leak_into_the_picture(
    backbone: QwenImageEditBackbone, canvas: tuple[Tensor, Tensor]
) -> None:
    pixels, mask = canvas
    other = torch.where(mask.bool(), torch.rand_like(pixels), pixels)
    assert torch.equal(edit_pictures(pixels, mask), edit_pictures(other, mask))
    assert (edit_pictures(pixels, mask)[mask.bool().expand_as(pixels)] == 128).all()


def test_packing_and_the_latents_normalisation_go_there_and_back(
    backbone: QwenImageEditBackbone, canvas: tuple[Tensor, Tensor]
) -> None:
    pixels, _ = canvas
    latents = backbone.encode_images(pixels)
    assert latents.shape == (2, *backbone.latent_shape(HEIGHT, WIDTH))
    assert torch.equal(backbone.unpack(backbone.pack(latents), *latents.shape[2:]), latents)
    raw = backbone.vae.encode(pixels.unsqueeze(2)).latent_dist.mode()
    mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (
        backbone.vae.config.latents_mean, backbone.vae.config.latents_std
    ))  # fmt: skip
    torch.testing.assert_close(latents, ((raw - mean) / std)[:, :, 0])
    torch.testing.assert_close(backbone.decode(latents), backbone.vae.decode(raw).sample[:, :, 0], atol=1e-5, rtol=1e-4)


def test_a_prompt_that_is_too_long_is_refused(backbone: QwenImageEditBackbone, canvas: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ModelError, match="tokens too long"):
        backbone.encode_text(["car " * 300, "a dog"], *canvas)


def test_a_schedule_of_one_step_is_refused(backbone: QwenImageEditBackbone, canvas: tuple[Tensor, Tensor]) -> None:
    condition, text = backbone.encode_condition(*canvas), backbone.encode_text(PROMPTS, *canvas)
    with pytest.raises(ModelError, match="at least 2 steps"):
        backbone.sample(noise_for(backbone), condition, text, steps=1, guidance=1.0)


@pytest.mark.parametrize("kind", ["Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast"])
def test_the_processor_loads_from_the_files_that_the_published_model_has(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    """With a config of its image part and one of its video part, and without torchvision."""
    place = tmp_path / "processor"
    shutil.copytree(folder / "processor", place)
    settings = json.loads((place / "processor_config.json").read_text())["image_processor"]
    (place / "processor_config.json").unlink()
    (place / "preprocessor_config.json").write_text(json.dumps({**settings, "image_processor_type": kind}))
    (place / "video_preprocessor_config.json").write_text('{"video_processor_type": "Qwen2VLVideoProcessor"}')
    processor = ImagePromptProcessor.from_pretrained(str(tmp_path), subfolder="processor")
    read = processor(text=["<|image_pad|>a dog"], images=[Image.new("RGB", (56, 84))], return_tensors="pt")
    assert read["input_ids"].shape == (1, 2 * 3 + 2) and len(read["pixel_values"]) == 4 * 6


def test_adapters_reach_attention_and_both_mlps_of_every_block_in_earnest() -> None:
    from diffusers import QwenImageTransformer2DModel

    from trainer.backbones.layers import select_layers

    with torch.device("meta"):
        names = [n for n, m in QwenImageTransformer2DModel().named_modules() if isinstance(m, torch.nn.Linear)]
    assert len(select_layers(names, "attention")) == 60 * 8
    assert len(select_layers(names, "attention_mlp")) == 60 * (8 + 4)
