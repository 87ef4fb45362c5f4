"""Real snapshots of a few small scenes."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from backend.datasets.archive import write_archive
from trainer.contract.snapshot import ConditionInput, PairInput, WinnerInput, write_snapshot

SIZE = 64


def _png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def _picture(seed: int) -> bytes:
    """A smooth gradient in colours of its own."""
    generator = np.random.default_rng(seed)
    corner, across, down = generator.integers(0, 90, 3), generator.integers(0, 80, 3), generator.integers(0, 80, 3)
    x, y = np.meshgrid(np.linspace(0, 1, SIZE), np.linspace(0, 1, SIZE))
    return _png((corner + x[..., None] * across + y[..., None] * down).astype(np.uint8))


def _mask() -> bytes:
    pixels = np.full((SIZE, SIZE), 255, np.uint8)
    pixels[30:50, 22:42] = 0
    return _png(pixels)


def archive(folder: Path) -> tuple[str, Path, dict[str, int]]:
    """Writes a snapshot of four training and two held-out conditions; its hash, its tar and its counts."""
    conditions, pairs, winners = [], [], []
    for number in range(6):
        name = f"c{number}"
        split = "train" if number < 4 else "validation"
        conditions.append(ConditionInput(name, f"s{number}", split, f"scene {number}", _picture(number), _mask()))
        for index in range(2):
            win, lose = _picture(100 + 10 * number + index), _picture(500 + 10 * number + index)
            pairs.append(PairInput(f"p{number}-{index}", name, win, lose, f"w{number}-{index}", f"l{number}-{index}"))
            winners.append(WinnerInput(name, win, f"w{number}-{index}"))
    snapshot = write_snapshot(
        folder / "snapshot", name="small", rules={}, conditions=conditions, pairs=pairs, winners=winners
    )
    packed = folder / "snapshot.tar"
    write_archive(folder / "snapshot", packed, root="small")
    return snapshot.manifest.content_hash, packed, dict(snapshot.manifest.counts)
