"""The words of pages in several languages: one catalogue a language, used by templates and scripts alike.

A catalogue is `frontend_templates/languages/CODE.json`: nested objects whose leaves are sentences with `{named}`
places. English is the source; another language is one more file with the same keys (a test holds it to them).
"""

import json
import re
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

CATALOGUES = Path(__file__).resolve().parents[2] / "frontend_templates" / "languages"
SOURCE = "en"
_current: ContextVar[str] = ContextVar("language", default=SOURCE)
# What services say in English is translated where it is shown: the part of a catalogue that holds those sentences.
_SENTENCES = "sentences"


@cache
def catalogue(code: str) -> dict[str, Any]:
    """The whole catalogue of a language. Raises FileNotFoundError for one that is not there."""
    found: dict[str, Any] = json.loads((CATALOGUES / f"{code}.json").read_text(encoding="utf-8"))
    return found


@cache
def languages() -> dict[str, str]:
    """{code: the language's name in itself}, English first."""
    codes = sorted((path.stem for path in CATALOGUES.glob("*.json")), key=lambda code: (code != SOURCE, code))
    return {code: catalogue(code)["language"] for code in codes}


def choose(wanted: str, accept: str) -> str:
    """The language of a page: the person's own choice, else the best that the browser accepts, else English."""
    known = languages()
    if wanted in known:
        return wanted
    ranked: list[tuple[float, str]] = []
    for part in accept.split(","):
        tag, _, weight = part.strip().partition(";q=")
        code = tag.strip().lower().split("-")[0]
        try:
            quality = float(weight or 1)
        except ValueError:
            continue
        if code in known and quality > 0:
            ranked.append((quality, code))
    return max(ranked, key=lambda pair: pair[0])[1] if ranked else SOURCE


def speak(code: str) -> None:
    """Makes `code` the language of what this request shows from here on."""
    _current.set(code)


def current() -> str:
    return _current.get()


def words(key: str, **values: object) -> str:
    """The sentence under a dotted key in the current language, its places filled. Raises KeyError for unknown keys."""
    found: Any = catalogue(_current.get())
    for part in key.split("."):
        found = found[part]
    return str(found).format_map(values) if values else str(found)


def part(key: str) -> dict[str, Any]:
    """A whole part of the current language's catalogue, for scripts."""
    found: dict[str, Any] = catalogue(_current.get())[key]
    return found


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """How to recognise each of the English sentences, and its key; those without places first, they are sure."""
    found = []
    for key, sentence in sorted(catalogue(SOURCE)[_SENTENCES].items(), key=lambda item: item[1].count("{")):
        pieces = re.split(r"\{(\w+)\}", sentence)
        pattern = "".join(f"(?P<{piece}>.+?)" if i % 2 else re.escape(piece) for i, piece in enumerate(pieces))
        found.append((re.compile(pattern, re.DOTALL), key))
    return found


def translated(sentence: str) -> str:
    """An English sentence of a service in the current language; as it is where the catalogue does not know it."""
    if _current.get() == SOURCE:
        return sentence
    for pattern, key in _patterns():
        if match := pattern.fullmatch(sentence):
            values = {name: translated(value) for name, value in match.groupdict().items()}
            return str(part(_SENTENCES)[key]).format_map(values)
    return sentence
