"""The rows of a step: which image, under which condition, at which noise and timestep, goes through the model.

One batch holds everything a (micro-)step needs, in the order win | lose | CAPO win | CAPO lose | SCPO partner | replay,
so that the policy needs one forward and the reference another (without the replay, which needs no reference).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from trainer.contract.config import ObjectiveConfig
from trainer.contract.errors import SnapshotError
from trainer.contract.snapshot import Pair, Winner
from trainer.data.crops import crop_and_scale, draw_windows
from trainer.data.source import TrainingData, to_mask, to_tensor
from trainer.noise import gaussian, generator, sampling_noise, timestep
from trainer.objectives.options import reason_weight

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone, Tensors


@dataclass(frozen=True)
class Row:
    """One sample: latents and noise [C,h,w], timestep, conditioning without batch axis, region [1,h,w]."""

    clean: Tensor
    noise: Tensor
    t: float
    condition: Tensors
    text: Tensors
    region: Tensor


@dataclass(frozen=True)
class Batch:
    """Rows stacked on the model's device; every tensor has the leading axis of rows."""

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
    parts = [part.tolist() for part in np.array_split(np.arange(pairs), count)]
    replays = [part.tolist() for part in np.array_split(np.arange(replay), count)]
    return [
        StepSlots(part if preferring else [], [s for s in part if s < capo], [s for s in part if s < scpo], rest)
        for part, rest in zip(parts, replays, strict=True)
    ]


