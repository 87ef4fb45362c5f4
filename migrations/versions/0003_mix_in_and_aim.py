"""Serve known answers, repeats and chosen matchups; keep each annotator's standing"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
CRITERIA = ("spatial_rationality", "foreground_consistency", "text_alignment", "overall")
PURPOSES = "'regular', 'gold', 'repeat', 'set_aside'"
LIVE = sa.text("state IN ('leased', 'submitted', 'skipped')")
SERVABLE = sa.text("open_slots > 0 AND state = 'open'")
# Comparisons of two candidates by different generators.
PAIRS = """
    SELECT c.id AS comparison_id, c.project_id, c.criterion, min(k.generator_id) AS a, max(k.generator_id) AS b
    FROM comparisons c
    JOIN comparison_candidates e ON e.comparison_id = c.id
    JOIN candidates k ON k.id = e.candidate_id
    GROUP BY c.id, c.project_id, c.criterion
    HAVING count(*) = 2 AND min(k.generator_id) < max(k.generator_id)
"""
# What the answers of the older schema count to.
STANDINGS = """
    INSERT INTO standings (project_id, person_id, done, skipped, seconds_each, gold_seen, gold_right, pause_words,
                           created_at)
    SELECT project_id, person_id, sum(CASE WHEN outcome <> 'skip' THEN 1 ELSE 0 END),
           sum(CASE WHEN outcome = 'skip' THEN 1 ELSE 0 END), avg(CASE WHEN seconds < 600 THEN seconds END), 0, 0, '',
           min(created_at)
    FROM judgments GROUP BY project_id, person_id
