"""FLUX.1 Fill in small."""

from __future__ import annotations

from pathlib import Path

from trainer.backbones.debug.flux import PACKED, flux_parts, flux_transformer

MASK = 4 * 4**2
"""Packed mask channels of an autoencoder that shrinks four times."""


def build(folder: Path) -> None:
    """Save the pipeline."""
    from diffusers import FluxFillPipeline

    transformer = flux_transformer(in_channels=2 * PACKED + MASK, guidance=True)
    FluxFillPipeline(**flux_parts(), transformer=transformer).save_pretrained(folder)
