"""Where the files of a run lie on the machine that trains it."""

from dataclasses import dataclass
from pathlib import Path

from trainer.contract.checkpoint import RunFolder


@dataclass(frozen=True, slots=True)
class Workplace:
    """The files of one run on this machine, under HOME/runs/<id>/."""

    root: Path

    @property
    def snapshot(self) -> Path:
        return self.root / "snapshot"

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def out(self) -> RunFolder:
        return RunFolder(self.root / "out")

    def log(self, attempt: int) -> Path:
        return self.root / f"attempt-{attempt}.log"


def workplace(home: Path, run_id: int) -> Workplace:
    return Workplace(home.absolute() / "runs" / str(run_id))
