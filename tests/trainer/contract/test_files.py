"""Durable files under many writers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainer.contract.files import write_durably


def test_writers_of_one_number_write_one_file(tmp_path: Path) -> None:
    """As processes of two containers do that share a folder: one of the texts stands there, whole, and nothing else."""
    path = tmp_path / "record.json"
    texts = [bytes([65 + number]) * 4096 for number in range(8)]
    with ThreadPoolExecutor(len(texts)) as pool:
        list(pool.map(lambda text: [write_durably(path, text) for _ in range(20)], texts))
    assert path.read_bytes() in texts
    assert list(tmp_path.iterdir()) == [path]
