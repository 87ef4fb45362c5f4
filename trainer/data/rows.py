"""The rows of a step: which image, under which condition, at which noise and timestep, goes through the model.

One batch holds everything a (micro-)step needs, in the order win | lose | CAPO win | CAPO lose | SCPO partner | replay,
so that the policy needs one forward and the reference another (without the replay, which needs no reference).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from trainer.contract.errors import SnapshotError
from trainer.contract.objective import ObjectiveConfig
from trainer.contract.snapshot import Pair, Winner
from trainer.data.crops import Window, draw_windows
from trainer.data.shards import content_key
from trainer.data.source import Crop, TrainingData
from trainer.noise import NOISE_SCHEME, gaussian, generator, sampling_noise, timestep
from trainer.objectives.options import reason_weight

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone, Tensors


@dataclass(frozen=True)
class Row:
    """One sample before anything is read: an image and a condition, each whole or inside a window, and its noise.

    Noise and t are those of (seed, item, draw) for `purpose`; `noise_seed` is the sampler's where noise is tracked.
    Without `masked`, the error counts everywhere.
    """

    condition_id: str
    path: str
    purpose: str
    item: str
    draw: int
    window: Window | None = None
    image_window: Window | None = None
    noise_seed: int | None = None
    masked: bool = True


@dataclass(frozen=True)
class Batch:
    """Rows stacked on the model's device; every tensor has the leading axis of rows."""

    rows: Sequence[Row]
    clean: Tensor
    t: Tensor
    noisy: Tensor
    target: Tensor
    condition: Tensors
    text: Tensors
    region: Tensor

    def first(self, count: int) -> Batch:
        """The first `count` rows."""
        return Batch(
            self.rows[:count],
            self.clean[:count],
            self.t[:count],
            self.noisy[:count],
            self.target[:count],
            {name: value[:count] for name, value in self.condition.items()},
            {name: value[:count] for name, value in self.text.items()},
            self.region[:count],
        )


@dataclass(frozen=True)
class Layout:
    """How many rows of each kind a batch holds; `p_win` [pairs] is the annotators' consensus, `weight` [pairs] what
    the reasons against a pair's loser make it count."""

    pairs: int
    capo: int
    scpo: int
    replay: int
    p_win: Tensor
    weight: Tensor

    @property
    def referenced(self) -> int:
        """Rows whose reference is needed: all but the replay."""
        return 2 * self.pairs + 2 * self.capo + self.scpo

    def split(self, errors: Tensor) -> dict[str, Tensor]:
        """Errors [rows] by kind: win, lose, capo_win, capo_lose, scpo, replay (empty where errors lack them)."""
        names = ("win", "lose", "capo_win", "capo_lose", "scpo", "replay")
        counts = (self.pairs, self.pairs, self.capo, self.capo, self.scpo, self.replay)
        out, start = {}, 0
        for name, count in zip(names, counts, strict=True):
            out[name] = errors[start : start + count]
            start += count
        return out


@dataclass(frozen=True)
class StepSlots:
    """The part of a step that one forward computes: slots are numbered through the whole step."""

    pairs: list[int]
    capo: list[int]
    scpo: list[int]
    replay: list[int]


