"""Write the report: results.json, study.md, plots and sheets. Every number in the text is read from results.json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.contract.files import write_durably
from trainer.spatialworld.geometry import REASONS
from trainer.spatialworld.study.arms import ARMS, BASE
from trainer.spatialworld.study.expectations import share_words, where_of
from trainer.spatialworld.study.measures import DIVERSITIES, LARGE, SHARES, TITLES
from trainer.spatialworld.study.plan import DATA_ARM
from trainer.spatialworld.study.report_pictures import ACROSS, GALLERY, NAMES, SAMPLES, draw_pictures, with_main
from trainer.spatialworld.study.results import ANNOTATOR_ERROR, COMPARED_MEASURES, collect
from trainer.spatialworld.study.scale import Study

Json = Mapping[str, Any]
GROUPS = {
    "main": "The objectives", "readings": "Other readings",
    "windows": "Timestep window and replay", "compute": "Equal compute", "early": "Before the plateau",
    "options": "Beyond the abstract",
}  # fmt: skip


def write_report(study: Study, out: Path, command: str) -> Path:
    """Write ``out/study.md``, ``out/study/results.json`` and the pictures beside it; returns study.md.

    What is not finished is left out and the report says so.
    """
    result = collect(study, command)
    pictures = out / "study"
    pictures.mkdir(parents=True, exist_ok=True)
    write_durably(pictures / "results.json", (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    made = draw_pictures(study, result, pictures)
    text = "\n\n".join(_parts(result, made)) + "\n"
    write_durably(out / "study.md", text.encode())
    return out / "study.md"


def _parts(result: Json, made: Sequence[str]) -> Iterable[str]:
    yield "# Does it work? The method measured in SpatialWorld"
    yield _preface(result)
    if result["expected"]:
        yield "## What was expected, and what came out"
        yield _table(
            ["expected", "found", ""],
            [[row["what"], row["found"], "yes" if row["holds"] else "**no**"] for row in result["expected"]],
        )
    for group, title in GROUPS.items():
        names = [arm.name for arm in ARMS if arm.group == group and arm.name in result["arms"]]
        if names:
            yield f"## {title}"
            for columns in TABLES:
                yield _arms_table(result, [BASE, *names] if group == "main" else names, columns)
    yield from (_picture(name) for name in made if not name.startswith(("data-", "samples", "gallery")))
    if result["differences"]:
        yield "## Differences"
        yield (
            "The first minus the second on the same conditions, noise and training seeds, so the intervals are paired. "
            "An interval that holds 0 shows no difference."
        )
        yield _differences_table(result)
        yield "## What is kept of the base's diversity"
        yield _kept_table(result["kept"])
        yield "## Intervals over subjects"
        yield _by_subject(result)
    if result["conflict"]:
        yield "## The foreground's part of DPO's gradient"
        yield CONFLICT_TEXT
        yield _conflict_table(result["conflict"])
    if result["data"]:
        yield "## Data questions"
        yield f"Asked with {NAMES[DATA_ARM]} at its chosen settings, {_seeds(result['sizes']['data_seeds'])}."
        yield _data_table(result)
        yield from (_picture(name) for name in made if name.startswith("data-"))
    if any(found["arms"] for found in result["terms"].values()):
        yield "## Where pairs are few or wrong"
        yield (
            "With many right pairs the arms meet at what the base knows. Here each is trained on other ones, at the "
            f"settings it chose on those, {_seeds(result['sizes']['data_seeds'])}. Rational images, then paired "
            "differences of them:"
        )
        yield _terms_table(result)
    yield "## Settings"
    yield _settings(result)
    if SAMPLES in made:
        yield "## Images side by side"
        yield "Equal conditions and equal noise in a column; green frame: rational, red: not, yellow: can't tell."
        yield _picture(SAMPLES)
    yield "## The judge"
    yield _judge(result)
    if GALLERY in made:
        yield _picture(GALLERY)
    yield "## How it was made"
    yield _circumstances(result)


def _picture(name: str) -> str:
    return f"![{name.rsplit('.', 1)[0]}](study/{name})"


def _preface(result: Json) -> str:
    sizes = result["sizes"]
    words = (
        f"Written by `{result['command']}` from `study/results.json`. {len(result['arms'])} arms, "
        f"{_seeds(sizes['seeds'])}, {result['pairs']} high-contrast pairs by the exact judge from "
        f"{sizes['conditions']} conditions with {sizes['pool_draws']} candidates each, {sizes['steps']} steps of "
        f"{sizes['pairs_per_step']} pairs, LoRA of rank {sizes['rank']}. Measured on {sizes['test_conditions']} "
        f"conditions of held-out subjects, {sizes['draws']} images each, {sizes['sampling_steps']} sampling steps. "
        f"A large subject covers at least {100 * LARGE:.0f} % of the image. "
        "Intervals are 95 %, by resampling conditions and training seeds. The objectives are our reading of the paper."
    )
    if not result["complete"]:
        words += "\n\n**This study is not finished**: arms and seeds that are missing here have not been trained yet."
    return words


def _seeds(seeds: Sequence[int]) -> str:
    return "one seed" if len(seeds) == 1 else f"{len(seeds)} seeds"


TABLES = (
    ("rational", "rational_level", "rational_top", "rational_large", *REASONS, "cant_tell", "elo"),
    (
        "foreground_error",
        "expansion",
        "coherence",
        "text",
        "diversity",
        "open_diversity",
        "rational_diversity",
        "d_win",
        "d_lose",
    ),
)
"""What is wanted, and what must not be paid for it."""


def _arms_table(result: Json, names: Sequence[str], wanted: Sequence[str]) -> str:
    columns = [name for name in wanted if any(name in result["arms"].get(arm, {}) for arm in names)]
    head = ["arm", *(TITLES[name] for name in columns)]
    body = [
        [NAMES[arm], *(_cell(result["arms"][arm].get(name), name) for name in columns)]
        for arm in names
        if arm in result["arms"]
    ]
    return _table(head, body)


def _cell(found: Json | None, measure: str) -> str:
    if not found or not found["n"]:
        return "–"
    unit = " %" if measure in SHARES else ""
    return (
        f"{_value(found['mean'], measure)}{unit} ({_value(found['low'], measure)} … {_value(found['high'], measure)})"
    )


def _value(value: float, measure: str) -> str:
    if measure in SHARES:
        return f"{100 * value:.1f}"
    return f"{value:.0f}" if measure == "elo" else f"{value:.4f}"


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _by_subject(result: Json) -> str:
    found = result["by_subject"]
    words = (
        f"The held-out conditions show {found['subjects']} subjects, and what the images of one have in common says "
        "nothing of the next. Here whole subjects are resampled with all their conditions, beside the intervals above. "
        "Rational images:"
    )
    main = [BASE, *(arm.name for arm in ARMS if arm.group in ("main", "compute", "early"))]
    body = [
        [NAMES[arm], _cell(result["arms"][arm]["rational"], "rational"), _cell(estimate, "rational")]
        for arm, estimate in found["arms"].items()
        if arm in main
    ]
    body += [
        [_pair(pair), _cell(result["differences"][pair]["rational"], "rational"), _cell(estimate, "rational")]
        for pair, estimate in found["differences"].items()
        if set(pair.split(" - ")) <= set(main)
    ]
    return f"{words}\n\n{_table(['', 'over conditions', 'over subjects'], body)}"


def _pair(pair: str) -> str:
    one, _, other = pair.partition(" - ")
    return f"{NAMES[one]} − {NAMES[other]}"


def _differences_table(result: Json) -> str:
    body = [
        [_pair(pair), *(_cell(found.get(measure), measure) for measure in COMPARED_MEASURES)]
        for pair, found in result["differences"].items()
    ]
    return _table(["", *(TITLES[measure] for measure in COMPARED_MEASURES)], body)


def _kept_table(kept: Json) -> str:
    words = (
        "Mean by mean, over the conditions and seeds on which both have one; how many is said behind. The tables above "
        "hold unlike against unlike where images are rational: the base has two such images on few conditions."
    )
    body = [
        [NAMES[arm], *(f"{_kept_cell(found[measure])}, {found[measure]['n']}" for measure in DIVERSITIES)]
        for arm, found in kept.items()
    ]
    return f"{words}\n\n{_table(['arm', *(TITLES[measure] for measure in DIVERSITIES)], body)}"


def _kept_cell(found: Json | None) -> str:
    return share_words(found) if found and found["n"] else "–"


CONFLICT_TEXT = (
    "Winner and loser share the foreground, so Diffusion-DPO pulls one and the same target both ways there, and "
    "MaskDPO leaves these pulls out. Gradients of the margin by all weights of the base, on held-out pairs, medians: "
    "how much of the foreground's two pulls is left after they have cancelled, what that weighs against the "
    "background's part, and the cosine of Diffusion-DPO's gradient with MaskDPO's. Where it is 1, the two do the same."
)


def _conflict_table(found: Sequence[Json]) -> str:
    body = [
        [f"{row['t_min']:g} to 1", row["subjects"], str(row["pairs"]), f"{100 * row['share']:.0f} %",
         f"{100 * row['left']:.0f} %", f"{100 * row['weight']:.1f} %", f"{row['alike']:.4f}"]
        for row in found
    ]  # fmt: skip
    head = ["t", "subjects", "pairs", "foreground's area", "left of its pulls", "against the background's", "cosine"]
    return _table(head, body)


def _data_table(result: Json) -> str:
    body = []
    for question, variants in result["data"].items():
        for value, found in with_main(result, question, variants):
            pairs = found.get("pairs", "as above")
            body.append(
                [ACROSS[question], value, str(pairs), _cell(found["rational"], "rational"),
                 _cell(found["diversity"], "diversity"), _kept_cell(found.get("kept"))]
            )  # fmt: skip
    head = ["question", "answer", "pairs", "rational", "diversity", "kept of the base's among rational"]
    return _table(head, body)


def _terms_table(result: Json) -> str:
    found = {where_of(name): terms for name, terms in result["terms"].items() if terms["arms"]}
    usual = {"arms": result["arms"], "differences": result["differences"]}
    columns = {**found, f"{result['pairs']} right pairs": usual}
    body = [
        [label(name), *(_cell(column[part].get(name, {}).get("rational"), "rational") for column in columns.values())]
        for part, label in (("arms", NAMES.__getitem__), ("differences", _pair))
        for name in next(iter(found.values()))[part]
    ]
    return _table(["", *columns], body)


def _settings(result: Json) -> str:
    tuning, compute = result["tuning"], result["compute"]
    words = [
        f"Every tuned arm tried {result['sizes']['trials']} settings for {tuning['trial_steps']} steps, measured on "
        f"{result['sizes']['trial_conditions']} conditions of subjects that are neither trained nor tested on; arms "
        "that vary another one take its settings. Share of rational images by trial:"
    ]
    trials = [
        [NAMES[arm], _keys(trial["settings"]), "–" if trial["rational"] < 0 else f"{100 * trial['rational']:.1f} %"]
        for arm, found in tuning["trials"].items()
        for trial in found
    ]
    words.append(_table(["arm", "settings", "rational"], trials))
    words.append(f"Used, and what it cost. Cost is counted in {compute['unit']}; seconds are a worker's, of all steps.")
    used = []
    for arm, settings in tuning["used"].items():
        if arm in compute["arms"]:
            cost = compute["arms"][arm]
            rest = {key: value for key, value in settings.items() if key != "steps"}
            used.append(
                [NAMES[arm], str(cost["steps"]), f"{cost['step_cost']:.0f}", f"{cost['cost'] / 1000:.1f} k",
                 f"{cost['train_seconds']:.0f}", _keys(rest)]
            )  # fmt: skip
    words.append(_table(["arm", "steps", "cost of a step", "cost", "seconds", "keys"], used))
    return "\n\n".join(words)


def _keys(settings: Json) -> str:
    return ", ".join(
        f"`{key.removeprefix('objective.').removeprefix('optimizer.')}={value}`" for key, value in settings.items()
    )


def _judge(result: Json) -> str:
    judge = result["judge"]
    if not judge:
        return "The judge has not been checked yet."
    by_plan = ", ".join(f"{plan} {100 * found['agreement']:.1f} %" for plan, found in judge["by_plan"].items())
    apart = judge["diversity"]
    return (
        f"Against the geometry that {judge['scenes']} fresh scenes were drawn with, verdict and all reasons agree in "
        f"{100 * judge['agreement']:.2f} % (by what was broken: {by_plan}); {judge['cant_tell']} times it could not "
        f"tell. Two drawn scenes of one test condition differ by {apart['rational']:.4f} if both are rational and by "
        f"{apart['mixture']:.4f} if both come from the mixture that the base was trained on: so much diversity is "
        f"hallucination, and goes with it.{_drawn_boundaries(judge)} Ratings are Bradley-Terry on votes of simulated "
        "annotators who turn "
        f"{ANNOTATOR_ERROR:.0%} of the judge's verdicts round, the base at 1000. The judge's known errors are in "
        "`spatialworld.md`."
    )


def _drawn_boundaries(judge: Json) -> str:
    if "coherence" not in judge:  # a study begun before it was measured
        return ""
    found = judge["coherence"]
    return (
        f" The boundary of a drawn rational scene has a coherence of {found['drawn']:.4f}, and of "
        f"{found['autoencoded']:.4f} once it went through the autoencoder: softer edges than a subject's own lie above."
    )


def _circumstances(result: Json) -> str:
    hardware = result["hardware"]
    return (
        f"`{result['command']}` on {hardware['device']} ({hardware['cores']} cores, {hardware['workers']} workers, "
        f"{hardware['system']}), Python {result['versions']['python']}, torch {result['versions']['torch']}; "
        f"{result['seconds'] / 60:.0f} minutes in all; commit {result['commit'] or 'unknown'}; base `{result['base']}`."
    )
