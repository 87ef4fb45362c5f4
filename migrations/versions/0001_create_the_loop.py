"""Create the tables of the loop"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("length(digest) = 64", name="ck_blobs_digest_is_sha256"),
        sa.CheckConstraint("size >= 0", name="ck_blobs_size_not_negative"),
        sa.PrimaryKeyConstraint("digest", name="pk_blobs"),
    )
    op.create_table(
        "idempotency_records",
        sa.Column("scope", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key", name="pk_idempotency_records"),
    )
    op.create_index("ix_idempotency_records_created_at", "idempotency_records", ["created_at"], unique=False)

    op.create_table(
        "jobs",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("queue", sa.String(length=20), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "running",
                "succeeded",
                "failed",
                "cancelled",
                name="jobstate",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=False,
        ),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("dedupe_key", sa.String(length=200), nullable=True),
        sa.Column("project_id", sa.Integer(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("progress_done", sa.Integer(), nullable=False),
        sa.Column("progress_total", sa.Integer(), nullable=True),
        sa.Column("progress_message", sa.String(length=300), nullable=True),
        sa.Column("result", JSON, nullable=True),
        sa.Column("error_code", sa.String(length=60), nullable=True),
        sa.Column("error_message", sa.String(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state <> 'running' OR lease_expires_at IS NOT NULL", name="ck_jobs_running_has_lease"),
        sa.CheckConstraint("attempts >= 0 AND fence >= 0", name="ck_jobs_attempts_not_negative"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_project_id", "jobs", ["project_id"], unique=False)
    op.create_index("ix_jobs_state_queue", "jobs", ["state", "queue", "priority", "id"], unique=False)
    op.create_index(
        "uq_jobs_active_dedupe_key",
        "jobs",
        ["dedupe_key"],
        unique=True,
        postgresql_where=sa.text("state IN ('queued', 'running')"),
        sqlite_where=sa.text("state IN ('queued', 'running')"),
    )

    op.create_table(
        "people",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column(
            "role",
            sa.Enum("annotator", "lead", "admin", name="role", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("password_hash", sa.String(length=255), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.Column("locale", sa.String(length=10), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("NOT is_simulated OR password_hash IS NULL", name="ck_people_simulated_cannot_log_in"),
        sa.CheckConstraint("email = lower(email)", name="ck_people_email_is_lowercase"),
        sa.PrimaryKeyConstraint("id", name="pk_people"),
        sa.UniqueConstraint("email", name="uq_people_email"),
    )
    op.create_table(
        "projects",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("slug", sa.String(length=60), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("guidelines", sa.Text(), nullable=False),
        sa.Column("criteria", JSON, nullable=False),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("is_demo", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
        sa.UniqueConstraint("slug", name="uq_projects_slug"),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("queue", sa.String(length=20), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("busy", sa.Integer(), nullable=False),
        sa.Column("has_trainer", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("busy >= 0 AND busy <= slots", name="ck_workers_busy_within_slots"),
        sa.PrimaryKeyConstraint("name", name="pk_workers"),
    )
    op.create_index("ix_workers_seen_at", "workers", ["seen_at"], unique=False)

    op.create_table(
        "api_tokens",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("person_id", BIG_ID, nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_api_tokens_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_api_tokens"),
        sa.UniqueConstraint("token_hash", name="uq_api_tokens_token_hash"),
    )
    op.create_index("ix_api_tokens_person_id", "api_tokens", ["person_id"], unique=False)

    op.create_table(
        "audit_entries",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("person_id", BIG_ID, nullable=True),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("object_type", sa.String(length=40), nullable=False),
        sa.Column("object_id", sa.String(length=64), nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_audit_entries_person_id", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="pk_audit_entries"),
    )
    op.create_index("ix_audit_entries_action", "audit_entries", ["action"], unique=False)
    op.create_index(
        "ix_audit_entries_object_type_object_id", "audit_entries", ["object_type", "object_id"], unique=False
    )
    op.create_index("ix_audit_entries_person_id", "audit_entries", ["person_id"], unique=False)

    op.create_table(
        "generators",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("base", sa.String(length=500), nullable=True),
        sa.Column("adapter_digest", sa.String(length=64), nullable=True),
        sa.Column("sampler", JSON, nullable=False),
        sa.Column("parent_id", BIG_ID, nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("is_frozen", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["adapter_digest"], ["blobs.digest"], name="fk_generators_adapter_digest", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["parent_id"], ["generators.id"], name="fk_generators_parent_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_generators_project_id", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="pk_generators"),
        sa.UniqueConstraint("project_id", "name", name="uq_generators_project_id_name"),
    )
    op.create_index("ix_generators_parent_id", "generators", ["parent_id"], unique=False)
    op.create_index("ix_generators_run_id", "generators", ["run_id"], unique=False)

    op.create_table(
        "imports",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("counts", JSON, nullable=False),
        sa.Column("created_by_id", BIG_ID, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["created_by_id"], ["people.id"], name="fk_imports_created_by_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_imports_project_id", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="pk_imports"),
    )
    op.create_index("ix_imports_project_id", "imports", ["project_id"], unique=False)

    op.create_table(
        "invitations",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column(
            "role",
            sa.Enum("annotator", "lead", "admin", name="role", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("note", sa.String(length=200), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=True),
        sa.Column("max_uses", sa.Integer(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by_id", BIG_ID, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("uses >= 0 AND uses <= max_uses", name="ck_invitations_not_overused"),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["people.id"], name="fk_invitations_created_by_id", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_invitations"),
        sa.UniqueConstraint("token_hash", name="uq_invitations_token_hash"),
    )
    op.create_index("ix_invitations_created_by_id", "invitations", ["created_by_id"], unique=False)

    op.create_table(
        "login_links",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("person_id", BIG_ID, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_login_links_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_login_links"),
        sa.UniqueConstraint("token_hash", name="uq_login_links_token_hash"),
    )
    op.create_index("ix_login_links_person_id", "login_links", ["person_id"], unique=False)

    op.create_table(
        "login_sessions",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("person_id", BIG_ID, nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_agent", sa.String(length=300), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_login_sessions_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_login_sessions"),
        sa.UniqueConstraint("token_hash", name="uq_login_sessions_token_hash"),
    )
    op.create_index("ix_login_sessions_expires_at", "login_sessions", ["expires_at"], unique=False)
    op.create_index("ix_login_sessions_person_id", "login_sessions", ["person_id"], unique=False)

    op.create_table(
        "project_members",
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("person_id", BIG_ID, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_project_members_person_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_project_members_project_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "person_id", name="pk_project_members"),
    )
    op.create_index("ix_project_members_person_id", "project_members", ["person_id"], unique=False)

    op.create_table(
        "snapshots",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column(
            "state",
            sa.Enum("building", "ready", "failed", name="snapshotstate", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("rules", JSON, nullable=False),
        sa.Column("counts", JSON, nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=True),
        sa.Column("archive_digest", sa.String(length=64), nullable=True),
        sa.Column("job_id", BIG_ID, nullable=True),
        sa.Column("failure", sa.String(), nullable=True),
        sa.Column("created_by_id", BIG_ID, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state <> 'ready' OR (content_hash IS NOT NULL AND archive_digest IS NOT NULL)",
            name="ck_snapshots_ready_is_complete",
        ),
        sa.ForeignKeyConstraint(
            ["archive_digest"], ["blobs.digest"], name="fk_snapshots_archive_digest", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["people.id"], name="fk_snapshots_created_by_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_snapshots_job_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_snapshots_project_id", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
        sa.UniqueConstraint("project_id", "name", name="uq_snapshots_project_id_name"),
    )
    op.create_index("ix_snapshots_job_id", "snapshots", ["job_id"], unique=False)

    op.create_table(
        "subjects",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("external_id", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column(
            "split",
            sa.Enum("train", "validation", name="split", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("cutout_digest", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["cutout_digest"], ["blobs.digest"], name="fk_subjects_cutout_digest", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_subjects_project_id", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="pk_subjects"),
        sa.UniqueConstraint("project_id", "external_id", name="uq_subjects_project_id_external_id"),
    )
    op.create_table(
        "conditions",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("external_id", sa.String(length=200), nullable=False),
        sa.Column("subject_id", BIG_ID, nullable=False),
        sa.Column(
            "split",
            sa.Enum("train", "validation", name="split", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("image_digest", sa.String(length=64), nullable=False),
        sa.Column("mask_digest", sa.String(length=64), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("spec", JSON, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("width > 0 AND height > 0", name="ck_conditions_has_a_size"),
        sa.ForeignKeyConstraint(
            ["image_digest"], ["blobs.digest"], name="fk_conditions_image_digest", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["mask_digest"], ["blobs.digest"], name="fk_conditions_mask_digest", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_conditions_project_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["subject_id"], ["subjects.id"], name="fk_conditions_subject_id", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="pk_conditions"),
        sa.UniqueConstraint("project_id", "external_id", name="uq_conditions_project_id_external_id"),
    )
    op.create_index("ix_conditions_project_id_id", "conditions", ["project_id", "id"], unique=False)
    op.create_index("ix_conditions_subject_id", "conditions", ["subject_id"], unique=False)

    op.create_table(
        "runs",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("snapshot_id", BIG_ID, nullable=False),
        sa.Column("parent_generator_id", BIG_ID, nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("recipe", sa.String(length=60), nullable=False),
        sa.Column("config", JSON, nullable=False),
        sa.Column("config_hash", sa.String(length=64), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "running",
                "finished",
                "failed",
                "cancelled",
                name="runstate",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=False,
        ),
        sa.Column("job_id", BIG_ID, nullable=True),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("total_steps", sa.Integer(), nullable=False),
        sa.Column("adapter_digest", sa.String(length=64), nullable=True),
        sa.Column("generator_id", BIG_ID, nullable=True),
        sa.Column("result", JSON, nullable=True),
        sa.Column("failure", sa.String(), nullable=True),
        sa.Column("created_by_id", BIG_ID, nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state <> 'finished' OR adapter_digest IS NOT NULL", name="ck_runs_finished_has_adapter"),
        sa.ForeignKeyConstraint(
            ["adapter_digest"], ["blobs.digest"], name="fk_runs_adapter_digest", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["created_by_id"], ["people.id"], name="fk_runs_created_by_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["generator_id"], ["generators.id"], name="fk_runs_generator_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_runs_job_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["parent_generator_id"], ["generators.id"], name="fk_runs_parent_generator_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_runs_project_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshots.id"], name="fk_runs_snapshot_id", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("project_id", "name", name="uq_runs_project_id_name"),
    )
    op.create_index("ix_runs_generator_id", "runs", ["generator_id"], unique=False)
    op.create_index("ix_runs_job_id", "runs", ["job_id"], unique=False)
    op.create_index("ix_runs_parent_generator_id", "runs", ["parent_generator_id"], unique=False)
    op.create_index(
        "uq_runs_active",
        "runs",
        ["snapshot_id", "config_hash"],
        unique=True,
        postgresql_where=sa.text("state IN ('queued', 'running')"),
        sqlite_where=sa.text("state IN ('queued', 'running')"),
    )

    op.create_table(
        "attempts",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("job_id", BIG_ID, nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=40), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("first_step", sa.Integer(), nullable=True),
        sa.Column("last_step", sa.Integer(), nullable=True),
        sa.Column("log_tail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_attempts_job_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_attempts_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
        sa.UniqueConstraint("job_id", "fence", name="uq_attempts_job_id_fence"),
        sa.UniqueConstraint("run_id", "number", name="uq_attempts_run_id_number"),
    )
    op.create_table(
        "candidates",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("condition_id", BIG_ID, nullable=False),
        sa.Column("generator_id", BIG_ID, nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("sampler", JSON, nullable=False),
        sa.Column("image_digest", sa.String(length=64), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["condition_id"], ["conditions.id"], name="fk_candidates_condition_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["generator_id"], ["generators.id"], name="fk_candidates_generator_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["image_digest"], ["blobs.digest"], name="fk_candidates_image_digest", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_candidates_project_id", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="pk_candidates"),
        sa.UniqueConstraint(
            "condition_id", "generator_id", "seed", name="uq_candidates_condition_id_generator_id_seed"
        ),
    )
    op.create_index("ix_candidates_generator_id", "candidates", ["generator_id"], unique=False)
    op.create_index("ix_candidates_project_id_id", "candidates", ["project_id", "id"], unique=False)

    op.create_table(
        "checkpoints",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("is_kept", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_checkpoints_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "step", name="pk_checkpoints"),
    )
    op.create_table(
        "comparisons",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("condition_id", BIG_ID, nullable=False),
        sa.Column(
            "criterion",
            sa.Enum(
                "spatial_rationality",
                "foreground_consistency",
                "text_alignment",
                "overall",
                name="criterion",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=False,
        ),
        sa.Column(
            "kind",
            sa.Enum("win_lose", "pairwise", "arena", name="comparisonkind", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column(
            "state",
            sa.Enum("open", "complete", "withdrawn", name="comparisonstate", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("open_slots", sa.Integer(), nullable=False),
        sa.Column("judgments", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("propensity", sa.Double(), nullable=False),
        sa.Column("candidates_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("open_slots <= wanted", name="ck_comparisons_open_slots_within_wanted"),
        sa.CheckConstraint("open_slots >= 0", name="ck_comparisons_open_slots_not_negative"),
        sa.CheckConstraint("propensity > 0 AND propensity <= 1", name="ck_comparisons_propensity_is_probability"),
        sa.ForeignKeyConstraint(
            ["condition_id"], ["conditions.id"], name="fk_comparisons_condition_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_comparisons_project_id", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="pk_comparisons"),
        sa.UniqueConstraint(
            "project_id",
            "criterion",
            "kind",
            "candidates_hash",
            name="uq_comparisons_project_id_criterion_kind_candidates_hash",
        ),
    )
    op.create_index("ix_comparisons_condition_id", "comparisons", ["condition_id"], unique=False)
    op.create_index(
        "ix_comparisons_servable",
        "comparisons",
        ["project_id", "priority", "id"],
        unique=False,
        postgresql_where=sa.text("open_slots > 0 AND state = 'open'"),
        sqlite_where=sa.text("open_slots > 0 AND state = 'open'"),
    )

    op.create_table(
        "run_events",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_events_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "seq", name="pk_run_events"),
    )
    op.create_index("ix_run_events_run_id_kind_seq", "run_events", ["run_id", "kind", "seq"], unique=False)

    op.create_table(
        "run_samples",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(length=300), nullable=False),
        sa.Column("image_digest", sa.String(length=64), nullable=False),
        sa.Column("verdict", JSON, nullable=True),
        sa.ForeignKeyConstraint(
            ["image_digest"], ["blobs.digest"], name="fk_run_samples_image_digest", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_samples_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "step", "position", name="pk_run_samples"),
    )
    op.create_table(
        "assignments",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("comparison_id", BIG_ID, nullable=False),
        sa.Column("person_id", BIG_ID, nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "leased",
                "submitted",
                "skipped",
                "expired",
                "released",
                name="assignmentstate",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=False,
        ),
        sa.Column("shown_order", JSON, nullable=False),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparisons.id"], name="fk_assignments_comparison_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_assignments_person_id", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="pk_assignments"),
    )
    op.create_index(
        "ix_assignments_expiring",
        "assignments",
        ["lease_expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'leased'"),
        sqlite_where=sa.text("state = 'leased'"),
    )
    op.create_index("ix_assignments_person_id_state_id", "assignments", ["person_id", "state", "id"], unique=False)
    op.create_index(
        "uq_assignments_live",
        "assignments",
        ["comparison_id", "person_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('leased', 'submitted', 'skipped')"),
        sqlite_where=sa.text("state IN ('leased', 'submitted', 'skipped')"),
    )

    op.create_table(
        "comparison_candidates",
        sa.Column("comparison_id", BIG_ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("candidate_id", BIG_ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["candidate_id"], ["candidates.id"], name="fk_comparison_candidates_candidate_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparisons.id"], name="fk_comparison_candidates_comparison_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("comparison_id", "position", name="pk_comparison_candidates"),
        sa.UniqueConstraint(
            "comparison_id", "candidate_id", name="uq_comparison_candidates_comparison_id_candidate_id"
        ),
    )
    op.create_index("ix_comparison_candidates_candidate_id", "comparison_candidates", ["candidate_id"], unique=False)

    op.create_table(
        "verdicts",
        sa.Column("candidate_id", BIG_ID, nullable=False),
        sa.Column("judge", sa.String(length=40), nullable=False),
        sa.Column("rational", sa.Boolean(), nullable=True),
        sa.Column("reasons", JSON, nullable=False),
        sa.Column("margin", sa.Double(), nullable=False),
        sa.Column("measured", JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["candidate_id"], ["candidates.id"], name="fk_verdicts_candidate_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("candidate_id", "judge", name="pk_verdicts"),
    )
    op.create_table(
        "judgments",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("assignment_id", BIG_ID, nullable=False),
        sa.Column("comparison_id", BIG_ID, nullable=False),
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("person_id", BIG_ID, nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum(
                "marks", "choice", "tie", "both_bad", "skip", name="outcome", native_enum=False, create_constraint=True
            ),
            nullable=False,
        ),
        sa.Column("skip_reason", sa.String(length=200), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("outcome <> 'skip' OR skip_reason IS NOT NULL", name="ck_judgments_skip_has_reason"),
        sa.ForeignKeyConstraint(
            ["assignment_id"], ["assignments.id"], name="fk_judgments_assignment_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparisons.id"], name="fk_judgments_comparison_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_judgments_person_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_judgments_project_id", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="pk_judgments"),
        sa.UniqueConstraint("assignment_id", name="uq_judgments_assignment_id"),
        sa.UniqueConstraint("person_id", "idempotency_key", name="uq_judgments_person_id_idempotency_key"),
    )
    op.create_index("ix_judgments_comparison_id", "judgments", ["comparison_id"], unique=False)
    op.create_index("ix_judgments_person_id_id", "judgments", ["person_id", "id"], unique=False)
    op.create_index("ix_judgments_project_id_id", "judgments", ["project_id", "id"], unique=False)

    op.create_table(
        "judgment_marks",
        sa.Column("judgment_id", BIG_ID, nullable=False),
        sa.Column("candidate_id", BIG_ID, nullable=False),
        sa.Column(
            "mark",
            sa.Enum("none", "win", "lose", name="mark", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("shown_position", sa.Integer(), nullable=False),
        sa.Column("reasons", JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["candidate_id"], ["candidates.id"], name="fk_judgment_marks_candidate_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["judgment_id"], ["judgments.id"], name="fk_judgment_marks_judgment_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("judgment_id", "candidate_id", name="pk_judgment_marks"),
    )
    op.create_index("ix_judgment_marks_candidate_id", "judgment_marks", ["candidate_id"], unique=False)

    op.create_table(
        "judgment_revisions",
        sa.Column("judgment_id", BIG_ID, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("answer", JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["judgment_id"], ["judgments.id"], name="fk_judgment_revisions_judgment_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("judgment_id", "revision", name="pk_judgment_revisions"),
    )
    op.create_table(
        "votes",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("judgment_id", BIG_ID, nullable=False),
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("condition_id", BIG_ID, nullable=False),
        sa.Column(
            "criterion",
            sa.Enum(
                "spatial_rationality",
                "foreground_consistency",
                "text_alignment",
                "overall",
                name="criterion",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=False,
        ),
        sa.Column("person_id", BIG_ID, nullable=False),
        sa.Column("candidate_a", BIG_ID, nullable=False),
        sa.Column("candidate_b", BIG_ID, nullable=False),
        sa.Column("generator_a", BIG_ID, nullable=False),
        sa.Column("generator_b", BIG_ID, nullable=False),
        sa.Column(
            "outcome",
            sa.Enum("a", "b", "tie", "both_bad", name="voteoutcome", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("a_shown_first", sa.Boolean(), nullable=False),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.CheckConstraint("candidate_a < candidate_b", name="ck_votes_candidates_in_order"),
        sa.ForeignKeyConstraint(["candidate_a"], ["candidates.id"], name="fk_votes_candidate_a", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["candidate_b"], ["candidates.id"], name="fk_votes_candidate_b", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["condition_id"], ["conditions.id"], name="fk_votes_condition_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["generator_a"], ["generators.id"], name="fk_votes_generator_a", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["generator_b"], ["generators.id"], name="fk_votes_generator_b", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["judgment_id"], ["judgments.id"], name="fk_votes_judgment_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_votes_person_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_votes_project_id", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="pk_votes"),
        sa.UniqueConstraint(
            "judgment_id", "candidate_a", "candidate_b", name="uq_votes_judgment_id_candidate_a_candidate_b"
        ),
    )
    op.create_index("ix_votes_candidate_a", "votes", ["candidate_a"], unique=False)
    op.create_index("ix_votes_candidate_b", "votes", ["candidate_b"], unique=False)
    op.create_index("ix_votes_condition_id", "votes", ["condition_id"], unique=False)
    op.create_index("ix_votes_judgment_id", "votes", ["judgment_id"], unique=False)
    op.create_index("ix_votes_person_id", "votes", ["person_id"], unique=False)
    op.create_index(
        "ix_votes_tally", "votes", ["project_id", "criterion", "generator_a", "generator_b", "outcome"], unique=False
    )


def downgrade() -> None:
    op.drop_table("votes")
    op.drop_table("judgment_revisions")
    op.drop_table("judgment_marks")
    op.drop_table("judgments")
    op.drop_table("verdicts")
    op.drop_table("comparison_candidates")
    op.drop_table("assignments")
    op.drop_table("run_samples")
    op.drop_table("run_events")
    op.drop_table("comparisons")
    op.drop_table("checkpoints")
    op.drop_table("candidates")
    op.drop_table("attempts")
    op.drop_table("runs")
    op.drop_table("conditions")
    op.drop_table("subjects")
    op.drop_table("snapshots")
    op.drop_table("project_members")
    op.drop_table("login_sessions")
    op.drop_table("login_links")
    op.drop_table("invitations")
    op.drop_table("imports")
    op.drop_table("generators")
    op.drop_table("audit_entries")
    op.drop_table("api_tokens")
    op.drop_table("workers")
    op.drop_table("projects")
    op.drop_table("people")
    op.drop_table("jobs")
    op.drop_table("idempotency_records")
    op.drop_table("blobs")
