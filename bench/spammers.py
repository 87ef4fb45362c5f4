"""Spammers among simulated annotators: how many of them the quality page marks, and how many it marks wrongly.

    python bench/spammers.py [--quick] [--trials N] [--honest N] [--spammers N] [--units N] [--each N]

Honest annotators name the better of two images with a probability between 0.75 and 0.95 and call a fifth even.
Spammers guess, press one side, call all even, or answer at random in a third of a second. Nothing but the votes and
their times is known to the assessment, which is the one of the quality page.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.preferences.annotators import OUTCOMES, Answers, assess

KINDS = ("guesses", "one side", "all even", "hurries")
TIE = OUTCOMES.index("tie")


def simulate(*, honest: int, spammers: int, units: int, each: int, seed: int) -> tuple[Answers, list[str | None]]:
    """Answers of `each` annotators a unit, and each annotator's kind: null for an honest one."""
    rng = np.random.default_rng(seed)
    size = honest + spammers
    kinds: list[str | None] = [None] * honest + [KINDS[k % len(KINDS)] for k in range(spammers)]
    accuracy = rng.uniform(0.75, 0.95, size)
    who = np.concatenate([rng.permutation(size)[:each] for _ in range(units)])
    unit = np.repeat(np.arange(units), each)
    first_is_left = rng.random(len(who)) < 0.5
    truth = rng.random(units) < 0.5
    prefers_first = np.where(rng.random(len(who)) < accuracy[who], truth[unit], ~truth[unit])
    even = rng.random(len(who)) < 0.2
    seconds = rng.lognormal(2, 0.5, len(who))
    kind = np.array([KINDS.index(one) if one else -1 for one in kinds])[who]
    guess = (kind == KINDS.index("guesses")) | (kind == KINDS.index("hurries"))
    prefers_first = np.where(guess, rng.random(len(who)) < 0.5, prefers_first)
    sided = kind == KINDS.index("one side")
    prefers_first, even = np.where(sided, first_is_left, prefers_first), even & ~sided
    even |= (kind == KINDS.index("all even")) & (rng.random(len(who)) < 0.9)
    seconds = np.where(kind == KINDS.index("hurries"), seconds / 6, seconds)
    nothing = np.zeros(size, dtype=np.int64)
    outcome = np.where(even, TIE, np.where(prefers_first, 0, 1))
    return Answers(size, who, unit, outcome, first_is_left, who, seconds, nothing, nothing, nothing, nothing), kinds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10 trials instead of 100.")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--honest", type=int, default=16)
    parser.add_argument("--spammers", type=int, default=4)
    parser.add_argument("--units", type=int, default=500)
    parser.add_argument("--each", type=int, default=3, help="Annotators a unit.")
    given = parser.parse_args()
    trials = given.trials or (10 if given.quick else 100)
    found: Counter[str] = Counter()
    marked = right = 0
    begun = time.perf_counter()
    for seed in range(trials):
        answers, kinds = simulate(
            honest=given.honest, spammers=given.spammers, units=given.units, each=given.each, seed=seed
        )
        for kind, one in zip(kinds, assess(answers)[0], strict=True):
            marked += bool(one.doubts)
            right += bool(one.doubts and kind)
            found[kind or "honest"] += bool(one.doubts)
    of_each = trials * given.spammers / len(KINDS)
    metrics = {
        "precision": round(right / max(marked, 1), 4),
        "recall": round(right / (trials * given.spammers), 4),
        "found_by_kind": {kind: round(found[kind] / of_each, 4) for kind in KINDS},
        "honest_marked": round(found["honest"] / (trials * given.honest), 4),
        "votes_each": round(given.units * given.each / (given.honest + given.spammers), 1),
        "seconds_each_trial": round((time.perf_counter() - begun) / trials, 3),
    }
    command = " ".join(["python", "bench/spammers.py", *sys.argv[1:]])
    print(
        json.dumps(
            {
                "name": "spammers",
                "trials": trials,
                "metrics": metrics,
                "peer": None,
                "machine": {"cpus": os.cpu_count()},
                "command": command,
            }
        )
    )


if __name__ == "__main__":
    main()
