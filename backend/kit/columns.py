"""Shorthands for columns that many tables share."""

from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import CheckConstraint, Enum, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

Kind = TypeVar("Kind", bound=StrEnum)


def enum_column(kind: type[Kind], **options: Any) -> Mapped[Kind]:
    """A text column that the database itself confines to the values of `kind`."""
    values = [member.value for member in kind]
    column_type = Enum(
        *values, name=kind.__name__.lower(), native_enum=False, create_constraint=True, length=max(map(len, values))
    )
    return mapped_column(column_type, **options)


def reference(target: str, *, nullable: bool = False, ondelete: str = "RESTRICT", index: bool = True, **options: Any):
    """A foreign key to `table.column`, indexed unless another index already starts with it."""
    return mapped_column(ForeignKey(target, ondelete=ondelete), nullable=nullable, index=index, **options)


def check(name: str, condition: str) -> CheckConstraint:
    return CheckConstraint(condition, name=name)
