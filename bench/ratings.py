"""Ratings of 20 generators from a million votes with 1,000 bootstraps, beside evalica on the same votes.

    python bench/ratings.py [--quick] [--votes N] [--generators N] [--rounds N]

The clock starts with the single votes in memory, as the database hands them out, and ends with ratings and 95 %
intervals: aggregation, fit and bootstrap are all in, with ties and with the advantage of the left side, as on the
leaderboard. The peer, where installed, does its own percentile
bootstrap of the same votes; where all rounds would outlast the time limit, its figure is scaled up and says so.
"""

import argparse
import json
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.preferences.bradley_terry import PairCounts, elo, fit
from backend.preferences.intervals import bootstrap, interval

# The peer's rounds are measured in full where a pilot says that they end within this, else scaled up from the pilot.
PEER_SECONDS = 60.0
PILOT_ROUNDS = 10
TIE = 0.5


def draw_votes(votes: int, generators: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Single votes of Davidson's model: rows (first, second, outcome 0 win, 1 loss, 2 tie) and the true strengths."""
    rng = np.random.default_rng(seed)
    strengths = rng.normal(0, 0.6, generators)
    first = rng.integers(0, generators, votes)
    second = (first + rng.integers(1, generators, votes)) % generators
    half = (strengths[first] - strengths[second]) / 2
    chances = np.stack([np.exp(half), np.exp(-half), np.full(votes, TIE)])
    edges = np.cumsum(chances / chances.sum(axis=0), axis=0)
    draw = rng.random(votes)
    outcome = (draw > edges[0]).astype(np.int64) + (draw > edges[1])
    return np.stack([first, second, outcome], axis=1), strengths - strengths.mean()


def aggregate(votes: np.ndarray, generators: int, *, sided: bool) -> PairCounts:
    """What the database's GROUP BY does: one line a pair, or, where sides are told, one each way round."""
    first, second, outcome = votes.T
    if not sided:
        swapped = first > second
        first, second = np.where(swapped, second, first), np.where(swapped, first, second)
        outcome = np.where(swapped & (outcome < 2), 1 - outcome, outcome)
    cells = np.bincount((first * generators + second) * 3 + outcome, minlength=3 * generators**2)
    table = cells.reshape(generators, generators, 3).astype(np.float64)
    left, right = np.nonzero(table.sum(axis=2))
    return PairCounts(generators, left, right, *table[left, right].T, sided=sided)


def measure_ours(votes: np.ndarray, generators: int, rounds: int) -> tuple[dict[str, Any], np.ndarray]:
    """Seconds by step and in all, and the strengths."""
    start, cpu = time.perf_counter(), time.process_time()
    counts = aggregate(votes, generators, sided=True)
    aggregated = time.perf_counter()
    best = fit(counts)
    fitted = time.perf_counter()
    low, high = interval(elo(bootstrap(counts, rounds=rounds, start=best).strengths))
    done = time.perf_counter()
    metrics = {
        "seconds": round(done - start, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "aggregate_seconds": round(aggregated - start, 3),
        "fit_seconds": round(fitted - aggregated, 4),
        "bootstrap_seconds": round(done - fitted, 3),
        "mean_interval_elo": round(float((high - low).mean()), 2),
    }
    return metrics, best.strengths


def measure_peer(votes: np.ndarray, generators: int, rounds: int, limit: float) -> dict[str, Any]:
    """evalica's percentile bootstrap of the same votes, and its agreement with ours where ties count half."""
    try:
        import evalica
    except ImportError:
        return {"name": "evalica", "missing": "not installed: pip install evalica"}
    xs, ys = votes[:, 0].tolist(), votes[:, 1].tolist()
    kinds = [evalica.Winner.X, evalica.Winner.Y, evalica.Winner.Draw]
    winners = [kinds[outcome] for outcome in votes[:, 2].tolist()]

    def seconds(resamples: int) -> tuple[float, float]:
        start, cpu = time.perf_counter(), time.process_time()
        evalica.bootstrap(
            evalica.bradley_terry, xs, ys, winners, n_resamples=resamples, bootstrap_method="percentile", random_state=0
        )
        return time.perf_counter() - start, time.process_time() - cpu

    pilot = min(PILOT_ROUNDS, rounds)
    measured, (spent, cpu_spent) = pilot, seconds(pilot)
    if measured < rounds and spent * rounds / pilot < limit:
        measured, (spent, cpu_spent) = rounds, seconds(rounds)
    start = time.perf_counter()
    fitted = evalica.bradley_terry(xs, ys, winners, tolerance=1e-12, limit=100_000)
    one_fit = time.perf_counter() - start
    theirs = np.log(fitted.scores.sort_index().to_numpy())
    ours = fit(aggregate(votes, generators, sided=False), ties="half", prior=0).strengths
    return {
        "name": "evalica",
        "version": version("evalica"),
        "fit_seconds": round(one_fit, 3),
        "rounds_measured": measured,
        "seconds_for_all_rounds": round(spent * rounds / measured, 1),
        "cpu_seconds_for_all_rounds": round(cpu_spent * rounds / measured, 1),
        "is_scaled_up": measured < rounds,
        "largest_difference_of_strengths": float(np.abs(ours - (theirs - theirs.mean())).max()),
    }


def machine() -> dict[str, Any]:
    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "missing"

    return {
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "numpy": installed("numpy"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="50,000 votes and 200 rounds; ends within 40 seconds.")
    parser.add_argument("--votes", type=int)
    parser.add_argument("--generators", type=int, default=20)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    votes_wanted = given.votes or (50_000 if given.quick else 1_000_000)
    rounds = given.rounds or (200 if given.quick else 1000)
    votes, truth = draw_votes(votes_wanted, given.generators, given.seed)
    metrics, strengths = measure_ours(votes, given.generators, rounds)
    metrics["largest_error_elo"] = round(float(np.abs(elo(strengths) - elo(truth)).max()), 2)
    peer = measure_peer(votes, given.generators, rounds, 8.0 if given.quick else PEER_SECONDS)
    print(
        json.dumps(
            {
                "name": "ratings",
                "votes": votes_wanted,
                "generators": given.generators,
                "rounds": rounds,
                "metrics": metrics,
                "peer": peer,
                "machine": machine(),
                "command": " ".join(["python", "bench/ratings.py", *sys.argv[1:]]),
            }
        )
    )


if __name__ == "__main__":
    main()
