"""How often the leaderboard's 95 % intervals hold the truth, on simulated votes whose truth is known.

    python bench/coverage.py [--quick] [--simulations N] [--rounds N]

Two worlds. In the first all annotators see alike, and the interval by votes should hold the truth 95 times in 100. In
the second each annotator has tastes of their own (strengths N(truth, 0.6²)) and leans to a side of their own; the
truth is then what very many such annotators' votes are fitted with, the interval by annotators should hold it, and
the interval by votes cannot. In both the left side is worth 0.3 and ties are common. Intervals are those of the page:
`backend.preferences.ratings.estimate`.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.preferences.bradley_terry import PairCounts, elo, fit
from backend.preferences.ratings import Estimate, estimate

PLAYERS = 6
ANNOTATORS = 24
VOTES_EACH = 90
SIDE, TIE = 0.3, 0.5
TASTE, LEAN = 0.6, 0.4
Rows = list[tuple[int, int, int, str, int]]


def ordered_pairs() -> tuple[np.ndarray, np.ndarray]:
    left, right = np.nonzero(~np.eye(PLAYERS, dtype=bool))
    return left, right


def chances(strengths: np.ndarray, side: np.ndarray) -> np.ndarray:
    """[annotators, ordered pairs, 3] of the left one winning, the right one, a tie; `strengths` is [annotators, n]."""
    left, right = ordered_pairs()
    half = (strengths[:, left] - strengths[:, right] + side[:, None]) / 2
    raw = np.stack([np.exp(half), np.exp(-half), np.full(half.shape, TIE)], axis=-1)
    return raw / raw.sum(axis=-1, keepdims=True)


def draw_rows(strengths: np.ndarray, side: np.ndarray, rng: np.random.Generator) -> Rows:
    """Votes (annotator, left, right, outcome, count) of as many annotators as there are lines of strengths."""
    left, right = ordered_pairs()
    shown = rng.multinomial(VOTES_EACH, np.full(len(left), 1 / len(left)), size=len(strengths))
    said = rng.multinomial(shown, chances(strengths, side))
    return [
        (who, int(left[pair]), int(right[pair]), ("a", "b", "tie")[outcome], int(said[who, pair, outcome]))
        for who, pair, outcome in zip(*np.nonzero(said), strict=True)
    ]


def population(truth: np.ndarray, rng: np.random.Generator, size: int = 100_000) -> np.ndarray:
    """Strengths that the votes of very many annotators with tastes around `truth` are fitted with."""
    own = truth + rng.normal(0, TASTE, (size, PLAYERS))
    mean = chances(own, SIDE + rng.normal(0, LEAN, size)).mean(axis=0)
    return fit(PairCounts(PLAYERS, *ordered_pairs(), *(mean.T * 1e7), sided=True)).strengths


def held(found: Estimate, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Which of the two intervals hold each player's true rating."""
    true = elo(truth)
    low, high = found.low_clustered, found.high_clustered
    assert low is not None and high is not None
    return {"votes": (found.low <= true) & (true <= found.high), "annotators": (low <= true) & (true <= high)}


def cover(simulations: int, rounds: int, *, effects: bool, seed: int) -> dict[str, float]:
    """Shares of simulations times players in which each interval holds the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 0.5, PLAYERS)
    target = population(truth, rng) if effects else truth - truth.mean()
    kept: dict[str, list[np.ndarray]] = {"votes": [], "annotators": []}
    for _ in range(simulations):
        own = truth + rng.normal(0, TASTE if effects else 0, (ANNOTATORS, PLAYERS))
        side = SIDE + rng.normal(0, LEAN if effects else 0, ANNOTATORS)
        rows = draw_rows(own, side, rng)
        for name, hits in held(estimate(PLAYERS, rows, rounds=rounds), target).items():
            kept[name].append(hits)
    return {name: round(float(np.mean(hits)), 4) for name, hits in kept.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 simulations of 200 rounds.")
    parser.add_argument("--simulations", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    simulations = given.simulations or (20 if given.quick else 200)
    rounds = given.rounds or (200 if given.quick else 1000)
    begun = time.perf_counter()
    alike = cover(simulations, rounds, effects=False, seed=given.seed)
    differing = cover(simulations, rounds, effects=True, seed=given.seed)
    metrics = {
        "alike_by_votes": alike["votes"],
        "alike_by_annotators": alike["annotators"],
        "differing_by_votes": differing["votes"],
        "differing_by_annotators": differing["annotators"],
        "seconds": round(time.perf_counter() - begun, 1),
    }
    command = " ".join(["python", "bench/coverage.py", *sys.argv[1:]])
    about = {"simulations": simulations, "rounds": rounds, "players": PLAYERS, "annotators": ANNOTATORS}
    print(
        json.dumps(
            {
                "name": "coverage",
                **about,
                "metrics": metrics,
                "peer": None,
                "machine": {"cpus": os.cpu_count()},
                "command": command,
            }
        )
    )


if __name__ == "__main__":
    main()
