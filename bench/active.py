"""Votes needed until the true order of generators is found: active choice of matchups beside random pairing.

    python bench/active.py [--quick] [--generators N] [--seeds N]

Each seed draws true strengths and gives both ways of choosing the same voters. Votes come in batches, as between two
looks of the service at its votes; within a batch the matchups are drawn as the service draws them, the floor of random
choice included. The order is found once Kendall's tau between the posterior mean and the truth is 0.95 or more, and
stays so while as many votes again come in: a lucky moment is not counted.
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.judging.active import posterior, shares

TAU = 0.95
MOST_VOTES = 60_000


def tau(strengths: np.ndarray, truth: np.ndarray) -> float:
    """Kendall's, of strengths without ties."""
    first, second = np.triu_indices(len(truth), 1)
    agree = np.sign(strengths[first] - strengths[second]) * np.sign(truth[first] - truth[second])
    return float(agree.mean())


def votes_needed(
    truth: np.ndarray, seed: int, *, is_active: bool, batch: int, random_share: float, tie_rate: float
) -> int:
    """Votes until the order is found and stays; MOST_VOTES where it is not."""
    rng = np.random.default_rng(seed)
    count = len(truth)
    first, second = np.triu_indices(count, 1)
    wins = np.zeros((count, count))
    even = np.full(len(first), 1 / len(first))
    found, votes = 0, 0
    while votes < MOST_VOTES:
        chance = random_share * even + (1 - random_share) * shares(wins, first, second) if is_active else even
        drawn = rng.choice(len(first), size=batch, p=chance)
        i, j = first[drawn], second[drawn]
        won = rng.random(batch) < 1 / (1 + np.exp(truth[j] - truth[i]))
        tied = rng.random(batch) < tie_rate
        np.add.at(wins, (i, j), np.where(tied, 0.5, won))
        np.add.at(wins, (j, i), np.where(tied, 0.5, ~won))
        votes += batch
        found = (found or votes) if tau(posterior(wins).mean, truth) >= TAU else 0
        if found and votes >= 2 * found:
            return found
    return MOST_VOTES


def measure(given: argparse.Namespace) -> dict[str, Any]:
    needed: dict[str, list[int]] = {"active": [], "random": []}
    for seed in range(given.seeds):
        truth = np.random.default_rng(10_000 + seed).normal(0, given.spread, given.generators)
        for name, votes in needed.items():
            votes.append(
                votes_needed(
                    truth,
                    seed,
                    is_active=name == "active",
                    batch=given.batch,
                    random_share=given.random_share,
                    tie_rate=given.tie_rate,
                )
            )
    median = {name: float(np.median(votes)) for name, votes in needed.items()}
    ratios = np.array(needed["active"]) / np.array(needed["random"])
    return {
        "votes_active": median["active"],
        "votes_random": median["random"],
        "ratio_of_medians": round(median["active"] / median["random"], 3),
        "median_of_ratios": round(float(np.median(ratios)), 3),
        "seeds_won": int((ratios < 1).sum()),
        "not_found": {name: int(sum(v >= MOST_VOTES for v in votes)) for name, votes in needed.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="6 seeds.")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--generators", type=int, default=10)
    parser.add_argument("--spread", type=float, default=0.6, help="Standard deviation of the true strengths.")
    parser.add_argument("--batch", type=int, default=10, help="Votes between two looks.")
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
