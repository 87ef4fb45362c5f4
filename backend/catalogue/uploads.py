"""Uploads that become the source of an import: one zip, or the files of a folder."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from starlette.datastructures import UploadFile

from backend.catalogue.manifest import safe_path
from backend.catalogue.sources import MANIFEST_NAMES, FolderSource, Source, ZipSource
from backend.kit.errors import Invalid

# The form parser holds up to 1 MB of each file in memory; larger folders come as a zip, which it spools to disk.
MAX_FOLDER_FILES = 2_000


@contextmanager
def source_of_uploads(files: list[UploadFile], *, max_bytes: int) -> Iterator[Source]:
    """The uploads as a source, for as long as the block runs. Raises Invalid where they cannot be one."""
    named = [file for file in files if file.filename]
    if not named:
        raise Invalid("No file came with the request: choose a zip or a folder that holds a manifest.")
    if len(named) == 1 and not _is_manifest(named[0]):
        with ZipSource(named[0].file, max_bytes=max_bytes) as source:
            yield source
        return
    with TemporaryDirectory(prefix="inpaintdpo-upload-") as folder:
        yield FolderSource(_lay_out(named, Path(folder)))


def _is_manifest(file: UploadFile) -> bool:
    return PurePosixPath(file.filename or "").name.lower() in MANIFEST_NAMES


def _lay_out(files: list[UploadFile], folder: Path) -> Path:
    """Writes the uploads below `folder` by their own relative paths and returns the folder that holds the manifest."""
    for file in files:
        try:
            target = folder / safe_path("file", file.filename or "")
        except ValueError as error:
            raise Invalid(f"{error}") from None
        if target.exists():
            raise Invalid(f"The upload holds “{file.filename}” twice.")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            shutil.copyfileobj(file.file, out)
    # A browser sends a folder's own name in front of every path.
    for place in (folder, *(child for child in sorted(folder.iterdir()) if child.is_dir())):
        if any((place / name).is_file() for name in MANIFEST_NAMES):
            return place
    raise Invalid(f"The folder holds none of {', '.join(MANIFEST_NAMES)} at its top: add the manifest.")
