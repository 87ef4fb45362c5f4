"""From the fields of an HTML form to a validated model, with what is wrong said in words beside each field."""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData

from backend.kit.errors import Invalid

Model = TypeVar("Model", bound=BaseModel)


async def _form_of(request: Request) -> AsyncIterator[FormData]:
    async with request.form() as form:
        yield form


LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}

# The submitted fields, unchecked, for `read_form`: so that a page can answer with its form instead of an error page.
SubmittedForm = Annotated[FormData, Depends(_form_of)]


def read_form(model: type[Model], values: Mapping[str, Any]) -> tuple[Model | None, dict[str, str]]:
    """The model made of `values` and no errors, or None and ``{field: sentence}``; "" names the form as a whole."""
    try:
        return model.model_validate(dict(values)), {}
    except ValidationError as error:
        errors: dict[str, str] = {}
        for item in error.errors():
            field = str(item["loc"][0]) if item["loc"] else ""
            errors.setdefault(field, in_words(item))
        return None, errors


def field_errors(error: Invalid) -> dict[str, str]:
    """The errors of a rule that said no, as `read_form` gives them."""
    named = {str(item["field"]): str(item["message"]) for item in error.errors if item.get("field")}
    return named or {"": error.detail}


def in_words(item: Mapping[str, Any]) -> str:
    """One error of pydantic as a sentence for somebody who has never heard of it."""
    context = item.get("ctx") or {}
    kind = item["type"]
    if kind == "value_error":
        return str(context.get("error", item["msg"]))
    if kind == "missing" or (kind in {"string_too_short", "too_short"} and context.get("min_length") == 1):
        return "Choose at least one." if kind == "too_short" else "Fill this in."
    if kind == "string_too_short":
        return f"Use at least {context['min_length']} characters."
    if kind == "string_too_long":
        return f"Use at most {context['max_length']} characters."
    if kind in {"int_parsing", "int_type", "float_parsing", "float_type", "int_from_float"}:
        return "Write a whole number." if kind.startswith("int") else "Write a number."
    for limit, words in LIMITS.items():
        if limit in context:
            return f"Write {words} {context[limit]:g}."
    if kind in {"enum", "literal_error"}:
        return f"Choose one of: {context.get('expected')}."
    if kind.startswith(("date", "datetime")):
        return "Write a date like 2026-01-31."
    return f"{item['msg']}."
