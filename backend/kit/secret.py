"""A secret of this installation, made at its first start and shared by all processes on the same home folder."""

import os
import secrets
import tempfile
from pathlib import Path

NAME, SIZE = "secret.key", 32


def installation_secret(home: Path) -> bytes:
    """The installation's 32 bytes, kept in `home`, readable by its owner alone; made where they are missing.

    Only things that may be lost without harm are signed with it: another home folder has another secret. Raises OSError
    where the folder cannot be written.
    """
    path = home / NAME
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        # Written aside and linked into place: of processes that start together one wins, and none reads half of it.
        handle, staged = tempfile.mkstemp(dir=home, prefix=".secret-")
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(SIZE))
        try:
            os.link(staged, path)
        except FileExistsError:
            pass
        finally:
            Path(staged).unlink()
    return path.read_bytes()