"""


def upgrade() -> None:
    _create_tables()
    # A column's own constraint, so that SQLite too can add it and drop it without copying the table.
    for table in ("assignments", "judgments"):
        op.execute(
            f"ALTER TABLE {table} ADD COLUMN purpose VARCHAR(9) DEFAULT 'regular' NOT NULL "
            f"CONSTRAINT ck_{table}_purpose CHECK (purpose IN ({PURPOSES}))"
        )
    op.add_column("assignments", sa.Column("propensity", sa.Double(), nullable=False, server_default=sa.text("1")))
    op.add_column("judgments", sa.Column("agrees", sa.Boolean(), nullable=True))
    _index_live_assignments("comparison_id", "person_id", "purpose")
    op.drop_index("ix_comparisons_servable", "comparisons")
    with op.batch_alter_table("comparisons") as batch:
        batch.add_column(sa.Column("matchup_id", BIG_ID, nullable=True))
        batch.create_foreign_key(
            op.f("fk_comparisons_matchup_id"), "matchups", ["matchup_id"], ["id"], ondelete="SET NULL"
        )
    _index_servable("ix_comparisons_servable", "project_id", "priority", "id")
    _index_servable("ix_comparisons_servable_matchup", "matchup_id", "priority", "id")
    op.execute(
        "INSERT INTO matchups (project_id, criterion, generator_a, generator_b, share, propensity, created_at) "
        f"SELECT DISTINCT project_id, criterion, a, b, 0.0, 1.0, CURRENT_TIMESTAMP FROM ({PAIRS}) AS pairs"
    )
    op.execute(
        "UPDATE comparisons SET matchup_id = found.matchup_id FROM (SELECT pairs.comparison_id, m.id AS matchup_id "
        f"FROM ({PAIRS}) AS pairs JOIN matchups m ON m.project_id = pairs.project_id "
        "AND m.criterion = pairs.criterion AND m.generator_a = pairs.a AND m.generator_b = pairs.b) AS found "
        "WHERE found.comparison_id = comparisons.id"
    )
    op.execute(STANDINGS)


def _index_live_assignments(*columns: str) -> None:
    op.drop_index("uq_assignments_live", "assignments")
    op.create_index(
        "uq_assignments_live", "assignments", list(columns), unique=True, postgresql_where=LIVE, sqlite_where=LIVE
    )


def _index_servable(name: str, *columns: str) -> None:
    op.create_index(name, "comparisons", list(columns), postgresql_where=SERVABLE, sqlite_where=SERVABLE)


def _create_tables() -> None:
    op.create_table(
        "gold_answers",
        sa.Column("comparison_id", BIG_ID, nullable=False),
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("expected", JSON, nullable=False),
        sa.Column("explanation", sa.Text(), nullable=False),
        sa.Column("is_retired", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparisons.id"], name="fk_gold_answers_comparison_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_gold_answers_project_id", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("comparison_id", name="pk_gold_answers"),
    )
    op.create_index("ix_gold_answers_project_id", "gold_answers", ["project_id"])
    op.create_table(
        "standings",
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("person_id", BIG_ID, nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("seconds_each", sa.Double(), nullable=True),
        sa.Column("gold_seen", sa.Integer(), nullable=False),
        sa.Column("gold_right", sa.Integer(), nullable=False),
        sa.Column("quota", sa.Integer(), nullable=True),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pause_words", sa.Text(), nullable=False),
        sa.Column("paused_by_id", BIG_ID, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("done >= 0 AND skipped >= 0", name="ck_standings_counts_not_negative"),
        sa.CheckConstraint("gold_right >= 0 AND gold_right <= gold_seen", name="ck_standings_gold_right_within_seen"),
        sa.CheckConstraint("quota IS NULL OR quota >= 0", name="ck_standings_quota_not_negative"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_standings_project_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_standings_person_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["paused_by_id"], ["people.id"], name="fk_standings_paused_by_id", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("project_id", "person_id", name="pk_standings"),
    )
    op.create_index("ix_standings_person_id", "standings", ["person_id"])
    op.create_table(
        "matchups",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column(
            "criterion",
            sa.Enum(*CRITERIA, name="criterion", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("generator_a", BIG_ID, nullable=False),
        sa.Column("generator_b", BIG_ID, nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("propensity", sa.Double(), nullable=False),
        sa.Column("aimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("generator_a < generator_b", name="ck_matchups_generators_in_order"),
        sa.CheckConstraint("share >= 0 AND share <= 1", name="ck_matchups_share_is_probability"),
        sa.CheckConstraint("propensity > 0 AND propensity <= 1", name="ck_matchups_propensity_is_probability"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_matchups_project_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["generator_a"], ["generators.id"], name="fk_matchups_generator_a", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["generator_b"], ["generators.id"], name="fk_matchups_generator_b", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_matchups"),
        sa.UniqueConstraint(
            "project_id",
            "criterion",
            "generator_a",
            "generator_b",
            name="uq_matchups_project_id_criterion_generator_a_generator_b",
        ),
    )
    op.create_index("ix_matchups_generator_b", "matchups", ["generator_b"])


def downgrade() -> None:
    op.drop_index("ix_comparisons_servable", "comparisons")
    op.drop_index("ix_comparisons_servable_matchup", "comparisons")
    with op.batch_alter_table("comparisons") as batch:
        batch.drop_constraint(op.f("fk_comparisons_matchup_id"), type_="foreignkey")
        batch.drop_column("matchup_id")
    _index_servable("ix_comparisons_servable", "project_id", "priority", "id")
    # The older schema takes every answer for a vote, so only regular ones may stay.
    spare = "SELECT id FROM judgments WHERE purpose <> 'regular'"
    for table in ("judgment_revisions", "judgment_marks"):
        op.execute(f"DELETE FROM {table} WHERE judgment_id IN ({spare})")
    op.execute("DELETE FROM judgments WHERE purpose <> 'regular'")
    op.execute("DELETE FROM assignments WHERE purpose <> 'regular'")
    _index_live_assignments("comparison_id", "person_id")
    for table, columns in (("assignments", ("purpose", "propensity")), ("judgments", ("purpose", "agrees"))):
        for column in columns:
            op.drop_column(table, column)
    for table in ("matchups", "standings", "gold_answers"):
        op.drop_table(table)
