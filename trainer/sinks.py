"""Where the figures of a run go beside its event stream: TensorBoard always, MLflow and Weights & Biases where asked.

A sink is told every event; it takes metrics, validations, samples, costs and the ending. Both optional ones keep one
run over resumes, and both work without a network (a file store, the offline mode).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainer.contract.errors import ConfigError
from trainer.contract.events import Cost, Metrics, Sample, Validation

if TYPE_CHECKING:
    from trainer.contract.checkpoint import RunFolder
    from trainer.contract.config import RunConfig
    from trainer.contract.events import Event

MLFLOW_RUN = "mlflow_run_id"
"""File in the run folder that names the run at MLflow, so that a resumed attempt goes on with it."""
MLFLOW_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""MLflow's own would hold a run up for minutes at a server that is gone."""
ACROSS = 4
"""Images in a row of a sample grid."""


class Sink(Protocol):
    """A place that figures go to."""

    name: str
    """What a person calls it."""

    def write(self, event: Event) -> None:
        """Take what is of use in an event; what it raises costs the run this sink and nothing else."""
        ...

    def close(self) -> None:
        """Flush, and end."""
        ...


def open_sinks(folder: RunFolder, config: RunConfig, first_step: int) -> Iterator[Sink]:
    """TensorBoard and the sinks that the config asks for, one after the other.

    Raises ConfigError where a package is not installed, or what the config names cannot be used.
    """
    yield TensorBoard(folder, first_step)
    if not first_step:  # a run begun anew, maybe with another config, is a new one there
        (folder.root / MLFLOW_RUN).unlink(missing_ok=True)
    if config.telemetry.mlflow:
        yield _opened(MLflow, folder, config)
    if config.telemetry.wandb != "off":
        yield _opened(WeightsAndBiases, folder, config)


def _opened(kind: type[MLflow | WeightsAndBiases], folder: RunFolder, config: RunConfig) -> Sink:
    try:
        return kind(folder, config)
    except ConfigError:
        raise
    except Exception as error:  # servers, stores and accounts fail in kinds that only their packages know
        raise ConfigError(
            "sink_unusable",
            f"{kind.key} is {getattr(config.telemetry, kind.key.rpartition('.')[2])}, but {kind.name} cannot be used "
            f"there: {short(error)} Mend it, or turn it off by --set {kind.key}={kind.off}.",
        ) from error


def short(error: Exception) -> str:
    """An exception's first line as the end of a sentence: those of servers fill pages."""
    text = " ".join(str(error).partition("\n")[0].split()) or type(error).__name__
    return f"{text[:297]}..." if len(text) > 300 else text.rstrip(".") + "."


def scalars(event: Event) -> dict[str, float]:
    """The figures of an event under the names that dashboards show: metrics/loss, validation/margin, ..."""
    if isinstance(event, Metrics | Validation):
        return {f"{event.kind}/{name}": value for name, value in event.values.items()}
    if isinstance(event, Cost):
        sides = {"predicted": event.predicted, "measured": event.measured}
        return {f"cost/{name}_{side}": value for side, values in sides.items() for name, value in values.items()}
    if isinstance(event, Sample):
        judged = [image.rational for image in event.images if image.rational is not None]
        return {"sample/rational": sum(judged) / len(judged)} if judged else {}
    return {}


