"""A broker without a server: messages as files in a folder that the processes of one machine share.

Kombu's own transport writes a message under its final name, so that another process can pick it up empty; here it
appears under that name only when it is whole.
"""

import uuid
from pathlib import Path
from time import monotonic_ns
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps

NAME = "backend.jobs.folder_broker:Transport"


class Channel(filesystem.Channel):
    """A channel whose messages are published by rename."""

    def _put(self, queue: str, payload: dict[str, Any], **kwargs: Any) -> None:
        folder = Path(self.data_folder_out)
        # The name orders the folder by time; kombu looks for what follows the first dot.
        name = f"{monotonic_ns()}_{uuid.uuid4()}.{queue}.msg"
        staged = folder / f".staged-{name}"
        staged.write_text(dumps(payload))
        staged.replace(folder / name)


class Transport(filesystem.Transport):
    Channel = Channel
