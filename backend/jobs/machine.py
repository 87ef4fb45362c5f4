"""What this process can know of the machine it runs on."""

import os
import socket
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

TRAINER_PACKAGES = ("torch", "diffusers", "transformers", "peft", "safetensors")


def trainer_missing() -> list[str]:
    """The packages of the trainer extra that are not installed; nothing is imported to find out."""
    return [name for name in TRAINER_PACKAGES if find_spec(name) is None]


def package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def worker_name(queue: str) -> str:
    return f"{socket.gethostname()}/{queue}/{os.getpid()}"
