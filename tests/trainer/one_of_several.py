"""One process of several, run by path with ENVIRONMENT and ARGUMENTS among its globals: a command of the trainer."""

from __future__ import annotations

import os

ENVIRONMENT: dict[str, str] = globals()["ENVIRONMENT"]
ARGUMENTS: list[str] = globals()["ARGUMENTS"]

os.environ.update(ENVIRONMENT)
from trainer.cli import main  # noqa: E402  # after the environment that it reads

raise SystemExit(main(ARGUMENTS))