def slots_of(pairs: int, micro_batch: int | None, objective: ObjectiveConfig) -> list[StepSlots]:
    """Cut a step of `pairs` pairs into forwards of at most `micro_batch` pairs."""
    preferring = objective.prefers
    capo = max(1, round(objective.capo.share * pairs)) if objective.capo.weight and preferring else 0
    scpo = max(1, round(objective.scpo.share * pairs)) if objective.scpo.weight and preferring else 0
    replay = (objective.inpainting.per_step or pairs) if objective.inpainting.weight else 0
    count = -(-pairs // (micro_batch or pairs))
    if not preferring:
        count = min(count, replay)
    parts = [part.tolist() for part in np.array_split(np.arange(pairs), count)]
    replays = [part.tolist() for part in np.array_split(np.arange(replay), count)]
    return [
        StepSlots(part if preferring else [], [s for s in part if s < capo], [s for s in part if s < scpo], rest)
        for part, rest in zip(parts, replays, strict=True)
    ]


class RowBuilder:
    """Says which rows a step needs, and makes batches of them from the store and the counter-based noise.

    With `reference_draws`, noise and t of the rows that need a reference come from that many fixed draws a pair.
    """

    def __init__(
        self,
        data: TrainingData,
        backbone: Backbone,
        objective: ObjectiveConfig,
        seed: int,
        reference_draws: int | None = None,
    ) -> None:
        self._data = data
        self._backbone = backbone
        self._objective = objective
        self._seed = seed
        self._reference_draws = reference_draws

    # --- which rows -------------------------------------------------------------------------------------------------

    def build(self, step: int, pairs: list[Pair], slots: StepSlots) -> tuple[Batch, Layout]:
        """The batch of one forward; `pairs` are those of the whole step."""
        replayed = self._objective.inpainting.winners
        replays = [
            self._replay(pairs[slot % len(pairs)] if replayed == "same" else None, slot, step, pairs[0])
            for slot in slots.replay
        ]
        layout = self._layout([pairs[slot] for slot in slots.pairs], len(slots.capo), len(slots.scpo), len(replays))
        return self.load([*self.referenced(step, pairs, slots), *replays]), layout

    def referenced(self, step: int, pairs: list[Pair], slots: StepSlots) -> list[Row]:
        """The rows of one forward that need the reference: win | lose | CAPO win | CAPO lose | SCPO partner."""
        chosen = [pairs[slot] for slot in slots.pairs]
        cropped = [self._cropped(pairs[slot], step) for slot in slots.capo]
        return [
            *(self._member(pair, pair.win, self._draw(pair, step)) for pair in chosen),
            *(self._member(pair, pair.lose, self._draw(pair, step)) for pair in chosen),
            *(win for win, _ in cropped),
            *(lose for _, lose in cropped),
            *(self._partner(pairs[slot], self._draw(pairs[slot], step)) for slot in slots.scpo),
        ]

    def crops(self, step: int, pairs: list[Pair], slots: StepSlots) -> list[Crop]:
        """What CAPO's rows of one forward need beside the whole images and conditions."""
        rows = [row for slot in slots.capo for row in self._cropped(pairs[slot], step)]
        return [Crop(row.condition_id, row.path, row.window, row.image_window) for row in rows if row.window]

    def batches_of_pairs(self, pairs: list[Pair], size: int) -> Iterator[list[Pair]]:
        """Pairs in batches of at most `size` pairs of one image size, in a fixed order."""
        buckets: dict[tuple[int, int], list[Pair]] = defaultdict(list)
        for pair in pairs:
            buckets[self._data.size(pair.condition_id)].append(pair)
        for bucket in buckets.values():
            for start in range(0, len(bucket), size):
                yield bucket[start : start + size]

    def held_out_rows(self, pairs: list[Pair]) -> list[Row]:
        """Win and lose of validation pairs, at noise and timesteps that never change."""
        wins = [self._member(pair, pair.win, 0, "validation") for pair in pairs]
        return wins + [self._member(pair, pair.lose, 0, "validation") for pair in pairs]

    def held_out(self, pairs: list[Pair]) -> tuple[Batch, Layout]:
        """The batch of validation pairs of one size."""
        return self.load(self.held_out_rows(pairs)), self._layout(pairs, 0, 0, 0)

    def _layout(self, pairs: list[Pair], capo: int, scpo: int, replay: int) -> Layout:
        weights = self._objective.reason_weights.model_dump()
        return Layout(
            len(pairs), capo, scpo, replay,
            p_win=torch.tensor([pair.p_win for pair in pairs]),
            weight=torch.tensor([reason_weight(pair.reasons, weights) for pair in pairs]),
        )  # fmt: skip

    def _draw(self, pair: Pair, step: int) -> int:
        """Which draw of its noise a pair takes at a step: the step's own, or one of the fixed ones."""
        if self._reference_draws is None:
            return step
        return int(generator(self._seed, "reference draw", pair.pair_id, step).integers(self._reference_draws))

    def _member(self, pair: Pair, path: str, draw: int, purpose: str = "pair") -> Row:
        tracked = self._objective.noise == "tracked" and purpose != "validation"
        return Row(
            pair.condition_id, path, purpose, pair.pair_id, draw, noise_seed=_seed_of(pair, path) if tracked else None
        )

    def _cropped(self, pair: Pair, step: int) -> tuple[Row, Row]:
        """CAPO's rows of a pair: each member cropped by its own window of one of the bounded draws."""
        config, fixed = self._objective.capo, self._reference_draws is not None
        draw = self._draw(pair, step)
        chosen = draw if fixed else int(generator(self._seed, "crop draw", pair.pair_id, step).integers(config.draws))
        subject = self._data.subject(pair.condition_id)
        windows = draw_windows(subject, config, self._seed, pair.pair_id, chosen % config.draws)
        paths = (pair.win, pair.win if config.reading == "condition_only" else pair.lose)
        win, lose = (
            Row(
                pair.condition_id, path, "capo", pair.pair_id, draw, window,
                None if config.reading == "condition_only" or window.covers(subject.shape) else window, masked=False,
            )
            for path, window in zip(paths, windows, strict=True)
        )  # fmt: skip
        return win, lose

    def _partner(self, pair: Pair, draw: int) -> Row:
        """Another winner at the pair's own noise and timestep."""
        data = self._data
        random = generator(self._seed, "partner", pair.pair_id, draw)
        own = [winner for winner in data.winners_of[pair.condition_id] if winner.image != pair.win]
        if own and self._objective.scpo.pairing != "cross_scene":
            winner = own[random.integers(len(own))]
        else:
            winner = self._any_winner(random, data.size(pair.condition_id), pair.condition_id)
        return Row(winner.condition_id, winner.image, "pair", pair.pair_id, draw)

    def _replay(self, pair: Pair | None, slot: int, step: int, beside: Pair) -> Row:
        item = f"slot {slot}"
        if pair is not None:
            return Row(pair.condition_id, pair.win, "replay", item, step)
        random = generator(self._seed, "replay", item, step)
        winner = self._any_winner(random, self._data.size(beside.condition_id))
        return Row(winner.condition_id, winner.image, "replay", item, step)

    def _any_winner(self, random: np.random.Generator, size: tuple[int, int], other_than: str | None = None) -> Winner:
        """A winner of the same size, of another condition where there is one."""
        data = self._data
        for _ in range(256):
            winner = data.winners[random.integers(len(data.winners))]
            if data.size(winner.condition_id) == size and winner.condition_id != other_than:
                return winner
        fitting = [winner for winner in data.winners if data.size(winner.condition_id) == size]
        return fitting[random.integers(len(fitting))]

    def check_seeds(self, pairs: Iterable[Pair]) -> None:
        """Raises SnapshotError naming the first of these pairs whose noise is to be tracked and is not known."""
        if self._objective.noise == "tracked":
            for pair in pairs:
                for path in (pair.win, pair.lose):
                    _seed_of(pair, path)

    # --- their tensors ----------------------------------------------------------------------------------------------

    def key(self, row: Row) -> str:
        """The key of what a model sees in a row: equal keys are equal inputs."""
        data, (low, high) = self._data, self._window(row)
        return content_key(
            NOISE_SCHEME, self._seed, row.purpose, row.item, row.draw, row.noise_seed, low, high,
            data.latent_key(row.path, row.image_window), data.condition_key(row.condition_id, row.window),
            data.text_key(row.condition_id),
        )  # fmt: skip

    def load(self, rows: Sequence[Row]) -> Batch:
        """Rows of one size, stacked on the model's device."""
        data, device = self._data, self._backbone.device
        latents = [data.latent(row.path, row.image_window) for row in rows]
        clean = torch.stack(latents).to(device)
        noise = torch.stack([self._noise(row, clean.shape[1:]) for row in rows]).to(device)
        timesteps = [
            timestep(*self._window(row), self._seed, row.item, row.draw, f"{row.purpose} timestep") for row in rows
        ]
        t = torch.tensor(timesteps, dtype=torch.float32, device=device)
        everywhere = torch.ones(1, *clean.shape[2:])
        regions = [data.region(row.condition_id) if row.masked else everywhere for row in rows]
        return Batch(
            rows=rows,
            clean=clean,
            t=t,
            noisy=self._backbone.noisy(clean, noise, t),
            target=self._backbone.target(clean, noise, t),
            condition=_stacked([data.condition(row.condition_id, row.window) for row in rows], device),
            text=_stacked([data.text(row.condition_id) for row in rows], device),
            region=torch.stack(regions).to(device),
        )

    def _noise(self, row: Row, shape: torch.Size) -> Tensor:
        if row.noise_seed is not None:
            return sampling_noise(tuple(shape), row.noise_seed)
        return gaussian(tuple(shape), self._seed, row.item, row.draw, f"{row.purpose} noise")

    def _window(self, row: Row) -> tuple[float, float]:
        """The timesteps that a row may have."""
        source = self._objective.inpainting if row.purpose == "replay" else self._objective
        return source.t_min, source.t_max


def _seed_of(pair: Pair, path: str) -> int:
    seed = pair.win_seed if path == pair.win else pair.lose_seed
    if seed is None:
        raise SnapshotError(
            "seed_missing",
            f"pairs.parquet ({pair.pair_id}): the seed its candidates were sampled from is not known; set "
            "objective.noise=drawn, or freeze a snapshot from candidates that this trainer sampled.",
        )
    return seed


def _stacked(items: list[Tensors], device: torch.device) -> Tensors:
    return {name: torch.stack([item[name] for item in items]).to(device) for name in items[0]}
