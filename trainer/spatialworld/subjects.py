"""The subjects of SpatialWorld: kinds with real height and habitat, looks and colours, and the split by identity."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Literal

from trainer.spatialworld.drawing import Colour
from trainer.spatialworld.geometry import Viewpoint

Split = Literal["train", "validation"]

COLOURS: dict[str, Colour] = {
    "red": (216, 52, 48),
    "blue": (44, 92, 200),
    "yellow": (248, 200, 44),
    "green": (30, 132, 84),
    "white": (244, 242, 236),
    "orange": (240, 126, 36),
    "purple": (130, 72, 168),
    "pink": (240, 130, 164),
    "black": (44, 42, 50),
    "brown": (138, 84, 46),
    "golden": (222, 166, 84),
    "cream": (240, 224, 192),
    "grey": (150, 152, 160),
}


@dataclass(frozen=True)
class Kind:
    """What all subjects of a kind share. Heights in metres, aspects are width / height.

    ``top_aspect`` is None for kinds that are drawn from the side only; from above ``length`` metres are drawn.
    """

    name: str
    height: float
    aspect: float
    habitat: tuple[str, ...]
    looks: tuple[str, ...]
    colours: tuple[str, ...]
    top_aspect: float | None = None
    length: float = 0.0
    phrase: str = "{colour} {kind}"


KINDS: tuple[Kind, ...] = (
    Kind(
        "car",
        1.5,
        2.5,
        ("road",),
        ("saloon", "hatchback"),
        ("red", "blue", "yellow", "green", "white", "orange", "purple"),
        0.44,
        4.2,
    ),
    Kind("bus", 3.0, 2.3, ("road",), ("city",), ("red", "blue", "yellow", "green", "white", "orange"), 0.36, 8.0),
    Kind(
        "person",
        1.7,
        0.42,
        ("road", "grass", "floor"),
        ("coat", "jumper"),
        ("red", "blue", "yellow", "green", "white", "purple", "orange"),
        phrase="person in {colour}",
    ),
    Kind("dog", 0.75, 1.25, ("grass", "floor"), ("hound", "terrier"), ("brown", "black", "white", "golden")),
    Kind("sheep", 0.95, 1.3, ("grass",), ("woolly",), ("white", "black", "cream", "grey"), 0.58, 1.3),
    Kind("cow", 1.5, 1.5, ("grass",), ("plain", "spotted"), ("brown", "white", "black", "golden")),
    Kind(
        "chair",
        1.0,
        0.66,
        ("floor",),
        ("kitchen", "arm"),
        ("red", "blue", "yellow", "green", "brown", "white"),
        0.92,
        0.7,
    ),
    Kind("sailboat", 5.0, 0.8, ("water",), ("sloop",), ("red", "blue", "yellow", "green", "white", "orange")),
    Kind(
        "motorboat", 2.2, 2.2, ("water",), ("cabin",), ("red", "blue", "green", "orange", "white", "yellow"), 0.42, 5.5
    ),
    Kind("swan", 1.1, 1.25, ("water",), ("swimming",), ("white", "black", "grey"), 0.62, 1.2),
)


@dataclass(frozen=True)
class Subject:
    """One identity: a kind in a look and a colour, drawn from one viewpoint."""

    kind: Kind
    look: str
    colour: str
    viewpoint: Viewpoint

    @property
    def identity(self) -> str:
        """Stable name that decides the split; the same for both viewpoints."""
        return f"{self.kind.name}-{self.look}-{self.colour}"

    @property
    def id(self) -> str:
        """Stable id of the cut-out."""
        return f"{self.identity}-{self.viewpoint}"

    @property
    def name(self) -> str:
        """What a prompt calls it."""
        return self.kind.phrase.format(colour=self.colour, kind=self.kind.name)

    @property
    def display_name(self) -> str:
        """What a list calls it."""
        return f"{self.name} (from above)" if self.viewpoint == "top" else self.name

    @property
    def rgb(self) -> Colour:
        """Its main colour."""
        return COLOURS[self.colour]

    @property
    def split(self) -> Split:
        """``validation`` for about a fifth of the identities of each kind."""
        return "validation" if self.identity in _validation_identities() else "train"


@cache
def all_subjects() -> tuple[Subject, ...]:
    """Every subject, in a stable order."""
    made = []
    for kind in KINDS:
        for look in kind.looks:
            for colour in kind.colours:
                made.append(Subject(kind, look, colour, "level"))
                if kind.top_aspect is not None:
                    made.append(Subject(kind, look, colour, "top"))
    return tuple(made)


@cache
def _validation_identities() -> frozenset[str]:
    """The fifth of each kind's identities (at least one) whose hash comes first."""
    chosen: set[str] = set()
    for kind in KINDS:
        names = {f"{kind.name}-{look}-{colour}" for look in kind.looks for colour in kind.colours}
        ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        chosen.update(ordered[: max(1, round(len(ordered) / 5))])
    return frozenset(chosen)


def subjects_of(split: Split | Literal["both"], viewpoint: Viewpoint | None = None) -> list[Subject]:
    """The subjects of a split, of one drawn viewpoint if asked."""
    return [
        subject
        for subject in all_subjects()
        if (split == "both" or subject.split == split) and (viewpoint is None or subject.viewpoint == viewpoint)
    ]
