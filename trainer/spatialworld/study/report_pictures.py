"""The report's plots and sheets, from results.json and the images that the cells kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.contract.files import write_durably
from trainer.spatialworld.study import plots
from trainer.spatialworld.study.arms import ARMS, BASE
from trainer.spatialworld.study.conditions import conditions_for
from trainer.spatialworld.study.measures import SHARES, TITLES
from trainer.spatialworld.study.pairs import HIGH_CONTRAST
from trainer.spatialworld.study.plan import DATA_ARM, LABEL_ANNOTATORS, LABEL_ERROR
from trainer.spatialworld.study.results import KEPT
from trainer.spatialworld.study.scale import Study
from trainer.spatialworld.study.sheets import arms_sheet, base_gallery, load_images
from trainer.spatialworld.study.tasks import ARMS_GROUP, candidates, pool_tasks

Json = Mapping[str, Any]
SAMPLES, GALLERY = "samples.webp", "gallery.webp"
NAMES = {BASE: "base", **{arm.name: arm.title for arm in ARMS}}
ACROSS = {
    "pairs": "pairs trained on", "error": "annotators' error in per cent", "choice": "which pairs",
    "labels": f"labels, where annotators err in {100 * LABEL_ERROR:.0f} per cent",
}  # fmt: skip
ORDERED = ("pairs", "error")
"""Questions whose answers are numbers."""
ANSWERS = {
    "hard": f"majority of {LABEL_ANNOTATORS}", "soft": f"soft, of {LABEL_ANNOTATORS}",
    "sure": f"pairs on which {LABEL_ANNOTATORS} agree",
}  # fmt: skip


def draw_pictures(study: Study, result: Json, folder: Path) -> list[str]:
    """Write them to the folder; returns the names of their files."""
    return [*_plots(result, folder), *_sheets(study, result, folder)]


def _plots(result: Json, folder: Path) -> list[str]:
    arms, made = result["arms"], []
    base = arms.get(BASE)
    for measure in ("rational", "coherence", "foreground_error", "diversity", "d_win", "elo"):
        points = [_point(NAMES[name], found[measure]) for name, found in arms.items() if measure in found]
        if len(points) < 2:
            continue
        reference = base[measure]["mean"] if base and measure in base else None
        svg = plots.rows(
            f"{TITLES[measure]}, 95 % intervals (dashed: base)", points, percent=measure in SHARES, reference=reference
        )
        made.append(_write(folder / f"{measure}.svg", svg))
    for question, variants in result["data"].items():
        points = [_point(value, found["rational"]) for value, found in with_main(result, question, variants)]
        if len(points) > 1:
            reference = base["rational"]["mean"] if base else None
            svg = plots.curve(
                f"rational by {ACROSS[question]}", ACROSS[question], points, question in ORDERED, reference=reference
            )
            made.append(_write(folder / f"data-{question}.svg", svg))
    return made


def with_main(result: Json, question: str, variants: Json) -> list[tuple[str, Json]]:
    """A question's answers in order, with the arm of the main part where it is one of them."""
    found = list(variants.items())
    main = result["arms"].get(DATA_ARM)
    if main:
        main = {**main, "kept": result["kept"].get(DATA_ARM, {}).get(KEPT)}
    if main and question == "pairs":
        found = sorted([*found, (str(result["pairs"]), main)], key=lambda item: int(item[0]))
    elif main and question == "error":
        found = [("0", main), *sorted(found, key=lambda item: int(item[0]))]
    elif question == "labels":
        same = result["data"].get("error", {}).get(f"{100 * LABEL_ERROR:.0f}")
        found = [(ANSWERS[label], item) for label, item in found]
        found = [*([("of one", same)] if same else []), *found]
    elif question == "choice" and found:
        same = [item for item in result["data"].get("pairs", {}).values() if item["pairs"] == found[0][1]["pairs"]]
        found += [(HIGH_CONTRAST, item) for item in same]
    return found


def _point(label: str, found: Json) -> plots.Point:
    return plots.Point(label, found["mean"], found["low"], found["high"])


def _write(path: Path, text: str) -> str:
    write_durably(path, text.encode())
    return path.name


def _sheets(study: Study, result: Json, folder: Path) -> list[str]:
    made, rows = [], []
    shown = [BASE, *(arm.name for arm in ARMS if arm.group == "main")]
    for name in (name for name in result["arms"] if name in shown):
        kept = load_images(study.cell(ARMS_GROUP, name, study.scale.seeds[0]) / "images.npz")
        if kept is not None:
            rows.append((NAMES[name], *kept))
    if rows:
        conditions = conditions_for("test", study.scale.test_conditions)[: len(rows[0][1])]
        arms_sheet(rows, conditions).save(folder / SAMPLES, quality=92, method=6)
        made.append(SAMPLES)
    if all(task.done(study) for task in pool_tasks(study, "test")):
        found = candidates(study, "test")
        base_gallery(found, conditions_for("test", len(found))).save(folder / GALLERY, quality=92, method=6)
        made.append(GALLERY)
    return made
