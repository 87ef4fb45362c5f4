"""People and what proves who they are."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.kit.columns import check, enum_column, reference
from backend.kit.database import Base, Identified, Timestamped


class Role(StrEnum):
    ANNOTATOR = "annotator"
    LEAD = "lead"
    ADMIN = "admin"


class Person(Base, Identified, Timestamped):
    """Somebody who judges or administers; simulated annotators are marked and cannot log in."""

    __tablename__ = "people"
    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    role: Mapped[Role] = enum_column(Role, default=Role.ANNOTATOR)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    is_active: Mapped[bool] = mapped_column(default=True)
    is_simulated: Mapped[bool] = mapped_column(default=False)
    locale: Mapped[str] = mapped_column(String(10), default="")
    """The language of pages ("en", "zh"); empty follows the browser."""
    __table_args__ = (
        check("email_is_lowercase", "email = lower(email)"),
        check("simulated_cannot_log_in", "NOT is_simulated OR password_hash IS NULL"),
    )


class LoginSession(Base, Identified, Timestamped):
    """A browser that is logged in; only the hash of its cookie is stored."""

    __tablename__ = "login_sessions"
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    person_id: Mapped[int] = reference("people.id", ondelete="CASCADE")
    person: Mapped[Person] = relationship(lazy="joined", innerjoin=True)
    last_seen_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    user_agent: Mapped[str] = mapped_column(String(300), default="")


class LoginLink(Base, Identified, Timestamped):
    """A one-time link that logs a person in, as the one printed at the first start."""

    __tablename__ = "login_links"
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    person_id: Mapped[int] = reference("people.id", ondelete="CASCADE")
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Invitation(Base, Identified, Timestamped):
    """A link that lets somebody make an account with a given role, for at most `max_uses` people."""

    __tablename__ = "invitations"
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[Role] = enum_column(Role, default=Role.ANNOTATOR)
    note: Mapped[str] = mapped_column(String(200), default="")
    project_id: Mapped[int | None]
    max_uses: Mapped[int] = mapped_column(default=1)
    uses: Mapped[int] = mapped_column(default=0)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    created_by_id: Mapped[int] = reference("people.id")
    __table_args__ = (check("not_overused", "uses >= 0 AND uses <= max_uses"),)


class ApiToken(Base, Identified, Timestamped):
    """A scoped token for programs; shown once, stored as a hash."""

    __tablename__ = "api_tokens"
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    prefix: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(120))
    person_id: Mapped[int] = reference("people.id", ondelete="CASCADE")
    person: Mapped[Person] = relationship(lazy="joined", innerjoin=True)
    scopes: Mapped[list[Any]]
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class AuditEntry(Base, Identified, Timestamped):
    """Who did what to which object; never changed, never deleted."""

    __tablename__ = "audit_entries"
    person_id: Mapped[int | None] = reference("people.id", nullable=True)
    person: Mapped[Person | None] = relationship(lazy="joined")
    action: Mapped[str] = mapped_column(String(60), index=True)
    object_type: Mapped[str] = mapped_column(String(40))
    object_id: Mapped[str] = mapped_column(String(64), default="")
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    address: Mapped[str] = mapped_column(String(64), default="")
    __table_args__ = (Index("ix_audit_entries_object_type_object_id", "object_type", "object_id"),)
