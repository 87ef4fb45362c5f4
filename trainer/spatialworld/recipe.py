"""The whole pre-training in one call: scenes, autoencoder, transformer, pipeline."""

from __future__ import annotations

from pathlib import Path

from trainer.spatialworld.model import DEFAULT, ModelConfig


def pretrain_all(
    out: Path, steps: int, vae_steps: int, seed: int, scenes: int, resume: bool, sizes: ModelConfig = DEFAULT
) -> Path:
    """Make everything under ``out`` and return the pipeline's folder. Parts that are finished are kept on resume.

    Raises FileExistsError if ``out`` holds a pre-training and ``resume`` was not asked for.
    """
    from trainer.spatialworld.pretrain import Pretraining, pretrain
    from trainer.spatialworld.vae_training import VaeTraining, train_vae

    if (out / "vae").exists() and not resume:
        raise FileExistsError(f"{out} already holds a pre-training: add --resume to go on, or choose another folder.")
    cache, vae = out / "scenes", out / "vae"
    if not (vae / "done").exists():
        train_vae(vae, VaeTraining(steps=vae_steps, seed=seed, scenes=min(scenes, 8000)), cache)
        (vae / "done").touch()
    return pretrain(out, Pretraining(steps=steps, seed=seed, scenes=scenes), vae, cache, resume, sizes=sizes)


def ship(pipeline: Path, vae: Path, out: Path) -> Path:
    """Put a finished pipeline with a finished autoencoder at ``out`` for shipping: the transformer in bfloat16.

    ``FluxFillPipeline.from_pretrained`` loads it in float32 again.
    """
    import shutil

    import torch
    from diffusers import AutoencoderKL, FluxFillPipeline

    made = FluxFillPipeline.from_pretrained(pipeline)
    made.register_modules(vae=AutoencoderKL.from_pretrained(vae).eval())
    made.transformer.to(torch.bfloat16)
    partial = out.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    made.save_pretrained(partial)
    for config in partial.rglob("*.json"):
        # Where it was made is nobody's concern.
        lines = config.read_text(encoding="utf-8").splitlines(keepends=True)
        config.write_text("".join(line for line in lines if '"_name_or_path"' not in line), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    return out
