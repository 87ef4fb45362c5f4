"""Who is in which part of the study: subjects to train on, to tune on and to test on share no identity."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from functools import cache
from typing import Literal

from trainer.spatialworld.scenes import Condition, condition_at
from trainer.spatialworld.subjects import subjects_of

Role = Literal["train", "tuning", "test"]
SEEDS: dict[Role, int] = {"train": 31, "tuning": 32, "test": 33}


@cache
def tuning_identities() -> frozenset[str]:
    """A fifth of each kind's training identities, at least one: settings are chosen on these, nothing is trained."""
    names: dict[str, set[str]] = defaultdict(set)
    for subject in subjects_of("train"):
        names[subject.kind.name].add(subject.identity)
    chosen: set[str] = set()
    for identities in names.values():
        ordered = sorted(identities, key=lambda name: hashlib.sha256(f"tuning {name}".encode()).hexdigest())
        chosen.update(ordered[: max(1, round(len(ordered) / 5))])
    return frozenset(chosen)


@cache
def conditions_for(role: Role, count: int) -> tuple[Condition, ...]:
    """The first ``count`` conditions of a role; more of them begin with the same ones."""
    if role == "test":
        return tuple(condition_at(SEEDS[role], index, "validation") for index in range(count))
    found: list[Condition] = []
    index = 0
    while len(found) < count:
        condition = condition_at(SEEDS[role], index, "train")
        if (condition.subject.identity in tuning_identities()) == (role == "tuning"):
            found.append(condition)
        index += 1
    return tuple(found)


def noise_seed(role: Role, condition: int, draw: int) -> int:
    """The sampler's seed of a draw: the same for every arm, so that images can be laid side by side."""
    return SEEDS[role] * 10_000_000 + condition * 100 + draw
