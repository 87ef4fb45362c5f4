"""Keyset paging: a page is found by the last row of the one before, so that page 10,000 costs what page 1 does."""

import base64
import binascii
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel
from sqlalchemy import ColumnElement, Select
from sqlalchemy.orm import Session

from backend.kit.errors import Invalid

Item = TypeVar("Item")


class PageRequest(BaseModel):
    """What a client asks for: rows after `after` (exclusive), newest first."""

    limit: int
    after: int | None


class Page(BaseModel, Generic[Item]):
    """One page of items and the cursor of the next, null at the end."""

    items: list[Item]
    next_cursor: str | None


def encode_cursor(key: int) -> str:
    return base64.urlsafe_b64encode(str(key).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        raise Invalid("The cursor is not one this list gave out: leave it away to start from the first page.") from None


def page_request(
    limit: Annotated[int, Query(ge=1, le=200, description="Rows a page.")] = 50,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
) -> PageRequest:
    return PageRequest(limit=limit, after=decode_cursor(cursor) if cursor else None)


Paging = Annotated[PageRequest, Depends(page_request)]


def fetch_page(
    session: Session, query: Select[Any], key: ColumnElement[int], page: PageRequest
) -> tuple[list[Any], str | None]:
    """Rows of `query` in descending order of the unique column `key`, and the cursor of the next page."""
    if page.after is not None:
        query = query.where(key < page.after)
    rows = list(session.scalars(query.order_by(key.desc()).limit(page.limit + 1)))
    if len(rows) <= page.limit:
        return rows, None
    rows.pop()
    return rows, encode_cursor(getattr(rows[-1], key.key))
