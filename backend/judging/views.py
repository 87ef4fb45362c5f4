"""Rows turned into what leaves over HTTP; the one place that decides what an annotator may see."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy.orm import Session

from backend.catalogue.models import Criterion
from backend.judging import repository_answers
from backend.judging.leases import Claimed, Progress
from backend.judging.models import Comparison, ComparisonKind, Judgment
from backend.judging.repository_leases import LeasedRow
from backend.judging.schemas import (
    AssignmentOut,
    ClaimOut,
    ComparisonOut,
    JudgmentAndNextOut,
    JudgmentOut,
    ProgressOut,
)
from backend.judging.submission import Taken, stored_answer
from backend.judging.tickets import Tickets
from backend.judging.turns import Turn
from backend.kit.languages import translated

_SHOWN_OF_JUDGMENT = ("assignment_id", "revision", "seconds", "is_simulated", "created_at", "updated_at")


def assignment_out(row: LeasedRow, person_id: int, tickets: Tickets) -> AssignmentOut:
    """An assignment of this person, with addresses under which they alone see its images."""
    base = f"/judge/assignments/{row.assignment.id}"
    pictures = [row.images[position] for position in row.assignment.shown_order]
    return AssignmentOut(
        id=row.assignment.id,
        kind=row.kind,
        criterion=row.criterion,
        prompt=row.prompt,
        subject_name=row.subject_name,
        width=row.width,
        height=row.height,
        images=[tickets.address(f"{base}/images/{place}", person_id, each) for place, each in enumerate(pictures)],
        subject=tickets.address(f"{base}/subject", person_id, row.subject_image),
        mask=tickets.address(f"{base}/mask", person_id, row.mask),
        lease_expires_at=row.assignment.lease_expires_at,
    )


def progress_out(progress: Progress) -> ProgressOut:
    return ProgressOut(**asdict(progress))


def claim_out(claimed: Claimed, person_id: int, tickets: Tickets) -> ClaimOut:
    return ClaimOut(
        items=[assignment_out(row, person_id, tickets) for row in claimed.rows],
        lost=claimed.lost,
        state=claimed.state,
        reason=translated(claimed.reason) if claimed.reason else None,
        progress=progress_out(claimed.progress),
    )


def judgments_out(session: Session, judgments: Sequence[Judgment], *, for_lead: bool) -> list[JudgmentOut]:
    """Judgments (with their marks loaded, and their people for a lead) in words."""
    facts = repository_answers.comparison_facts(session, {judgment.comparison_id for judgment in judgments})
    shown = []
    for judgment in judgments:
        out = JudgmentOut(**_said(judgment, *facts[judgment.comparison_id]))
        if for_lead:
            out.comparison_id = judgment.comparison_id
            out.person_id, out.person_name = judgment.person_id, judgment.person.name
        shown.append(out)
    return shown


def _said(judgment: Judgment, kind: ComparisonKind | str, criterion: Criterion | str, prompt: str) -> dict[str, Any]:
    count = max((mark.shown_position + 1 for mark in judgment.marks), default=0)
    return {
        "id": judgment.id,
        "assignment_id": judgment.assignment_id,
        "kind": kind,
        "criterion": criterion,
        "prompt": prompt,
        "revision": judgment.revision,
        "answer": stored_answer(judgment, count).as_out(),
        "seconds": judgment.seconds,
        "is_simulated": judgment.is_simulated,
        "created_at": judgment.created_at,
        "updated_at": judgment.updated_at,
    }


def taken_out(taken: Taken, claimed: Claimed | None, tickets: Tickets) -> JudgmentAndNextOut:
    """An answer as it was stored, with what its author was leased next."""
    work, judgment = taken.work, taken.judgment
    said = _said(judgment, work.kind, work.criterion, work.prompt)
    following = claim_out(claimed, judgment.person_id, tickets) if claimed else None
    return JudgmentAndNextOut(**said, next=following)


def turn_out(turn: Turn, person_id: int, tickets: Tickets) -> JudgmentAndNextOut:
    """As `taken_out`, of an answer by the short way."""
    values, work = turn.values, turn.work
    return JudgmentAndNextOut(
        id=turn.judgment_id,
        kind=work.kind,
        criterion=work.criterion,
        prompt=work.prompt,
        answer=turn.answer.as_out(),
        next=claim_out(turn.claimed, person_id, tickets) if turn.claimed else None,
        **{name: values[name] for name in _SHOWN_OF_JUDGMENT},
    )


def comparison_out(comparison: Comparison) -> ComparisonOut:
    return ComparisonOut(
        id=comparison.id,
        condition_id=comparison.condition_id,
        criterion=comparison.criterion,
        kind=comparison.kind,
        state=comparison.state,
        wanted=comparison.wanted,
        open_slots=comparison.open_slots,
        judgments=comparison.judgments,
        priority=comparison.priority,
        propensity=comparison.propensity,
        candidate_ids=[entry.candidate_id for entry in comparison.entries],
        created_at=comparison.created_at,
    )
