"""Votes needed until the true order of generators is found: active choice of matchups beside random pairing.

    python bench/active.py [--quick] [--generators N] [--seeds N] [--campaigns N]

Each seed draws true strengths. Votes come in batches, as between two looks of the service at its votes, and each batch
is drawn by the shares that an earlier look gave: `--late` looks earlier, since what annotators hold at a look was drawn
before it. The floor of random choice is part of the draw.

The order is found once Kendall's tau between the posterior mean and the truth is 0.95 or more at every look until as
many votes again have come in: a lucky moment is not counted. `by_rule` gives the same runs by two other rules: `first`
counts to the first such look, lucky or not; `held_1000` to the first from which on it holds for 1,000 votes.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.judging.active import Tally, posterior, shares

TAU = 0.95
MOST_VOTES = 60_000
HELD = 1000
RULES = ("doubled", "first", "held_1000")


def tau(strengths: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Kendall's, of strengths [S,N] without ties: [S]."""
    first, second = np.triu_indices(truth.shape[1], 1)
    agree = np.sign(strengths[:, first] - strengths[:, second]) * np.sign(truth[:, first] - truth[:, second])
    return agree.mean(axis=1)


class Found:
    """When each of S orders was found, by each rule; MOST_VOTES where it was not."""

    def __init__(self, seeds: int) -> None:
        self.since = np.zeros(seeds, dtype=int)
        self.votes = {rule: np.full(seeds, MOST_VOTES) for rule in RULES}

    def look(self, seeds: np.ndarray, is_right: np.ndarray, votes: int) -> np.ndarray:
        """Takes down whether the orders of `seeds` are right after so many votes; the seeds that are not done yet."""
        since = np.where(is_right, np.where(self.since[seeds] > 0, self.since[seeds], votes), 0)
        self.since[seeds] = since
        holds = {"first": since > 0, "doubled": votes >= 2 * since, f"held_{HELD}": votes - since >= HELD}
        for rule, needed in self.votes.items():
            new = (since > 0) & holds[rule] & (needed[seeds] == MOST_VOTES)
            needed[seeds[new]] = since[new]
        return seeds[np.any([self.votes[rule][seeds] == MOST_VOTES for rule in RULES], axis=0)]


def votes_needed(truth: np.ndarray, given: argparse.Namespace, *, is_active: bool) -> dict[str, np.ndarray]:
    """{rule: votes [S]} of S campaigns, which run side by side until all are done."""
    rng = np.random.default_rng(given.first_seed)
    first, second = np.triu_indices(truth.shape[1], 1)
    win = 1 / (1 + np.exp(truth[:, second] - truth[:, first]))
    wins, ties = np.zeros((2, len(truth), truth.shape[1], truth.shape[1]))
    even = np.full(win.shape, 1 / len(first))
    aims = deque([even] * (given.late + 1), maxlen=given.late + 1)
    found, seeds, votes = Found(len(truth)), np.arange(len(truth)), 0
    while votes < MOST_VOTES and len(seeds):
        drawn = rng.multinomial(given.batch, aims[0][seeds])
        tied = rng.binomial(drawn, given.tie_rate)
        won = rng.binomial(drawn - tied, win[seeds])
        here, i, j = seeds[:, None], first, second
        wins[here, i, j] += won + tied / 2
        wins[here, j, i] += drawn - won - tied / 2
        ties[here, i, j] += tied
        ties[here, j, i] += tied
        votes += given.batch
        so_far = Tally(wins[seeds], ties[seeds])
        aim = even.copy()
        if is_active:
            aim[seeds] = given.random_share * even[seeds] + (1 - given.random_share) * shares(so_far, first, second)
        aims.append(aim)
        seeds = found.look(seeds, tau(posterior(so_far).mean, truth[seeds]) >= TAU, votes)
    return found.votes


def compare(active: np.ndarray, even: np.ndarray) -> dict[str, Any]:
    """Of votes [seeds, campaigns]: medians, their ratio and its 95 % interval when seeds are drawn again."""
    again = np.random.default_rng(0).integers(0, len(active), (2000, len(active)))
    ratios = np.median(active[again], axis=(1, 2)) / np.median(even[again], axis=(1, 2))
    return {
        "votes_active": float(np.median(active)),
        "votes_random": float(np.median(even)),
        "ratio_of_medians": round(float(np.median(active) / np.median(even)), 3),
        "ratio_95": [round(float(x), 3) for x in np.percentile(ratios, [2.5, 97.5])],
        "ratio_by_campaign": [round(float(x), 3) for x in np.median(active, axis=0) / np.median(even, axis=0)],
        "active_won": round(float((active < even).mean()), 3),
        "not_found_active": round(float((active >= MOST_VOTES).mean()), 3),
        "not_found_random": round(float((even >= MOST_VOTES).mean()), 3),
    }


def measure(given: argparse.Namespace) -> dict[str, Any]:
    drawn = [np.random.default_rng(given.first_seed + seed) for seed in range(given.seeds)]
    truth = np.array([rng.normal(0, given.spread, given.generators) for rng in drawn])
    truth = np.repeat(truth, given.campaigns, axis=0)
    active, even = (votes_needed(truth, given, is_active=is_active) for is_active in (True, False))
    shape = (given.seeds, given.campaigns)
    rules = {rule: compare(active[rule].reshape(shape), even[rule].reshape(shape)) for rule in RULES}
    return {**rules.pop("doubled"), "by_rule": rules}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="6 seeds.")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--first-seed", type=int, default=10_000, help="Of the true strengths.")
    parser.add_argument("--campaigns", type=int, default=1, help="How often each order is looked for, by other votes.")
    parser.add_argument("--generators", type=int, default=10)
    parser.add_argument("--spread", type=float, default=0.6, help="Standard deviation of the true strengths.")
    parser.add_argument("--batch", type=int, default=30, help="Votes between two looks.")
    parser.add_argument("--late", type=int, default=1, help="By how many looks a draw is behind.")
    parser.add_argument("--random-share", type=float, default=0.1, help="The floor of random choice.")
    parser.add_argument("--tie-rate", type=float, default=0.15, help="Part of votes that are ties.")
    given = parser.parse_args()
    given.seeds = given.seeds or (6 if given.quick else 50)
    began = time.perf_counter()
    metrics = measure(given)
    print(
        json.dumps(
            {
                "name": "active",
                "metrics": metrics,
                "seeds": given.seeds,
                "campaigns": given.campaigns,
                "generators": given.generators,
                "seconds": round(time.perf_counter() - began, 1),
                "peer": {"name": "random pairing", "votes": metrics["votes_random"]},
                "machine": {
                    "cpus": os.cpu_count(),
                    "load": round(os.getloadavg()[0], 1),
                    "python": platform.python_version(),
                    "numpy": np.__version__,
                },
                "command": " ".join(["python", "bench/active.py", *sys.argv[1:]]),
            }
        )
    )


if __name__ == "__main__":
    main()
