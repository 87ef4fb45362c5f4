"""Which text encoders and autoencoder a base has, by what is remembered of them: a cache that holds all their work is
found without loading them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.backbones.protocol import ENCODER_KINDS, EncoderKind
from trainer.contract.files import write_durably
from trainer.data.shards import content_key
from trainer.fingerprint import fingerprint

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone

RECORD = "encoders.json"
INDEX = "model_index.json"

Prints = dict[EncoderKind, str]
"""Fingerprints of the text encoders and of the autoencoder."""


def prints_of(backbone: Backbone) -> Prints:
    """Fingerprints of the encoders that a backbone holds."""
    return {kind: fingerprint(backbone.encoders(kind)) for kind in ENCODER_KINDS}


def remembered_prints(backbone: Backbone, cache: Path) -> Prints:
    """Fingerprints of a backbone's encoders, as `cache/encoders.json` remembers them.

    A record is of one base, revision and type, and holds while the files of its parts are those it was taken of, by
    name, size and time; parts that are gone do not contradict it. Where none holds, the encoders are loaded and it is
    written. Raises ModelError where they cannot be loaded.
    """
    record = cache / RECORD
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    found: Prints = {}
    for kind in ENCODER_KINDS:
        name, files = _identity(backbone, kind)
        entry = known.get(name)
        if name and entry and all(now in (None, entry["files"].get(part)) for part, now in files.items()):
            found[kind] = entry["fingerprint"]
            continue
        backbone.load_encoders(kind, f"The cache {cache} does not know this base yet")
        found[kind] = fingerprint(backbone.encoders(kind))
        if name:
            known[name] = {"files": files, "fingerprint": found[kind]}
            cache.mkdir(parents=True, exist_ok=True)
            write_durably(record, json.dumps(known, indent=1).encode())
    return found


def _identity(backbone: Backbone, kind: EncoderKind) -> tuple[str, dict[str, str | None]]:
    """The name of a record, and of each part a hash of its files, None where it is gone.

    The name is empty where the base lies in no folder of this computer.
    """
    source = backbone.source
    folder = _folder(source.base.path, source.revision) if source else None
    if source is None or folder is None:
        return "", {}
    files = {part: _files(folder / part) for part in backbone.encoder_parts(kind)}
    return f"{kind} of {folder.resolve()} in {source.dtype}", files


def _folder(path: str, revision: str | None) -> Path | None:
    """The folder of a base, for a hub id that of its commit in the hub's cache."""
    if Path(path).is_dir():
        return Path(path)
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(path, INDEX, revision=revision)
    return Path(index).parent if isinstance(index, str) else None


def _files(folder: Path) -> str | None:
    if not folder.is_dir():
        return None
    told = [(file.name, file.stat()) for file in sorted(folder.iterdir()) if file.is_file()]
    if not any(name.endswith((".safetensors", ".bin")) for name, _ in told):
        return None
    return content_key(*((name, stat.st_size, stat.st_mtime_ns) for name, stat in told))
