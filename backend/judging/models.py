"""Comparisons, who holds them, and what was said."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.accounts.models import Person
from backend.catalogue.models import Candidate, Condition, Criterion
from backend.kit.columns import check, enum_column, reference
from backend.kit.database import Base, Identified, Timestamped


class ComparisonKind(StrEnum):
    WIN_LOSE = "win_lose"
    PAIRWISE = "pairwise"
    ARENA = "arena"


class ComparisonState(StrEnum):
    OPEN = "open"
    COMPLETE = "complete"
    WITHDRAWN = "withdrawn"


class AssignmentState(StrEnum):
    LEASED = "leased"
    SUBMITTED = "submitted"
    SKIPPED = "skipped"
    EXPIRED = "expired"
    RELEASED = "released"


class Purpose(StrEnum):
    """What a comparison was served for. Only `regular` answers take slots, count and vote.

    `gold`: its answer is known. `repeat`: the annotator has judged it before. `set_aside`: a lead had it judged anew.
    """

    REGULAR = "regular"
    GOLD = "gold"
    REPEAT = "repeat"
    SET_ASIDE = "set_aside"


class Outcome(StrEnum):
    """What a judgment says as a whole; for `marks` the single candidates carry win and lose."""

    MARKS = "marks"
    CHOICE = "choice"
    TIE = "tie"
    BOTH_GOOD = "both_good"
    BOTH_BAD = "both_bad"
    SKIP = "skip"


class Mark(StrEnum):
    NONE = "none"
    WIN = "win"
    LOSE = "lose"


class VoteOutcome(StrEnum):
    """Of a vote between candidate A and candidate B, in the order of their ids."""

    A = "a"
    B = "b"
    TIE = "tie"
    BOTH_BAD = "both_bad"


REASONS = ("scale", "position", "viewpoint", "other")


class Comparison(Base, Identified, Timestamped):
    """Candidates of one condition put to judgment under a criterion.

    `wanted` judgments are asked for; `open_slots` of them are neither given nor leased. `propensity` is the
    probability with which this comparison was chosen to be made. `matchup_id` names the two generators that meet, where
    there are two.
    """

    __tablename__ = "comparisons"
    project_id: Mapped[int] = reference("projects.id", index=False)
    condition_id: Mapped[int] = reference("conditions.id")
    condition: Mapped[Condition] = relationship(lazy="raise")
    criterion: Mapped[Criterion] = enum_column(Criterion)
    kind: Mapped[ComparisonKind] = enum_column(ComparisonKind)
    state: Mapped[ComparisonState] = enum_column(ComparisonState, default=ComparisonState.OPEN)
    wanted: Mapped[int] = mapped_column(default=1)
    open_slots: Mapped[int] = mapped_column(default=1)
    judgments: Mapped[int] = mapped_column(default=0)
    priority: Mapped[int] = mapped_column(default=0)
    propensity: Mapped[float] = mapped_column(default=1.0)
    candidates_hash: Mapped[str] = mapped_column(String(64))
    matchup_id: Mapped[int | None] = reference("matchups.id", nullable=True, ondelete="SET NULL", index=False)
    entries: Mapped[list["ComparisonCandidate"]] = relationship(
        order_by="ComparisonCandidate.position", lazy="raise", back_populates="comparison"
    )
    __table_args__ = (
        UniqueConstraint("project_id", "criterion", "kind", "candidates_hash"),
        Index(
            "ix_comparisons_servable",
            "project_id",
            "priority",
            "id",
            postgresql_where=text("open_slots > 0 AND state = 'open'"),
            sqlite_where=text("open_slots > 0 AND state = 'open'"),
        ),
        Index(
            "ix_comparisons_servable_matchup",
            "matchup_id",
            "priority",
            "id",
            postgresql_where=text("open_slots > 0 AND state = 'open'"),
            sqlite_where=text("open_slots > 0 AND state = 'open'"),
        ),
        check("open_slots_not_negative", "open_slots >= 0"),
        check("open_slots_within_wanted", "open_slots <= wanted"),
        check("propensity_is_probability", "propensity > 0 AND propensity <= 1"),
    )


class ComparisonCandidate(Base):
    """A candidate's place in a comparison."""

    __tablename__ = "comparison_candidates"
    comparison_id: Mapped[int] = reference("comparisons.id", ondelete="CASCADE", index=False, primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    candidate_id: Mapped[int] = reference("candidates.id")
    comparison: Mapped[Comparison] = relationship(lazy="raise", back_populates="entries")
    candidate: Mapped[Candidate] = relationship(lazy="raise")
    __table_args__ = (UniqueConstraint("comparison_id", "candidate_id"),)


_LIVE = text("state IN ('leased', 'submitted', 'skipped')")


class Assignment(Base, Identified, Timestamped):
    """A comparison leased to one annotator; `shown_order` lists the entries' positions from left to right.

    `propensity` is the probability with which the claim came to this comparison's matchup (1 where none was chosen).
    """

    __tablename__ = "assignments"
    comparison_id: Mapped[int] = reference("comparisons.id", index=False)
    comparison: Mapped[Comparison] = relationship(lazy="raise")
    person_id: Mapped[int] = reference("people.id", index=False)
    state: Mapped[AssignmentState] = enum_column(AssignmentState, default=AssignmentState.LEASED)
    purpose: Mapped[Purpose] = enum_column(Purpose, default=Purpose.REGULAR)
    shown_order: Mapped[list[Any]]
    propensity: Mapped[float] = mapped_column(default=1.0)
    lease_expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    __table_args__ = (
        Index(
            "uq_assignments_live",
            "comparison_id",
            "person_id",
            "purpose",
            unique=True,
            postgresql_where=_LIVE,
            sqlite_where=_LIVE,
        ),
        Index("ix_assignments_person_id_state_id", "person_id", "state", "id"),
        Index(
            "ix_assignments_expiring",
            "lease_expires_at",
            postgresql_where=text("state = 'leased'"),
            sqlite_where=text("state = 'leased'"),
        ),
    )


class Judgment(Base, Identified, Timestamped):
    """What one annotator said of one assignment, in its latest revision.

    `agrees` says of a gold item whether it was answered as is known, of a repeat whether as the first time.
    """

    __tablename__ = "judgments"
    assignment_id: Mapped[int] = reference("assignments.id", index=False, unique=True)
    comparison_id: Mapped[int] = reference("comparisons.id")
    project_id: Mapped[int] = reference("projects.id", index=False)
    person_id: Mapped[int] = reference("people.id", index=False)
    person: Mapped[Person] = relationship(lazy="raise")
    idempotency_key: Mapped[str] = mapped_column(String(64))
    revision: Mapped[int] = mapped_column(default=1)
    outcome: Mapped[Outcome] = enum_column(Outcome)
    strength: Mapped[int | None]
    """Of a choice, where the project asks for it: 1 slightly, 2 clearly better."""
    skip_reason: Mapped[str | None] = mapped_column(String(200))
    comment: Mapped[str] = mapped_column(Text, default="")
    seconds: Mapped[float | None]
    is_simulated: Mapped[bool] = mapped_column(default=False)
    purpose: Mapped[Purpose] = enum_column(Purpose, default=Purpose.REGULAR)
    agrees: Mapped[bool | None]
    updated_at: Mapped[datetime]
    marks: Mapped[list["JudgmentMark"]] = relationship(lazy="raise", cascade="all, delete-orphan")
    __table_args__ = (
        UniqueConstraint("person_id", "idempotency_key"),
        Index("ix_judgments_project_id_id", "project_id", "id"),
        Index("ix_judgments_person_id_id", "person_id", "id"),
        check("skip_has_reason", "outcome <> 'skip' OR skip_reason IS NOT NULL"),
        check("strength_is_of_a_choice", "strength IS NULL OR (strength IN (1, 2) AND outcome = 'choice')"),
    )


class JudgmentMark(Base):
    """One candidate within a judgment: win, lose or neither, with the reasons given against it.

    `regions` are the places of a hallucination, in fractions of the image: `{"x", "y"}` a point, with `"width"` and
    `"height"` a box from its top left corner.
    """

    __tablename__ = "judgment_marks"
    judgment_id: Mapped[int] = reference("judgments.id", ondelete="CASCADE", index=False, primary_key=True)
    candidate_id: Mapped[int] = reference("candidates.id", primary_key=True)
    mark: Mapped[Mark] = enum_column(Mark)
    shown_position: Mapped[int]
    reasons: Mapped[list[Any]] = mapped_column(default=list)
    regions: Mapped[list[Any]] = mapped_column(default=list)


class JudgmentRevision(Base, Timestamped):
    """What a judgment said before it was edited."""

    __tablename__ = "judgment_revisions"
    judgment_id: Mapped[int] = reference("judgments.id", ondelete="CASCADE", index=False, primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    answer: Mapped[dict[str, Any]]


class Vote(Base, Identified):
    """One pairwise consequence of a judgment: win/lose over K gives one for every (win, lose) pair.

    `candidate_a < candidate_b`. `a_shown_first` is whether A stood left of B, for the estimate of side bias.
    """

    __tablename__ = "votes"
    judgment_id: Mapped[int] = reference("judgments.id", ondelete="CASCADE")
    project_id: Mapped[int] = reference("projects.id", index=False)
    condition_id: Mapped[int] = reference("conditions.id")
    criterion: Mapped[Criterion] = enum_column(Criterion)
    person_id: Mapped[int] = reference("people.id")
    candidate_a: Mapped[int] = reference("candidates.id")
    candidate_b: Mapped[int] = reference("candidates.id")
    generator_a: Mapped[int] = reference("generators.id", index=False)
    generator_b: Mapped[int] = reference("generators.id", index=False)
    outcome: Mapped[VoteOutcome] = enum_column(VoteOutcome)
    a_shown_first: Mapped[bool]
    is_simulated: Mapped[bool] = mapped_column(default=False)
    __table_args__ = (
        UniqueConstraint("judgment_id", "candidate_a", "candidate_b"),
        Index("ix_votes_tally", "project_id", "criterion", "generator_a", "generator_b", "outcome"),
        check("candidates_in_order", "candidate_a < candidate_b"),
    )
