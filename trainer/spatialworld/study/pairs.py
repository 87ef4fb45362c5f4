"""From candidates to snapshots: simulated annotators, the choice of pairs, the frozen dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.contract.images import encode_png
from trainer.contract.snapshot import ConditionInput, PairInput, WinnerInput, write_snapshot
from trainer.spatialworld.scenes import Condition
from trainer.spatialworld.study.conditions import noise_seed
from trainer.spatialworld.study.pool import Candidates, pasted

HIGH_CONTRAST = "high_contrast"
LEAST_MARGIN = 0.5
"""Least |margin| of winner and loser of a high-contrast pair, in tolerances of the rule that decides."""
LEAST_ERROR = 0.02
"""Error rate that a posterior assumes at least: nobody is taken for infallible."""


@dataclass(frozen=True)
class PairRule:
    """How verdicts become pairs.

    Each candidate is judged by ``annotators``, each wrong with probability ``error``. ``choose`` is ``all``,
    ``high_contrast`` (clear winner against clear loser) or a reason (losers that break that rule and no other). A pair
    is taken where the votes make it at least ``sure`` that the winner is rational and the loser is not.
    """

    count: int
    error: float = 0.0
    annotators: int = 1
    choose: str = "all"
    sure: float = 0.0
    seed: int = 0


def annotate(candidates: Candidates, rule: PairRule) -> np.ndarray:
    """Posterior float [C, K] that a candidate is rational, from the simulated annotators' votes.

    The prior is the share of rational votes; what the judge can't tell counts as not rational.
    """
    rng = np.random.default_rng([rule.seed, 1])
    truth = candidates.rational == 1
    wrong = rng.random((rule.annotators, *truth.shape)) < rule.error
    votes = (truth[None] ^ wrong).sum(axis=0)
    prior = np.clip(votes.mean() / rule.annotators, 0.02, 0.98)
    error = max(rule.error, LEAST_ERROR)
    evidence = (2 * votes - rule.annotators) * np.log((1 - error) / error)
    return np.asarray(1 / (1 + np.exp(-evidence) * (1 - prior) / prior))


@dataclass(frozen=True)
class Chosen:
    """A pair by condition and draws, with the consensus that the winner is the better."""

    condition: int
    win: int
    lose: int
    p_win: float


def choose_pairs(candidates: Candidates, rule: PairRule) -> list[Chosen]:
    """At most ``rule.count`` pairs, drawn from all that the rule allows; a larger count keeps the smaller one's."""
    posterior = annotate(candidates, rule)
    found: list[Chosen] = []
    for condition in range(len(candidates)):
        for win, lose in _allowed(candidates, posterior, condition, rule):
            good, bad = posterior[condition, win], posterior[condition, lose]
            right, left = good * (1 - bad), bad * (1 - good)
            found.append(Chosen(condition, win, lose, float(np.clip(right / (right + left), 0.5, 1.0))))
    order = np.random.default_rng([rule.seed, 2]).permutation(len(found))
    return [found[index] for index in order[: rule.count]]


def _allowed(
    candidates: Candidates, posterior: np.ndarray, condition: int, rule: PairRule
) -> Iterator[tuple[int, int]]:
    """Winners and losers by the annotators' majority, as far as the rule takes them."""
    middle = 0.5
    for win in np.flatnonzero(posterior[condition] > middle):
        for lose in np.flatnonzero(posterior[condition] < middle):
            if posterior[condition, win] * (1 - posterior[condition, lose]) < rule.sure:
                continue
            margins = np.abs(candidates.margin[condition, [win, lose]])
            if rule.choose == HIGH_CONTRAST and margins.min() < LEAST_MARGIN:
                continue
            if rule.choose not in ("all", HIGH_CONTRAST) and candidates.reasons[condition, lose] != rule.choose:
                continue
            yield int(win), int(lose)


def freeze(folder: Path, rule: PairRule, conditions: Sequence[Condition], candidates: Candidates) -> int:
    """Write the pairs that the rule makes as a snapshot; returns how many there are.

    Winners are those of the chosen pairs alone, so that few pairs are few data for the replay too. Raises ValueError
    when the rule leaves no pair.
    """
    chosen = choose_pairs(candidates, rule)
    if not chosen:
        raise ValueError(f"No pair of these candidates fits the rule {rule.choose!r}: make more candidates.")
    images: dict[tuple[int, int], bytes] = {}

    def png(condition: int, draw: int) -> bytes:
        if (condition, draw) not in images:
            pixels = pasted(candidates.raw[condition, draw], conditions[condition])
            images[condition, draw] = encode_png(Image.fromarray(pixels))
        return images[condition, draw]

    pairs, winners = [], {}
    for pair in chosen:
        name = conditions[pair.condition].id
        win, lose = f"{name}-{pair.win}", f"{name}-{pair.lose}"
        reasons = tuple(word for word in str(candidates.reasons[pair.condition, pair.lose]).split(",") if word)
        good, bad = png(pair.condition, pair.win), png(pair.condition, pair.lose)
        seeds = [noise_seed("train", pair.condition, draw) for draw in (pair.win, pair.lose)]
        pairs.append(
            PairInput(
                f"{win}-{pair.lose}", name, good, bad, win, lose, pair.p_win, reasons,
                win_seed=seeds[0], lose_seed=seeds[1],
            )
        )  # fmt: skip
        winners[win] = WinnerInput(name, good, win, pair.p_win)
    write_snapshot(
        folder,
        name=folder.name,
        rules=asdict(rule),
        conditions=[_input(conditions[index]) for index in sorted({pair.condition for pair in chosen})],
        pairs=pairs,
        winners=list(winners.values()),
    )
    return len(chosen)


def _input(condition: Condition) -> ConditionInput:
    image, mask = (encode_png(Image.fromarray(pixels)) for pixels in (condition.image, condition.mask))
    subject = condition.subject.identity
    return ConditionInput(condition.id, subject, "train", condition.prompt, image, mask, condition.spec.to_json())
