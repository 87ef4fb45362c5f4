"""What of a run is shown, to people and to programs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from backend.catalogue.models import Project
from backend.jobs.models import Job
from backend.training import repository
from backend.training.models import ACTIVE_RUN_STATES, Run, RunEvent, RunState
from backend.training.schemas import AttemptOut, CheckpointOut, CurvesOut, EventOut, RunDetail, RunOut, Series
from backend.training.service import run_url
from backend.training.words import STATE_WORDS, duration_words

# A curve drawn 800 pixels wide shows no more points than this.
MAX_POINTS = 1_500
# Speed is taken from this many reports: enough to smooth, few enough to follow a machine that becomes slower.
RATE_EVENTS = 20


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is: its state, that in words, and the seconds left where they can be told."""

    state: str
    words: str
    step: int
    total_steps: int
    eta_seconds: float | None
    cancelling: bool
    failure: str | None

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE_RUN_STATES

    @property
    def percent(self) -> int:
        return min(100 * self.step // self.total_steps, 100) if self.total_steps else 0

    @property
    def eta_words(self) -> str:
        return "" if self.eta_seconds is None else f"about {duration_words(self.eta_seconds)} left"

    def as_dict(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "words": self.words,
            "step": self.step,
            "total_steps": self.total_steps,
            "percent": self.percent,
            "eta_seconds": self.eta_seconds,
            "eta_words": self.eta_words,
            "cancelling": self.cancelling,
            "is_active": self.is_active,
            "failure": self.failure,
        }


def standing(session: Session, run: Run) -> Standing:
    job = repository.job_by_id(session, run.job_id)
    trains = run.state == RunState.RUNNING and job is not None and job.state == "running"
    return Standing(
        state=run.state,
        words=_words(run, job),
        step=run.step,
        total_steps=run.total_steps,
        eta_seconds=_eta(session, run) if trains else None,
        cancelling=bool(job and job.cancel_requested and run.state in ACTIVE_RUN_STATES),
        failure=run.failure,
    )


def _words(run: Run, job: Job | None) -> str:
    if run.state not in ACTIVE_RUN_STATES or job is None:
        return STATE_WORDS[run.state]
    if job.cancel_requested:
        return "Stopping after the next step, with a checkpoint"
    if job.state == "queued" and job.error_message:
        return "Waiting to try again after an error"
    if job.state == "queued":
        return "Waiting for a worker to go on" if run.step else STATE_WORDS["queued"]
    if run.step == 0 and job.progress_message:
        return job.progress_message
    return STATE_WORDS[RunState.RUNNING]


def _eta(session: Session, run: Run) -> float | None:
    """Seconds left at the pace of the last reports of the present attempt; None before there are two."""
    restart = repository.last_event(session, run.id, repository.RESTARTS)
    reports = repository.last_reports(session, run.id, restart.seq if restart else -1, RATE_EVENTS)
    if len(reports) < 2:
        return None
    newest, oldest = reports[0], reports[-1]
    steps, seconds = newest.step - oldest.step, (newest.time - oldest.time).total_seconds()
    return (run.total_steps - newest.step) * seconds / steps if steps > 0 else None


def run_out(session: Session, project: Project, run: Run) -> RunOut:
    return RunOut(**_facts(session, project, run))


def run_detail(session: Session, project: Project, run: Run) -> RunDetail:
    attempts = [AttemptOut.model_validate(row, from_attributes=True) for row in repository.attempts(session, run.id)]
    kept = [CheckpointOut.model_validate(row, from_attributes=True) for row in repository.checkpoints(session, run.id)]
    return RunDetail(**_facts(session, project, run), config=run.config, attempts=attempts, checkpoints=kept)


def _facts(session: Session, project: Project, run: Run) -> dict[str, Any]:
    now = standing(session, run)
    columns = (
        "id", "name", "state", "recipe", "snapshot_id", "parent_generator_id", "generator_id", "adapter_digest",
        "job_id", "step", "total_steps", "failure", "result", "config_hash", "created_at", "started_at", "finished_at",
    )  # fmt: skip
    return {name: getattr(run, name) for name in columns} | {
        "project": project.slug,
        "state_words": now.words,
        "snapshot_hash": run.snapshot.content_hash,
        "eta_seconds": now.eta_seconds,
        "url": run_url(project, run),
    }


def event_out(event: RunEvent) -> EventOut:
    return EventOut.model_validate(event, from_attributes=True)


def curves(session: Session, run: Run) -> CurvesOut:
    """Every figure the trainer logged, as curves over steps; steps that were done again count once."""
    last_seq = repository.last_seq(session, run.id)
    events = repository.standing_events(session, run.id, ("metrics", "validation"))
    found: dict[tuple[str, str], Series] = {}
    for event in events:
        for name, value in event.body.get("values", {}).items():
            if value is None or not math.isfinite(value):
                continue
            key = (event.kind, name)
            if key not in found:
                found[key] = Series(name=name, source=event.kind, steps=[], values=[])
            found[key].steps.append(event.step)
            found[key].values.append(value)
    series = [_thinned(curve) for curve in found.values()]
    return CurvesOut(series=series, last_seq=last_seq, step=run.step, total_steps=run.total_steps)


def _thinned(series: Series) -> Series:
    """Every n-th point of a long curve, and always its last."""
    stride = -(-len(series.steps) // MAX_POINTS)
    if stride <= 1:
        return series
    keep = sorted({*range(0, len(series.steps), stride), len(series.steps) - 1})
    return series.model_copy(
        update={"steps": [series.steps[i] for i in keep], "values": [series.values[i] for i in keep]}
    )


def sample_grid(session: Session, run_id: int) -> dict[int, list[dict[str, Any]]]:
    """Step → its images: digest, prompt, seed and what the exact judge says (None where there is none)."""
    grid: dict[int, list[dict[str, Any]]] = {}
    for sample in repository.samples(session, run_id):
        verdict = sample.verdict or {}
        grid.setdefault(sample.step, []).append(
            {
                "digest": sample.image_digest,
                "label": sample.label,
                "seed": verdict.get("seed"),
                "rational": verdict.get("rational"),
                "reasons": verdict.get("reasons", []),
            }
        )
    return grid


def rational_share(images: Sequence[dict[str, Any]]) -> str:
    """“5 of 8 rational”, empty where no judge could tell."""
    told = [image for image in images if image["rational"] is not None]
    return f"{sum(image['rational'] for image in told)} of {len(told)} rational" if told else ""
