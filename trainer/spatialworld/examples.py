"""Pictures of the three hallucinations for a project's guidelines: ``python -m trainer.spatialworld.examples``.

They are drawn from the geometry, not sampled, so that each shows its one error and nothing else.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image

from trainer.spatialworld.scenes import PLANS as SHARES
from trainer.spatialworld.scenes import Plan, Scene, condition_at, make_scene

PLANS: tuple[Plan, ...] = get_args(Plan)
EACH = 3
ENLARGED = 4
"""Drawn pixels a side of each of the world's: browsers would blur a 64-pixel picture."""
SEARCHED = 400
"""Scenes looked through for each plan; a dozen usually do."""


def examples_of(plan: Plan, seed: int, count: int = EACH) -> Iterator[Scene]:
    """Scenes with exactly the plan's error (or none), each of another kind of subject and in another light."""
    kinds: set[str] = set()
    lights: set[str] = set()
    found = 0
    for index in range(SEARCHED):
        condition = condition_at(seed, index, "both")
        spec = condition.spec
        if plan not in SHARES[spec.viewpoint]:
            continue
        scene = make_scene(condition, plan, np.random.default_rng([seed, index]))
        wanted = () if plan == "clean" else (plan,)
        # A light that came before may come again once half of the search has not found another.
        stale = scene.background.light in lights and index < SEARCHED // 2
        # What stands out least is passed over: a guideline shows the plain case.
        plain = abs(scene.truth.margin) >= 0.5 and spec.pixel_height >= 14 and scene.background.light != "night"
        if scene.truth.reasons != wanted or spec.kind in kinds or stale or not plain:
            continue
        kinds.add(spec.kind)
        lights.add(scene.background.light)
        yield scene
        found += 1
        if found == count:
            return


def write_examples(out: Path, seed: int) -> int:
    """Write PNGs and ``examples.jsonl`` (image, plan, prompt, reasons) to ``out``; returns how many."""
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for plan in PLANS:
        for number, scene in enumerate(examples_of(plan, seed)):
            image = Image.fromarray(scene.image)
            name = f"{plan}-{number}.png"
            image.resize((image.width * ENLARGED, image.height * ENLARGED), Image.Resampling.NEAREST).save(out / name)
            line = {"image": name, "plan": plan, "prompt": scene.condition.prompt, "reasons": list(scene.truth.reasons)}
            lines.append(json.dumps(line))
    (out / "examples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m trainer.spatialworld.examples", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args(argv)
    write_examples(arguments.out, arguments.seed)


if __name__ == "__main__":
    main()
