"""Let answers say both good, how strongly and where; teach and test annotators; leave the language to the browser"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
OLD_OUTCOMES = ("marks", "choice", "tie", "both_bad", "skip")
NEW_OUTCOMES = ("marks", "choice", "tie", "both_good", "both_bad", "skip")
STRENGTH = "strength IS NULL OR (strength IN (1, 2) AND outcome = 'choice')"
CRITERIA = ("spatial_rationality", "foreground_consistency", "text_alignment", "overall")


def kind_of(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True)


def _set_outcomes(values: Sequence[str], *, strength: bool) -> None:
    """Gives judgments.outcome these values, and the column `strength` or none."""
    among = "outcome IN ({})".format(", ".join(f"'{value}'" for value in values))
    width = sa.String(length=max(map(len, values)))
    if op.get_context().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_judgments_outcome"), "judgments", type_="check")
        op.alter_column("judgments", "outcome", type_=width, existing_nullable=False)
        op.create_check_constraint("outcome", "judgments", among)
        if strength:
            op.add_column("judgments", sa.Column("strength", sa.Integer(), nullable=True))
            op.create_check_constraint("strength_is_of_a_choice", "judgments", STRENGTH)
        else:
            op.drop_column("judgments", "strength")
        return
    with op.batch_alter_table("judgments", recreate="always") as batch:
        batch.drop_constraint(op.f("ck_judgments_outcome"), type_="check")
        batch.alter_column("outcome", type_=width, existing_nullable=False)
        batch.create_check_constraint(op.f("ck_judgments_outcome"), among)
        if strength:
            batch.add_column(sa.Column("strength", sa.Integer(), nullable=True))
            batch.create_check_constraint(op.f("ck_judgments_strength_is_of_a_choice"), STRENGTH)
        else:
            batch.drop_constraint(op.f("ck_judgments_strength_is_of_a_choice"), type_="check")
            batch.drop_column("strength")


def upgrade() -> None:
    _set_outcomes(NEW_OUTCOMES, strength=True)
    op.add_column("judgment_marks", sa.Column("regions", JSON, nullable=False, server_default=sa.text("'[]'")))
    # Nobody could choose a language so far: what stands there was never said.
    op.execute("UPDATE people SET locale = ''")
    op.create_table(
        "lessons",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("purpose", kind_of("lessonpurpose", "practice", "qualification"), nullable=False),
        sa.Column("kind", kind_of("comparisonkind", "win_lose", "pairwise", "arena"), nullable=False),
        sa.Column("criterion", kind_of("criterion", *CRITERIA), nullable=False),
        sa.Column("condition_id", BIG_ID, nullable=False),
        sa.Column("candidate_ids", JSON, nullable=False),
        sa.Column("candidates_hash", sa.String(length=64), nullable=False),
        sa.Column("expected", JSON, nullable=False),
        sa.Column("explanation", sa.Text(), nullable=False),
        sa.Column("is_retired", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_lessons_project_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["condition_id"], ["conditions.id"], name="fk_lessons_condition_id", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_lessons"),
        sa.UniqueConstraint(
            "project_id", "criterion", "candidates_hash", name="uq_lessons_project_id_criterion_candidates_hash"
        ),
    )
    op.create_index("ix_lessons_condition_id", "lessons", ["condition_id"])
    op.create_table(
        "qualifications",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("person_id", BIG_ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", kind_of("qualificationstate", "open", "passed", "failed"), nullable=False),
        sa.Column("lesson_ids", JSON, nullable=False),
        sa.Column("correct", sa.Integer(), nullable=False),
        sa.Column("pass_mark", sa.Integer(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("pass_mark BETWEEN 1 AND 100", name="pass_mark_is_percent"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_qualifications_project_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_qualifications_person_id", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="pk_qualifications"),
        sa.UniqueConstraint("project_id", "person_id", "number", name="uq_qualifications_project_id_person_id_number"),
    )
    op.create_index("ix_qualifications_person_id", "qualifications", ["person_id"])
    is_open = sa.text("state = 'open'")
    op.create_index(
        "uq_qualifications_open",
        "qualifications",
        ["project_id", "person_id"],
        unique=True,
        postgresql_where=is_open,
        sqlite_where=is_open,
    )
    op.create_table(
        "qualification_answers",
        sa.Column("qualification_id", BIG_ID, nullable=False),
        sa.Column("lesson_id", BIG_ID, nullable=False),
        sa.Column("answer", JSON, nullable=False),
        sa.Column("is_correct", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["qualification_id"],
            ["qualifications.id"],
            name="fk_qualification_answers_qualification_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["lesson_id"], ["lessons.id"], name="fk_qualification_answers_lesson_id", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("qualification_id", "lesson_id", name="pk_qualification_answers"),
    )
    op.create_index("ix_qualification_answers_lesson_id", "qualification_answers", ["lesson_id"])


def downgrade() -> None:
    op.drop_table("qualification_answers")
    op.drop_table("qualifications")
    op.drop_table("lessons")
    op.execute("UPDATE people SET locale = 'en'")
    op.drop_column("judgment_marks", "regions")
    # The older schema knows no "both good": for ratings it was a tie all along.
    op.execute("UPDATE judgments SET outcome = 'tie' WHERE outcome = 'both_good'")
    _set_outcomes(OLD_OUTCOMES, strength=False)