def sample_grid(root: Path, event: Sample) -> npt.NDArray[np.uint8]:
    """The images [H,W,3] of one look side by side, in rows of four, on white where one is smaller."""
    images = [np.asarray(Image.open(root / image.image).convert("RGB")) for image in event.images]
    height, width = max(i.shape[0] for i in images), max(i.shape[1] for i in images)
    across = min(ACROSS, len(images))
    sheet = np.full((-(-len(images) // across) * height, across * width, 3), 255, np.uint8)
    for place, image in enumerate(images):
        top, left = place // across * height, place % across * width
        sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    return sheet


class TensorBoard:
    """Event files under `tensorboard/`; what an earlier attempt wrote beyond `first_step` is hidden."""

    name = "TensorBoard"

    def __init__(self, folder: RunFolder, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._root = folder.root
        self._board = SummaryWriter(str(folder.tensorboard), purge_step=first_step + 1)

    def write(self, event: Event) -> None:
        found = scalars(event)
        for name, value in found.items():
            self._board.add_scalar(name, value, event.step)
        if isinstance(event, Sample) and event.images:
            self._board.add_image("sample/grid", sample_grid(self._root, event), event.step, dataformats="HWC")
        if found:
            self._board.flush()

    def close(self) -> None:
        self._board.close()


class MLflow:
    """A run at an MLflow tracking server or file store (`telemetry.mlflow` is its URI)."""

    name, key, off = "MLflow", "telemetry.mlflow", "null"

    def __init__(self, folder: RunFolder, config: RunConfig) -> None:
        uri = config.telemetry.mlflow or ""
        if not urlsplit(uri).scheme and uri != "databricks":  # MLflow would make a folder of it, wherever it is run
            raise ConfigError(
                "sink_unusable",
                f"telemetry.mlflow is {uri}, which is neither a server nor a folder: give http://HOST:PORT, or "
                "file:/FOLDER for a folder.",
            )
        for name, value in MLFLOW_PATIENCE.items():
            os.environ.setdefault(name, value)
        # without it MLflow refuses the plain folder that needs neither a server nor a database
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        client = _package("mlflow", "mlflow-skinny").MlflowClient(tracking_uri=uri)
        self._client: Any = client
        self._root = folder.root
        record = folder.root / MLFLOW_RUN
        if record.is_file():
            self._run = record.read_text(encoding="utf-8").strip()
            client.update_run(self._run, status="RUNNING")
            return
        project = config.telemetry.project
        found = client.get_experiment_by_name(project)
        experiment = found.experiment_id if found else client.create_experiment(project)
        self._run = client.create_run(experiment, run_name=folder.root.resolve().name).info.run_id
        record.write_text(self._run, encoding="utf-8")
        for name, value in flat(config.model_dump(mode="json")).items():
            client.log_param(self._run, name, value)

    def write(self, event: Event) -> None:
        for name, value in scalars(event).items():
            self._client.log_metric(self._run, name, value, step=event.step)
        if isinstance(event, Sample) and event.images:
            sheet = Image.fromarray(sample_grid(self._root, event))
            self._client.log_image(self._run, sheet, f"samples/step-{event.step:06d}.png")
        if event.kind in ("finished", "failed", "cancelled"):
            status = {"finished": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}[event.kind]
            self._client.set_terminated(self._run, status=status)

    def close(self) -> None:
        return


class WeightsAndBiases:
    """A run at Weights & Biases; `telemetry.wandb` is its mode. Its id is the run folder's, so a resume goes on."""

    name, key, off = "Weights & Biases", "telemetry.wandb", "off"

    def __init__(self, folder: RunFolder, config: RunConfig) -> None:
        from trainer.contract.files import sha256_bytes

        wandb = _package("wandb", "wandb")
        root = folder.root.resolve()
        self._wandb: Any = wandb
        self._exit_code = 0
        self._root = root
        self._run: Any = wandb.init(
            project=config.telemetry.project, name=root.name, id=sha256_bytes(str(root).encode())[:16], resume="allow",
            mode=config.telemetry.wandb, dir=str(root), config=config.model_dump(mode="json"),
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )  # fmt: skip

    def write(self, event: Event) -> None:
        found: dict[str, Any] = dict(scalars(event))
        if isinstance(event, Sample) and event.images:
            found["sample/grid"] = self._wandb.Image(sample_grid(self._root, event))
        if found:
            self._run.log({"step": event.step, **found})
        if event.kind in ("failed", "cancelled"):
            self._exit_code = 1

    def close(self) -> None:
        self._run.finish(exit_code=self._exit_code)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _package(module: str, name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            "sink_missing", f"The config asks for {module}, which is not installed: pip install {name}."
        ) from error
