"""Ids as addresses, queries and bodies give them."""

from typing import Annotated

from fastapi import Path
from pydantic import Field

# SQLite cannot be asked for a larger number.
LARGEST = 2**63 - 1
Id = Annotated[int, Path(ge=1, le=LARGEST)]
GivenId = Annotated[int, Field(ge=1, le=LARGEST)]
