"""Which candidates meet in a comparison. Pure functions: candidates in, groups of candidate ids out."""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import combinations

from backend.judging.models import ComparisonKind

Made = Sequence[tuple[int, int]]
"""(draw or seed, candidate id) of one generator for one condition, in order."""


def seed_of(condition: str, draw: int) -> int:
    """The seed of a condition's draw number `draw`: 31 bits from the condition's name and the number.

    The sampler's noise depends on the seed alone. Were it the same for all conditions, a draw that happens to ask for
    a view from above would do so everywhere, and a comparison of two models would hang on a handful of noises.
    """
    digest = hashlib.sha256(f"{condition}\x1f{draw}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def groups_of(kind: ComparisonKind, k: int, by_generator: Sequence[Made], *, same_seed: bool) -> list[list[int]]:
    """The groups of one condition.

    win_lose: groups of `k`, seed by seed through all generators; a rest of at least two makes a smaller group.
    pairwise: neighbours in that order, two by two. arena: for every two generators their images of one seed, or, with
    `same_seed` false (imported images have seeds of their own), their first images, their second, and so on.
    """
    if kind is ComparisonKind.ARENA:
        return [group for left, right in combinations(by_generator, 2) for group in _meetings(left, right, same_seed)]
    flat = sorted((seed, order, candidate) for order, made in enumerate(by_generator) for seed, candidate in made)
    ids = [candidate for _, _, candidate in flat]
    size = k if kind is ComparisonKind.WIN_LOSE else 2
    groups = [ids[start : start + size] for start in range(0, len(ids), size)]
    return [group for group in groups if len(group) >= 2]


def _meetings(left: Made, right: Made, same_seed: bool) -> list[list[int]]:
    if same_seed:
        others: Mapping[int, int] = dict(right)
        return [[candidate, others[seed]] for seed, candidate in left if seed in others]
    return [[one, other] for (_, one), (_, other) in zip(left, right, strict=False)]
