"""What decides who is served which comparison next: known answers, standings of annotators, matchups of generators."""

from datetime import datetime
from typing import Any

from sqlalchemy import Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.catalogue.models import Criterion
from backend.kit.columns import check, enum_column, reference
from backend.kit.database import Base, Identified, Timestamped


class GoldAnswer(Base, Timestamped):
    """The known answer of a comparison, which annotators meet without being told.

    `expected` is an answer as REST speaks it, with its marks in the order of the comparison's entries. A retired one is
    served no more; what was said to it stays.
    """

    __tablename__ = "gold_answers"
    comparison_id: Mapped[int] = reference("comparisons.id", ondelete="CASCADE", index=False, primary_key=True)
    project_id: Mapped[int] = reference("projects.id")
    expected: Mapped[dict[str, Any]]
    explanation: Mapped[str] = mapped_column(Text, default="")
    is_retired: Mapped[bool] = mapped_column(default=False)


class Standing(Base, Timestamped):
    """Where one annotator stands in one project; its counters change in the transaction of each answer.

    `done` and `skipped` count every answer, whatever its purpose. `gold_seen` and `gold_right` count known answers
    since the annotator started or was last resumed. `seconds_each` is a running mean. `quota` overrides the project's.
    `paused_by_id` is null where an attention check paused the annotator.
    """

    __tablename__ = "standings"
    project_id: Mapped[int] = reference("projects.id", ondelete="CASCADE", index=False, primary_key=True)
    person_id: Mapped[int] = reference("people.id", ondelete="CASCADE", primary_key=True)
    done: Mapped[int] = mapped_column(default=0)
    skipped: Mapped[int] = mapped_column(default=0)
    seconds_each: Mapped[float | None]
    gold_seen: Mapped[int] = mapped_column(default=0)
    gold_right: Mapped[int] = mapped_column(default=0)
    quota: Mapped[int | None]
    paused_at: Mapped[datetime | None]
    pause_words: Mapped[str] = mapped_column(Text, default="")
    paused_by_id: Mapped[int | None] = reference("people.id", nullable=True, ondelete="SET NULL", index=False)
    __table_args__ = (
        check("counts_not_negative", "done >= 0 AND skipped >= 0"),
        check("gold_right_within_seen", "gold_right >= 0 AND gold_right <= gold_seen"),
        check("quota_not_negative", "quota IS NULL OR quota >= 0"),
    )


class Matchup(Base, Identified, Timestamped):
    """Two generators that meet in comparisons under a criterion, and how often they are served by active choice.

    `share` is the part of active draws that goes here; `propensity` the probability with which a claim came here,
    the floor of random choice included. Both hold since `aimed_at`; before, nothing is known and choice is random.
    """

    __tablename__ = "matchups"
    project_id: Mapped[int] = reference("projects.id", ondelete="CASCADE", index=False)
    criterion: Mapped[Criterion] = enum_column(Criterion)
    generator_a: Mapped[int] = reference("generators.id", index=False)
    generator_b: Mapped[int] = reference("generators.id")
    share: Mapped[float] = mapped_column(default=0.0)
    propensity: Mapped[float] = mapped_column(default=1.0)
    aimed_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("project_id", "criterion", "generator_a", "generator_b"),
        check("generators_in_order", "generator_a < generator_b"),
        check("share_is_probability", "share >= 0 AND share <= 1"),
        check("propensity_is_probability", "propensity > 0 AND propensity <= 1"),
    )