class RowBuilder:
    """Builds batches from the snapshot's latents and the counter-based noise."""

    def __init__(self, data: TrainingData, backbone: Backbone, objective: ObjectiveConfig, seed: int) -> None:
        self._data = data
        self._backbone = backbone
        self._objective = objective
        self._seed = seed

    def build(self, step: int, pairs: list[Pair], slots: StepSlots) -> tuple[Batch, Layout]:
        """The batch of one forward; `pairs` are those of the whole step."""
        objective = self._objective
        chosen = [pairs[slot] for slot in slots.pairs]
        wins = [self._member(pair, pair.win, step) for pair in chosen]
        loses = [self._member(pair, pair.lose, step) for pair in chosen]
        capo_wins, capo_loses = self._crops([pairs[slot] for slot in slots.capo], step)
        partners = [self._partner(pairs[slot], step) for slot in slots.scpo]
        size = self._data.size(pairs[0].condition_id)
        replays = [
            self._replay(pairs[slot % len(pairs)] if objective.inpainting.winners == "same" else None, slot, step, size)
            for slot in slots.replay
        ]
        layout = self._layout(chosen, len(capo_wins), len(partners), len(replays))
        return self.stack([*wins, *loses, *capo_wins, *capo_loses, *partners, *replays]), layout

    def held_out(self, pairs: list[Pair]) -> tuple[Batch, Layout]:
        """Validation pairs at noise and timesteps that never change."""
        wins = [self._member(pair, pair.win, 0, "validation") for pair in pairs]
        loses = [self._member(pair, pair.lose, 0, "validation") for pair in pairs]
        return self.stack([*wins, *loses]), self._layout(pairs, 0, 0, 0)

    def _layout(self, pairs: list[Pair], capo: int, scpo: int, replay: int) -> Layout:
        weights = self._objective.reason_weights.model_dump()
        return Layout(
            len(pairs), capo, scpo, replay,
            p_win=torch.tensor([pair.p_win for pair in pairs]),
            weight=torch.tensor([reason_weight(pair.reasons, weights) for pair in pairs]),
        )  # fmt: skip

    def stack(self, rows: list[Row]) -> Batch:
        """Stack rows of one size on the model's device."""
        device = self._backbone.device
        clean = torch.stack([row.clean for row in rows]).to(device)
        noise = torch.stack([row.noise for row in rows]).to(device)
        t = torch.tensor([row.t for row in rows], dtype=torch.float32, device=device)
        return Batch(
            clean=clean,
            t=t,
            noisy=self._backbone.noisy(clean, noise, t),
            target=self._backbone.target(clean, noise, t),
            condition=_stacked([row.condition for row in rows], device),
            text=_stacked([row.text for row in rows], device),
            region=torch.stack([row.region for row in rows]).to(device),
        )

    def _noise(self, item: str, step: int, purpose: str, shape: torch.Size) -> tuple[Tensor, float]:
        objective = self._objective
        noise = gaussian(tuple(shape), self._seed, item, step, f"{purpose} noise")
        return noise, timestep(objective.t_min, objective.t_max, self._seed, item, step, f"{purpose} timestep")

    def _member(self, pair: Pair, path: str, step: int, purpose: str = "pair") -> Row:
        row = self._row(pair.condition_id, path, pair.pair_id, step, purpose)
        if self._objective.noise == "drawn" or purpose == "validation":
            return row
        seed = pair.win_seed if path == pair.win else pair.lose_seed
        if seed is None:
            raise SnapshotError(
                "seed_missing",
                f"pairs.parquet ({pair.pair_id}): the seed its candidates were sampled from is not known; set "
                "objective.noise=drawn, or freeze a snapshot from candidates that this trainer sampled.",
            )
        return replace(row, noise=sampling_noise(tuple(row.clean.shape), seed))

    def _row(self, condition_id: str, path: str, item: str, step: int, purpose: str) -> Row:
        data, clean = self._data, self._data.latent(path)
        noise, t = self._noise(item, step, purpose, clean.shape)
        return Row(clean, noise, t, data.condition(condition_id), data.text(condition_id), data.regions[condition_id])

    def _partner(self, pair: Pair, step: int) -> Row:
        """Another winner at the pair's own noise and timestep."""
        data = self._data
        random = generator(self._seed, "partner", pair.pair_id, step)
        own = [winner for winner in data.winners_of[pair.condition_id] if winner.image != pair.win]
        if own and self._objective.scpo.pairing != "cross_scene":
            winner = own[random.integers(len(own))]
        else:
            winner = self._any_winner(random, data.size(pair.condition_id), pair.condition_id)
        return self._row(winner.condition_id, winner.image, pair.pair_id, step, "pair")

    def _replay(self, pair: Pair | None, slot: int, step: int, size: tuple[int, int]) -> Row:
        data, replay, item = self._data, self._objective.inpainting, f"slot {slot}"
        if pair is None:
            winner = self._any_winner(generator(self._seed, "replay", item, step), size)
            condition_id, path = winner.condition_id, winner.image
        else:
            condition_id, path = pair.condition_id, pair.win
        clean = data.latent(path)
        noise = gaussian(tuple(clean.shape), self._seed, item, step, "replay noise")
        t = timestep(replay.t_min, replay.t_max, self._seed, item, step, "replay timestep")
        return Row(clean, noise, t, data.condition(condition_id), data.text(condition_id), data.regions[condition_id])

    def _any_winner(self, random: np.random.Generator, size: tuple[int, int], other_than: str | None = None) -> Winner:
        """A winner of the same size, of another condition where there is one."""
        data = self._data
        for _ in range(256):
            winner = data.winners[random.integers(len(data.winners))]
            if data.size(winner.condition_id) == size and winner.condition_id != other_than:
                return winner
        fitting = [winner for winner in data.winners if data.size(winner.condition_id) == size]
        return fitting[random.integers(len(fitting))]

    def _crops(self, pairs: list[Pair], step: int) -> tuple[list[Row], list[Row]]:
        """CAPO's rows: each member cropped by its own window, in pixels, then encoded."""
        if not pairs:
            return [], []
        data, config = self._data, self._objective.capo
        images, conditions, masks = [], [], []
        windows = [draw_windows(data.mask(p.condition_id), config, self._seed, p.pair_id, step) for p in pairs]
        for member in (0, 1):
            for pair, window in zip(pairs, windows, strict=True):
                path = pair.win if member == 0 or config.reading == "condition_only" else pair.lose
                whole = config.reading == "condition_only"
                images.append(data.pixels(path) if whole else crop_and_scale(data.pixels(path), window[member]))
                conditions.append(crop_and_scale(data.masked_pixels(pair.condition_id), window[member]))
                masks.append(crop_and_scale(data.mask(pair.condition_id), window[member]))
        latents = self._backbone.encode_images(to_tensor(images)).cpu()
        encoded = {
            name: value.cpu()
            for name, value in self._backbone.encode_condition(to_tensor(conditions), to_mask(masks)).items()
        }
        everything = torch.ones(1, *latents.shape[2:])
        rows = []
        for index, latent in enumerate(latents):
            pair = pairs[index % len(pairs)]
            noise, t = self._noise(pair.pair_id, step, "capo", latent.shape)
            condition = {name: value[index] for name, value in encoded.items()}
            rows.append(Row(latent, noise, t, condition, data.text(pair.condition_id), everything))
        return rows[: len(pairs)], rows[len(pairs) :]


def _stacked(items: list[Tensors], device: torch.device) -> Tensors:
    return {name: torch.stack([item[name] for item in items]).to(device) for name in items[0]}
