"""Parts of a run's page, in the words and units a person reads."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.orm import Session

from backend.catalogue.models import Generator
from backend.training import charts, repository, views
from backend.training.configs import COMMON_FIELDS, known_recipe, value_at
from backend.training.models import Attempt, Run
from backend.training.schemas import CurvesOut, Series
from backend.training.words import OUTCOME_WORDS, duration_words
from trainer.contract.config import RunConfig

REASON_WORDS = {"scale": "scale", "position": "position", "viewpoint": "viewpoint", "other": "other"}


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a run was made of and what it made."""

    parent: Generator | None
    child: Generator | None
    pairs: int
    judgments: int


def lineage(session: Session, run: Run) -> Lineage:
    ids = [run.parent_generator_id, *([run.generator_id] if run.generator_id else [])]
    found = repository.generators_by_id(session, ids)
    counts = run.snapshot.counts
    return Lineage(
        parent=found.get(run.parent_generator_id),
        child=found.get(run.generator_id) if run.generator_id else None,
        pairs=counts.get("train_pairs", counts.get("pairs", 0)),
        judgments=counts.get("judgments", 0),
    )


def generators_of(session: Session, runs: Iterable[Run]) -> dict[int, Generator]:
    ids = {value for run in runs for value in (run.parent_generator_id, run.generator_id) if value}
    return repository.generators_by_id(session, ids)


def chart_specs() -> list[dict[str, Any]]:
    """The charts for the page's script."""
    return [asdict(chart) for chart in charts.CHARTS]


@dataclass(frozen=True, slots=True)
class Fact:
    label: str
    value: str
    note: str = ""


def settings(run: Run) -> list[Fact]:
    """The settings people change most, as this run has them, each with the recipe's where it differs."""
    config = RunConfig.model_validate(run.config)
    recipe = known_recipe(run.recipe).make()
    facts = []
    for common in COMMON_FIELDS:
        mine, theirs = value_at(config, common.key), value_at(recipe, common.key)
        note = "" if mine == theirs else f"recipe: {charts.number_words(theirs)}"
        facts.append(Fact(common.label, charts.number_words(mine), note))
    return facts


def megabytes(size: float) -> str:
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB"


@dataclass(frozen=True, slots=True)
class Cost:
    """One line of plan against measured."""

    label: str
    planned: str
    measured: str


def cost(session: Session, run: Run, curves: CurvesOut) -> list[Cost]:
    """What the trainer expected beside what it saw; empty before it said what it expects."""
    event = repository.last_event(session, run.id, ("plan",))
    plan: dict[str, Any] = event.body.get("values", {}) if event else {}
    last = {series.name: series.values for series in curves.series if series.source == "metrics"}
    lines = []
    if "epochs" in plan:
        pairs_a_step = run.config["training"]["pairs_per_step"]
        done = run.step * pairs_a_step / max(plan.get("train_pairs", 1.0), 1.0)
        lines.append(Cost("Passes over the pairs", charts.number_words(plan["epochs"]), charts.number_words(done)))
    if "frozen_bytes" in plan:
        planned = plan["frozen_bytes"] + plan.get("trained_bytes", 0.0)
        peak = last.get("peak_memory_bytes")
        lines.append(
            Cost("Memory", f"{megabytes(planned)} of weights", f"{megabytes(max(peak))} at the peak" if peak else "–")
        )
    if "trainable_parameters" in plan:
        lines.append(Cost("Trained parameters", f"{plan['trainable_parameters']:,.0f}", "–"))
    if seconds := last.get("seconds_per_step"):
        mean = sum(seconds) / len(seconds)
        speed = last.get("pairs_per_second", [])
        rate = f"{charts.number_words(speed[-1])} pairs a second" if speed else ""
        lines.append(Cost("Time a step", "–", f"{mean:.2f} s{f', {rate}' if rate else ''}"))
    if run.started_at and run.finished_at:
        whole = (run.finished_at - run.started_at).total_seconds()
        lines.append(Cost("Time in all", "–", duration_words(whole)))
    return lines


