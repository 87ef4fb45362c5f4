"""Small pure parts: what is wrong with a form in words, names of browsers, paths of projects nobody knows."""

import pytest
from argon2 import PasswordHasher, Type
from pydantic import BaseModel, Field

from backend.accounts.models import Role
from backend.accounts.user_agents import browser_name
from backend.kit.errors import Invalid
from backend.kit.forms import field_errors, read_form


class Example(BaseModel):
    count: int = Field(1, ge=1, le=9)
    share: float = Field(0.5, gt=0, lt=1)
    role: Role = Role.LEAD
    words: str = Field("four", min_length=3, max_length=5)


@pytest.mark.parametrize(
    ("values", "errors"),
    [
        ({}, {}),
        ({"count": "many"}, {"count": "Write a whole number."}),
        ({"count": "0"}, {"count": "Write at least 1."}),
        ({"count": "10", "share": "1"}, {"count": "Write at most 9.", "share": "Write less than 1."}),
        ({"share": "half"}, {"share": "Write a number."}),
        ({"share": "0"}, {"share": "Write more than 0."}),
        ({"role": "king"}, {"role": "Choose one of: 'annotator', 'lead' or 'admin'."}),
        ({"words": "no"}, {"words": "Use at least 3 characters."}),
        ({"words": "too many"}, {"words": "Use at most 5 characters."}),
    ],
)
def test_errors_of_a_form_are_sentences(values: dict[str, str], errors: dict[str, str]) -> None:
    assert read_form(Example, values)[1] == errors


def test_an_error_without_a_field_is_about_the_form() -> None:
    assert field_errors(Invalid("No.")) == {"": "No."}
    assert field_errors(Invalid("No.", errors=[{"field": "x", "message": "Not x."}])) == {"x": "Not x."}


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) AppleWebKit/605 Version/18 Safari/605", "Safari on macOS"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537 Chrome/140 Safari/537 Edg/140", "Edge on Windows"),
        ("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537 Chrome/140 Mobile Safari/537", "Chrome on Android"),
        ("python-requests/2.32", "python-requests"),
        ("", "Unknown browser"),
    ],
)
def test_a_session_is_named_for_its_browser(user_agent: str, name: str) -> None:
    assert browser_name(user_agent) == name


def test_the_real_parameters_are_argon2id_as_strong_as_the_rfc_asks() -> None:
    """RFC 9106's second choice: 64 MiB, three passes, four lanes."""
    real = PasswordHasher()
    assert (real.type, real.memory_cost, real.time_cost, real.parallelism) == (Type.ID, 65_536, 3, 4)
