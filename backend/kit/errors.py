"""Typed errors that compose their own message and reach clients as RFC 9457 problem documents."""

from typing import Any, ClassVar


class AppError(Exception):
    """An error a person can act on.

    `code` is stable and part of the API; `detail` says what happened, where, and what to do about it; `errors` names
    single fields or rows as ``{"field": ..., "message": ...}``.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad_request"
    title: ClassVar[str] = "The request could not be carried out"

    def __init__(self, detail: str, *, errors: list[dict[str, Any]] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or []
        self.extra = extra

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 document of this error."""
        document: dict[str, Any] = {
            "type": f"urn:inpaintdpo:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.extra,
        }
        if self.errors:
            document["errors"] = self.errors
        return document


class Invalid(AppError):
    status, code, title = 422, "invalid", "Something in the request is not valid"


class NotFound(AppError):
    status, code, title = 404, "not_found", "Not found"


class Unauthenticated(AppError):
    status, code, title = 401, "unauthenticated", "Please log in"


class Forbidden(AppError):
    status, code, title = 403, "forbidden", "Not allowed"


class Conflict(AppError):
    status, code, title = 409, "conflict", "This conflicts with the present state"


class Gone(AppError):
    status, code, title = 410, "gone", "No longer there"


class TooMany(AppError):
    status, code, title = 429, "too_many_requests", "Too many requests"


class TooLarge(AppError):
    status, code, title = 413, "too_large", "The request is too large"
