"""What accounts take in and give out."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from backend.accounts.models import Role
from backend.accounts.tokens import SCOPES
from backend.kit.languages import languages


def _email(value: str) -> str:
    local, at, domain = value.rpartition("@")
    if not (local and at and domain) or any(sign.isspace() for sign in value) or "@" in local:
        raise ValueError("Write an email address like name@example.org.")
    return value.lower()


def _scopes(values: list[str]) -> list[str]:
    unknown = [value for value in values if value not in SCOPES]
    if unknown:
        raise ValueError(f"Unknown scopes: {', '.join(unknown)}. There are {', '.join(SCOPES)}.")
    return [scope for scope in SCOPES if scope in values]


def _none_if_blank(value: object) -> object:
    return None if value == "" else value


Email = Annotated[str, StringConstraints(strip_whitespace=True, max_length=254), AfterValidator(_email)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
Scopes = Annotated[list[str], Field(min_length=1), AfterValidator(_scopes)]
BlankDate = Annotated[date | None, BeforeValidator(_none_if_blank)]


class FromRow(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class PersonOut(FromRow):
    id: int
    name: str
    email: str
    role: Role
    is_active: bool
    is_simulated: bool
    created_at: datetime


class Me(PersonOut):
    """The person asking; `csrf_token` belongs to the cookie session (null for API tokens)."""

    scopes: list[str] | None
    csrf_token: str | None


def _language(value: str) -> str:
    if value and value not in languages():
        raise ValueError("Choose one of the languages listed.")
    return value


class AccountChange(BaseModel):
    """One's own account; `locale` is the language of pages, empty to follow the browser, None to leave it."""

    name: Name
    email: Email
    locale: Annotated[str, AfterValidator(_language)] | None = None


class OwnChange(BaseModel):
    name: Name


class PersonChange(BaseModel):
    """What an admin may change of a person; what is left out stays."""

    role: Role | None = None
    is_active: bool | None = None


class Joining(BaseModel):
    """What an invited person fills in."""

    name: Name
    email: Email
    password: str


class InvitationIn(BaseModel):
    role: Role = Role.ANNOTATOR
    note: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""
    project_id: Annotated[int | None, BeforeValidator(_none_if_blank)] = None
    max_uses: Annotated[int, Field(ge=1, le=1000)] = 1
    days: Annotated[int, Field(ge=1, le=90)] = 14


class InvitationOut(FromRow):
    id: int
    role: Role
    note: str
    project_id: int | None
    max_uses: int
    uses: int
    expires_at: datetime
    revoked_at: datetime | None
    created_by_id: int
    created_at: datetime


class InvitationMade(InvitationOut):
    """A new invitation with its link, which is not stored and cannot be shown again."""

    link: str


class TokenIn(BaseModel):
    name: Name
    scopes: Scopes
    days: Annotated[int | None, Field(ge=1, le=3650), BeforeValidator(_none_if_blank)] = 90


class TokenOut(FromRow):
    id: int
    name: str
    prefix: str
    person_id: int
    scopes: list[str]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


class TokenMade(TokenOut):
    """A new token with its secret, which is stored as a hash and cannot be shown again."""

    token: str


class SessionOut(FromRow):
    id: int
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    user_agent: str
    current: bool = False


class AuditOut(FromRow):
    id: int
    created_at: datetime
    person_id: int | None
    action: str
    object_type: str
    object_id: str
    details: dict[str, object]
    address: str


class PeopleFilter(BaseModel):
    q: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""
    role: Annotated[Role | None, BeforeValidator(_none_if_blank)] = None
    kind: Literal["", "real", "simulated", "inactive"] = ""


class AuditFilter(BaseModel):
    action: Annotated[str, StringConstraints(strip_whitespace=True, max_length=60)] = ""
    person: Annotated[str, StringConstraints(strip_whitespace=True, max_length=254)] = ""
    object_type: Annotated[str, StringConstraints(strip_whitespace=True, max_length=40)] = ""
    object_id: Annotated[str, StringConstraints(strip_whitespace=True, max_length=64)] = ""
    since: BlankDate = None
    until: BlankDate = None

    @model_validator(mode="after")
    def _in_order(self) -> "AuditFilter":
        if self.since and self.until and self.since > self.until:
            raise ValueError("“From” lies after “until”: swap the two days.")
        return self

    @property
    def since_moment(self) -> datetime:
        return datetime.combine(self.since or date.min, time.min, UTC)

    @property
    def until_moment(self) -> datetime:
        """The end of the last day, which belongs to the range."""
        return datetime.combine(self.until or date.max - timedelta(days=1), time.min, UTC) + timedelta(days=1)
