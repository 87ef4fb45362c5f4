"""Projects and what is judged in them."""

from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.kit.columns import check, enum_column, reference
from backend.kit.database import Base, Identified, Timestamped


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"


class Criterion(StrEnum):
    SPATIAL_RATIONALITY = "spatial_rationality"
    FOREGROUND_CONSISTENCY = "foreground_consistency"
    TEXT_ALIGNMENT = "text_alignment"
    OVERALL = "overall"


class Project(Base, Identified, Timestamped):
    """One body of judging: its guidelines (Markdown), criteria and settings."""

    __tablename__ = "projects"
    slug: Mapped[str] = mapped_column(String(60), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    guidelines: Mapped[str] = mapped_column(Text, default="")
    criteria: Mapped[list[Any]] = mapped_column(default=lambda: [Criterion.SPATIAL_RATIONALITY.value])
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    is_demo: Mapped[bool] = mapped_column(default=False)


class ProjectMember(Base, Timestamped):
    """A person who may work in a project; leads manage it, annotators judge in it."""

    __tablename__ = "project_members"
    project_id: Mapped[int] = reference("projects.id", ondelete="CASCADE", index=False, primary_key=True)
    person_id: Mapped[int] = reference("people.id", ondelete="CASCADE", primary_key=True)


class Subject(Base, Identified, Timestamped):
    """A foreground cut-out; its split is that of all its conditions."""

    __tablename__ = "subjects"
    project_id: Mapped[int] = reference("projects.id", index=False)
    external_id: Mapped[str] = mapped_column(String(200))
    name: Mapped[str] = mapped_column(String(200), default="")
    split: Mapped[Split] = enum_column(Split)
    cutout_digest: Mapped[str | None] = reference("blobs.digest", nullable=True, index=False)
    __table_args__ = (UniqueConstraint("project_id", "external_id"),)


class Condition(Base, Identified, Timestamped):
    """A subject on a canvas (image and mask) with a prompt; `spec` holds a judge's geometry where one knows it.

    The mask is 8-bit grey: 255 is background to be generated, 0 the subject.
    """

    __tablename__ = "conditions"
    project_id: Mapped[int] = reference("projects.id", index=False)
    external_id: Mapped[str] = mapped_column(String(200))
    subject_id: Mapped[int] = reference("subjects.id")
    subject: Mapped[Subject] = relationship(lazy="joined", innerjoin=True)
    split: Mapped[Split] = enum_column(Split)
    prompt: Mapped[str] = mapped_column(Text)
    image_digest: Mapped[str] = reference("blobs.digest", index=False)
    mask_digest: Mapped[str] = reference("blobs.digest", index=False)
    width: Mapped[int]
    height: Mapped[int]
    spec: Mapped[dict[str, Any] | None]
    __table_args__ = (
        UniqueConstraint("project_id", "external_id"),
        Index("ix_conditions_project_id_id", "project_id", "id"),
        check("has_a_size", "width > 0 AND height > 0"),
    )


class Generator(Base, Identified, Timestamped):
    """What makes candidates: a base pipeline, an optional LoRA adapter and the sampler's settings.

    `base` is "spatialworld", a folder, a hub id, or null for a generator known only by its imported images. Immutable
    once it has produced; a tuned generator names its parent and its run.
    """

    __tablename__ = "generators"
    project_id: Mapped[int] = reference("projects.id", index=False)
    name: Mapped[str] = mapped_column(String(120))
    base: Mapped[str | None] = mapped_column(String(500))
    adapter_digest: Mapped[str | None] = reference("blobs.digest", nullable=True, index=False)
    sampler: Mapped[dict[str, Any]] = mapped_column(default=dict)
    parent_id: Mapped[int | None] = reference("generators.id", nullable=True)
    run_id: Mapped[int | None] = mapped_column(index=True)
    is_frozen: Mapped[bool] = mapped_column(default=False)
    __table_args__ = (UniqueConstraint("project_id", "name"),)


class Candidate(Base, Identified, Timestamped):
    """One image for one condition by one generator, the true foreground pasted back."""

    __tablename__ = "candidates"
    project_id: Mapped[int] = reference("projects.id", index=False)
    condition_id: Mapped[int] = reference("conditions.id", index=False)
    generator_id: Mapped[int] = reference("generators.id")
    seed: Mapped[int] = mapped_column(BigInteger)
    sampler: Mapped[dict[str, Any]] = mapped_column(default=dict)
    image_digest: Mapped[str] = reference("blobs.digest", index=False)
    width: Mapped[int]
    height: Mapped[int]
    __table_args__ = (
        UniqueConstraint("condition_id", "generator_id", "seed"),
        Index("ix_candidates_project_id_id", "project_id", "id"),
    )


class Verdict(Base, Timestamped):
    """What an exact judge says of a candidate; `rational` is null where it cannot tell."""

    __tablename__ = "verdicts"
    candidate_id: Mapped[int] = reference("candidates.id", ondelete="CASCADE", index=False, primary_key=True)
    judge: Mapped[str] = mapped_column(String(40), primary_key=True)
    rational: Mapped[bool | None]
    reasons: Mapped[list[Any]] = mapped_column(default=list)
    margin: Mapped[float] = mapped_column(default=0.0)
    measured: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Import(Base, Identified, Timestamped):
    """One manifest taken in: what it brought, what was already there."""

    __tablename__ = "imports"
    project_id: Mapped[int] = reference("projects.id")
    content_hash: Mapped[str] = mapped_column(String(64))
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_by_id: Mapped[int | None] = reference("people.id", nullable=True, index=False)
