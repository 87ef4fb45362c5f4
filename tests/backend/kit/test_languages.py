"""Catalogues of words: the same keys and places in every language, and every key that pages ask for is there."""

import json
import re
from pathlib import Path

import pytest

from backend.kit import languages
from backend.kit.languages import SOURCE, catalogue, choose, speak, translated, words
from backend.kit.pages import TEMPLATES

OTHERS = [code for code in languages.languages() if code != SOURCE]
PLACES = re.compile(r"\{(\w+)\}")
REPOSITORY = TEMPLATES.parent


def leaves(tree: object, path: str = "") -> dict[str, str]:
    if isinstance(tree, str):
        return {path: tree}
    assert isinstance(tree, dict)
    return {key: text for name, part in tree.items() for key, text in leaves(part, f"{path}.{name}".strip(".")).items()}


@pytest.fixture(autouse=True)
def source_again():
    yield
    speak(SOURCE)


def test_english_comes_first_and_there_is_chinese():
    assert list(languages.languages().items())[:2] == [("en", "English"), ("zh", "中文")]


@pytest.mark.parametrize("code", OTHERS)
def test_every_catalogue_has_the_same_keys_with_the_same_places(code):
    source, other = leaves(catalogue(SOURCE)), leaves(catalogue(code))
    assert set(source) == set(other)
    for key, text in source.items():
        assert sorted(PLACES.findall(text)) == sorted(PLACES.findall(other[key])), key
        assert other[key].strip(), key


def test_every_key_that_a_template_or_script_asks_for_is_there():
    known, screen = leaves(catalogue(SOURCE)), leaves(catalogue(SOURCE)["screen"])
    for path in TEMPLATES.rglob("*.html"):
        for key in re.findall(r"""say\(["']([\w.]+)["'][,)]""", path.read_text()):
            assert key in known, f"{path.name}: {key}"
    for path in (TEMPLATES / "static" / "judge").glob("*.js"):
        for key in re.findall(r"""say\(["']([\w.]+)["'][,)]""", path.read_text()):
            assert key in screen, f"{path.name}: {key}"


def test_every_sentence_to_be_translated_is_one_that_the_service_says():
    """A reworded sentence would silently stay English: the catalogue's must stand in the source as they are."""
    source = "".join(path.read_text() for path in (REPOSITORY / "backend").rglob("*.py"))
    # Python joins string literals that follow each other; so does this.
    joined = re.sub(r"""["']\s*\n\s*f?["']""", "", source)
    from_libraries = {"http_404", "http_405", "browser_on", "one_minute", "minutes", "invalid", "short", "long"}
    for key, sentence in catalogue(SOURCE)["sentences"].items():
        if key in from_libraries:
            continue
        longest = max(PLACES.split(sentence)[::2], key=len)
        assert longest in joined, f"{key}: {sentence}"


@pytest.mark.parametrize(
    ("wanted", "accept", "chosen"),
    [
        ("", "", "en"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("", "de-DE, en;q=0.3, zh;q=0.2", "en"),
        ("", "de;q=1, fr", "en"),
        ("zh", "en", "zh"),
        ("xx", "zh", "zh"),
        ("", "zh;q=nonsense, en;q=0.1", "en"),
        ("", "zh;q=0, en;q=0.5", "en"),
    ],
)
def test_the_persons_choice_comes_before_the_browsers(wanted, accept, chosen):
    assert choose(wanted, accept) == chosen


def test_sentences_of_services_are_translated_with_what_they_name():
    assert translated("Not found") == "Not found"
    speak("zh")
    assert translated("Not found") == "未找到"
    assert translated("There is nothing at /nowhere.") == "/nowhere 处没有内容。"
    assert translated("A sentence nobody has translated.") == "A sentence nobody has translated."
    assert words("time.minutes", count=5) == "5 分钟前"


def test_catalogues_are_written_so_that_changes_read_well():
    for path in Path(languages.CATALOGUES).glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=1) + "\n"
