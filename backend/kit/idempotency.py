"""POSTs that may be sent twice: the first answer is kept and given again."""

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Header
from pydantic import BaseModel
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from backend.kit.database import utcnow
from backend.kit.errors import Conflict
from backend.kit.models import IdempotencyRecord

IdempotencyKey = Annotated[str | None, Header(max_length=200, description="Makes a repeated POST harmless.")]


def idempotent(
    session: Session, scope: str, key: str | None, request: BaseModel, act: Callable[[], BaseModel]
) -> dict[str, Any]:
    """The answer of `act`, or the stored one of an earlier request with the same key.

    The record is inserted before `act` runs, in the same transaction: of two concurrent requests the second waits for
    the first and then finds its answer. Raises Conflict when the key came before with a different request.
    """
    if key is None:
        return act().model_dump(mode="json")
    request_hash = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    values = {
        "scope": scope,
        "key": key,
        "request_hash": request_hash,
        "status": 0,
        "body": {},
        "created_at": utcnow(),
    }
    inserted = session.execute(
        dialect.insert(IdempotencyRecord).values(values).on_conflict_do_nothing().returning(IdempotencyRecord.key)
    ).first()
    record = session.get_one(IdempotencyRecord, (scope, key))
    if inserted is None:
        if record.request_hash != request_hash:
            raise Conflict(f"The Idempotency-Key “{key}” came before with a different request: use a new key.")
        return record.body
    body = json.loads(act().model_dump_json())
    record.status, record.body = 200, body
    return body