@dataclass(frozen=True, slots=True)
class SampleStep:
    """The sample grid after one step."""

    step: int
    images: list[dict[str, Any]]
    summary: str


def samples(session: Session, run: Run) -> list[SampleStep]:
    grid = views.sample_grid(session, run.id)
    return [SampleStep(step, images, views.rational_share(images)) for step, images in sorted(grid.items())]


@dataclass(frozen=True, slots=True)
class AttemptLine:
    attempt: Attempt
    outcome: str
    duration: str
    steps: str


def attempts(session: Session, run: Run) -> list[AttemptLine]:
    lines = []
    for attempt in repository.attempts(session, run.id):
        ended = attempt.ended_at
        seconds = (ended - attempt.started_at).total_seconds() if ended else None
        steps = "–" if attempt.last_step is None else f"{attempt.first_step:,} to {attempt.last_step:,}"
        lines.append(
            AttemptLine(
                attempt,
                OUTCOME_WORDS.get(attempt.outcome or "running", attempt.outcome or ""),
                duration_words(seconds) if seconds is not None else "–",
                steps,
            )
        )
    return lines


@dataclass(frozen=True, slots=True)
class Warned:
    step: int
    message: str


def warnings(session: Session, run: Run) -> list[Warned]:
    """What the trainer wants a person to look at, each sentence once, with the step it was last said at."""
    events = repository.standing_events(session, run.id, ("warning",))
    found = {event.body.get("message", ""): event.step for event in events}
    return [Warned(step, message) for message, step in found.items()]


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Two runs over the same axes, where their settings differ, and their last samples."""

    drawings: list[charts.Drawing]
    data: dict[str, Any]
    differences: list[tuple[str, str, str]]
    samples: tuple[SampleStep | None, SampleStep | None]


COMPARED = ("d_win", "d_lose", "accuracy", "margin", "loss", "foreground_against_reference", "grad_norm")


def side_by_side(session: Session, left: Run, right: Run) -> SideBySide:
    known: list[Series] = []
    for letter, run in (("a", left), ("b", right)):
        for series in views.curves(session, run).series:
            known.append(series.model_copy(update={"source": f"{letter}/{series.source}"}))
    specs = [_both(chart, left.name, right.name) for chart in charts.CHARTS if _compared(chart)]
    steps = max(left.total_steps, right.total_steps)
    last = tuple((samples(session, run) or [None])[-1] for run in (left, right))
    return SideBySide(
        drawings=charts.draw_all(known, steps, specs),
        data={
            "specs": [asdict(chart) for chart in specs],
            "series": [series.model_dump() for series in known],
            "steps": steps,
        },
        differences=_differences(left.config, right.config),
        samples=(last[0], last[1]),
    )


def _compared(chart: charts.Chart) -> bool:
    return any(line.source == "metrics" and line.name in COMPARED for line in chart.lines)


def _both(chart: charts.Chart, left: str, right: str) -> charts.Chart:
    """The chart's main curves twice: for the left run and for the right one."""
    mine = [line for line in chart.lines if line.source == "metrics" and line.name in COMPARED]
    lines = tuple(
        charts.Line(f"{letter}/{line.source}", line.name, f"{name}: {line.label}" if len(mine) > 1 else name)
        for line in mine
        for letter, name in (("a", left), ("b", right))
    )
    return charts.Chart(chart.key, chart.title, chart.help, lines, chart.floor, chart.ceiling)


def _differences(left: Any, right: Any, path: str = "") -> list[tuple[str, str, str]]:
    if isinstance(left, dict) and isinstance(right, dict):
        return [
            row
            for key in sorted({*left, *right})
            for row in _differences(left.get(key), right.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if left == right else [(path, json.dumps(left), json.dumps(right))]
