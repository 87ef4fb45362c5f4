"""The pipeline's layout, the exact encoder, the fast sampler and the pre-training loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from trainer.spatialworld import build_pipeline, pipeline_path, scene_cache  # noqa: E402  # torch is optional
from trainer.spatialworld.attention import MixedPrecisionAttention  # noqa: E402
from trainer.spatialworld.codec import encode_blocks, linear_map  # noqa: E402
from trainer.spatialworld.model import DEBUG  # noqa: E402
from trainer.spatialworld.packing import image_ids, pack, pack_mask, unpack  # noqa: E402
from trainer.spatialworld.pretrain import Pretraining, choose_scenes, pretrain  # noqa: E402
from trainer.spatialworld.sampling import noise_for, sample  # noqa: E402
from trainer.spatialworld.scenes import condition_at  # noqa: E402
from trainer.spatialworld.text import MAX_WORDS, vocabulary  # noqa: E402
from trainer.spatialworld.vae_training import fitted_vae, to_tensor  # noqa: E402

if TYPE_CHECKING:
    from diffusers import FluxFillPipeline


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> scene_cache.SceneArrays:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_cache, "CHUNK", 24)
        return scene_cache.load_scenes(tmp_path_factory.mktemp("scenes"), 0, 24)


@pytest.fixture(scope="module")
def pipeline(scenes: scene_cache.SceneArrays) -> FluxFillPipeline:
    made = build_pipeline(7, debug=True)
    made.register_modules(vae=fitted_vae(scenes, DEBUG, 7).eval())
    made.set_progress_bar_config(disable=True)
    return made


def test_packing_goes_there_and_back() -> None:
    latents = torch.arange(2 * 3 * 8 * 8.0).reshape(2, 3, 8, 8)
    assert torch.equal(unpack(pack(latents), 8, 8), latents)
    assert pack_mask(torch.ones(2, 64, 64), 4).shape == (2, 64, 64)
    assert image_ids(16, 16)[9].tolist() == [0.0, 1.0, 1.0]


def test_the_encoder_is_the_linear_map_and_has_no_noise(
    pipeline: FluxFillPipeline, scenes: scene_cache.SceneArrays
) -> None:
    with torch.no_grad():
        posterior = pipeline.vae.encode(to_tensor(scenes.image[:4])).latent_dist
    expected = encode_blocks(scenes.image[:4], *linear_map(pipeline.vae))
    assert (posterior.mode() - expected).pow(2).mean().sqrt() < 2e-3
    assert (posterior.sample() - posterior.mode()).abs().max() < 1e-3
    normalised = (expected - pipeline.vae.config.shift_factor) * pipeline.vae.config.scaling_factor
    assert 0.7 < normalised.std() < 1.3


def test_the_fast_sampler_gives_the_pipelines_images(pipeline: FluxFillPipeline) -> None:
    condition = condition_at(0, 1)
    ours = sample(pipeline, [condition], [5], steps=3, paste=False)[0]
    theirs = pipeline(
        prompt=condition.prompt,
        image=Image.fromarray(condition.image),
        mask_image=Image.fromarray(condition.mask),
        height=64,
        width=64,
        num_inference_steps=3,
        max_sequence_length=MAX_WORDS,
        latents=pack(noise_for([5], 16, 16)),
        output_type="np",
    ).images[0]
    assert np.abs(ours / 255.0 - theirs).max() < 0.02


def test_the_training_attention_gives_the_same_numbers(pipeline: FluxFillPipeline) -> None:
    source = torch.Generator().manual_seed(0)
    given = {
        "hidden_states": torch.randn(2, 64, 192, generator=source),
        "encoder_hidden_states": torch.randn(2, MAX_WORDS, 64, generator=source),
        "pooled_projections": torch.randn(2, 64, generator=source),
        "timestep": torch.tensor([0.2, 0.9]),
        "img_ids": image_ids(16, 16),
        "txt_ids": torch.zeros(MAX_WORDS, 3),
        "return_dict": False,
    }
    model = pipeline.transformer
    plain = dict(model.attn_processors)
    with torch.no_grad():
        before = model(**given)[0]
        model.set_attn_processor(MixedPrecisionAttention())
        after = model(**given)[0]
    model.set_attn_processor(plain)
    assert torch.allclose(before, after, atol=1e-5)


def test_the_tokenizers_know_the_worlds_words(pipeline: FluxFillPipeline) -> None:
    prompt = condition_at(0, 2).prompt
    words = pipeline.tokenizer_2(prompt).input_ids
    assert pipeline.tokenizer_2.unk_token_id not in words
    assert len(words) <= MAX_WORDS
    assert pipeline.tokenizer_2("zeppelin").input_ids[0] == pipeline.tokenizer_2.unk_token_id
    assert len(pipeline.tokenizer_2) == len(vocabulary()) + 3
    assert len(pipeline.tokenizer(prompt).input_ids) <= 77


def test_a_saved_pipeline_loads_and_gives_the_same(pipeline: FluxFillPipeline, tmp_path: Path) -> None:
    from diffusers import FluxFillPipeline

    pipeline.save_pretrained(tmp_path)
    again = FluxFillPipeline.from_pretrained(tmp_path)
    condition = condition_at(0, 3)
    one, two = (sample(each, [condition], [1], steps=2) for each in (pipeline, again))
    assert np.array_equal(one, two)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "pipeline" / "transformer" / "diffusion_pytorch_model.safetensors")


def test_pretraining_goes_on_as_if_it_had_never_stopped(
    scenes: scene_cache.SceneArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene_cache, "CHUNK", 24)
    vae = tmp_path / "vae"
    fitted_vae(scenes, DEBUG, 0).save_pretrained(vae)
    config = Pretraining(steps=4, scenes=24, batch=4, warmup=1, dtype="float32")
    whole, parts, cache = tmp_path / "whole", tmp_path / "parts", tmp_path / "cache"
    pretrain(whole, config, vae, cache, resume=False, every=0.0, sizes=DEBUG)
    monkeypatch.setattr("trainer.spatialworld.pretrain.flow_loss", _stopping(2))
    with pytest.raises(KeyboardInterrupt):
        pretrain(parts, config, vae, cache, resume=False, every=0.0, sizes=DEBUG)
    monkeypatch.undo()
    monkeypatch.setattr(scene_cache, "CHUNK", 24)
    with pytest.raises(FileExistsError, match="--resume"):
        pretrain(parts, config, vae, cache, resume=False, every=0.0, sizes=DEBUG)
    pretrain(parts, config, vae, cache, resume=True, every=0.0, sizes=DEBUG)
    one, two = _weights(whole), _weights(parts)
    # Muon orthogonalises in bfloat16, whose last digits differ from run to run on a CPU.
    assert max((one[name] - two[name]).abs().max() for name in one) < 1e-3
    starts = [json.loads(line) for line in (parts / "log.jsonl").read_text().splitlines()]
    assert [row["from"] for row in starts if "from" in row] == [0, 2]


def test_pretraining_shows_rational_scenes_first_and_the_mixture_then(scenes: scene_cache.SceneArrays) -> None:
    config, rng = Pretraining(steps=10, rational_share=0.5, broken_share=0.7, batch=200), np.random.default_rng(0)
    shown = [scenes.rational[choose_scenes(scenes.rational, config, step, rng)].mean() for step in range(10)]
    assert shown[:5] == [1.0] * 5
    assert np.mean(shown[5:]) == pytest.approx(0.3, abs=0.05)


def _stopping(at: int) -> object:
    from trainer.spatialworld.pretrain import flow_loss

    def stop(model: object, data: object, config: Pretraining, step: int) -> object:
        if step == at:
            raise KeyboardInterrupt
        return flow_loss(model, data, config, step)  # type: ignore[arg-type]  # handed through as they came

    return stop


def test_the_shipped_weights_are_there() -> None:
    assert (pipeline_path() / "model_index.json").exists()
