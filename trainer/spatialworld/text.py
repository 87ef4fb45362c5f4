"""The words of SpatialWorld: prompts, and the fixed vocabularies of its two tokenizers."""

from __future__ import annotations

import numpy as np

SURFACE_WORDS: dict[str, tuple[str, ...]] = {
    "road": ("on a street", "on the road"),
    "grass": ("on a lawn", "on a green meadow"),
    "water": ("on a lake", "on the water"),
    "floor": ("on a tiled terrace", "on a tiled floor"),
}
LIGHT_WORDS: dict[str, tuple[str, ...]] = {
    "day": ("on a sunny day", "in daylight"),
    "dusk": ("at dusk", "at sunset"),
    "night": ("at night", "under the stars"),
    "overcast": ("under a grey sky", "on a cloudy day"),
}
MAX_WORDS = 16
"""Token budget of the second text encoder: ``max_sequence_length`` in every call."""


def write_prompt(name: str, surface: str | None, light: str | None, rng: np.random.Generator) -> str:
    """A prompt such as "a red car on a street at dusk"; what is None stays unsaid."""
    article = "an" if name[0] in "aeiou" else "a"
    words = [article, name]
    if surface is not None:
        words.append(str(rng.choice(SURFACE_WORDS[surface])))
    if light is not None:
        words.append(str(rng.choice(LIGHT_WORDS[light])))
    return " ".join(words)


def vocabulary() -> list[str]:
    """Every word a prompt can hold, sorted."""
    from trainer.spatialworld.subjects import all_subjects

    words = {"a", "an"}
    for subject in all_subjects():
        words.update(subject.name.split())
    for phrases in (*SURFACE_WORDS.values(), *LIGHT_WORDS.values()):
        for phrase in phrases:
            words.update(phrase.split())
    return sorted(words)
