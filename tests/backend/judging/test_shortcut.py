"""The images kept in memory stay within their bound."""

from backend.judging import shortcut
from backend.judging.shortcut import KeptImages


def test_images_shown_last_are_kept_within_the_bound(monkeypatch):
    monkeypatch.setattr(shortcut, "KEPT_BYTES", 30)
    monkeypatch.setattr(shortcut, "LARGEST_KEPT", 20)
    kept = KeptImages()
    kept.keep("a", "RGB", b"x" * 10)
    kept.keep("a", "L", b"y" * 10)
    kept.keep("b", "RGB", b"z" * 10)
    assert kept.get("a", "RGB") == b"x" * 10
    kept.keep("c", "RGB", b"w" * 10)
    assert kept.get("a", "L") is None and kept.get("a", "RGB") and kept.get("b", "RGB")
    kept.keep("d", "RGB", b"v" * 21)
    assert kept.get("d", "RGB") is None and kept.get("c", "RGB")
