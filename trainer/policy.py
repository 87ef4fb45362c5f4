"""What a run trains: its parameters, their optimizer and average, and how they are kept and published."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from trainer.average import Average, swapped_in
from trainer.contract.errors import ConfigError
from trainer.early_stop import EarlyStop
from trainer.sharding import like, whole

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.backbones.protocol import Backbone
    from trainer.contract.config import RunConfig

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class Policy:
    """The trained weights of a backbone, by one AdamW, with their average and best state where the config asks."""

    def __init__(self, config: RunConfig, backbone: Backbone) -> None:
        optimizer, ema = config.optimizer, config.training.ema
        self._backbone = backbone
        self._full = config.training.method == "full"
        self._clip = optimizer.clip_norm
        self.product = "model" if self._full else "adapter"
        """The folder that the result is published in."""
        self.parameters = backbone.trainable()
        self.optimizer = torch.optim.AdamW(
            list(self.parameters.values()),
            lr=optimizer.learning_rate,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.epsilon,
            weight_decay=optimizer.weight_decay,
            foreach=False,
        )
        self.average = Average(self.parameters, ema) if ema else None
        self.early_stop = EarlyStop(config.validation)

    def update(self, step: int, learning_rate: float) -> float:
        """One optimizer step with the gradients that are there, unless they are no numbers; returns their norm."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self._clip, foreach=False)
        found = float(whole(norm))
        if math.isfinite(found):
            self.optimizer.step()
            if self.average:
                self.average.update(step + 1)
        return found

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Within it the model has the weights that are validated and published: the average's, where there is one."""
        with swapped_in(self.parameters, self.average.values) if self.average else nullcontext():
            yield

    @contextmanager
    def best(self) -> Iterator[None]:
        """Within it the model has the weights of the best validation, where one is watched, else those of `shown`."""
        best = self.early_stop.weights
        with swapped_in(self.parameters, best) if best else self.shown():
            yield

    def export(self, folder: Path, *, write: bool = True) -> None:
        """Write the weights as they stand: a LoRA, or under full fine-tuning the denoiser in diffusers format.

        Of several processes all must call this, and one writes.
        """
        if self._full:
            weights = _gathered(self._backbone.denoiser.state_dict(), keep=write)
            if write:
                self._backbone.export_model(folder, weights)
        elif write:
            self._backbone.export_adapter(folder)

    # --- its state ------------------------------------------------------------------------------------------------

    def tensors(self, *, keep: bool = True) -> dict[str, Tensor]:
        """Everything that a resumed run needs bit by bit, on the CPU: weights, moments, average, best weights.

        Of several processes all must call this; it is empty in those that do not `keep`.
        """
        groups: dict[str, Mapping[str, Tensor]] = {"weight": self.parameters, "best": self.early_stop.weights}
        if self.average:
            groups["average"] = self.average.values
        for moment in MOMENTS:
            state = self.optimizer.state
            groups[moment] = {n: state[p][moment] for n, p in self.parameters.items() if p in state}
        found: dict[str, Tensor] = {}
        for group, values in groups.items():
            found |= {f"{group}/{name}": value for name, value in _gathered(values, keep=keep).items()}
        return found

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Take up what `tensors` gave. Raises ConfigError, naming `source`, when it is another model's."""
        for name, parameter in self.parameters.items():
            saved = tensors.get(f"weight/{name}")
            if saved is None or saved.shape != parameter.shape:
                raise ConfigError(
                    "checkpoint_other_model", f"{source} was made with another model or LoRA rank: {name} does not fit."
                )
            parameter.copy_(like(saved, parameter))
            moments = {moment: tensors.get(f"{moment}/{name}") for moment in MOMENTS}
            if moments["step"] is not None:
                self.optimizer.state[parameter] = {
                    moment: value.clone() if moment == "step" else like(value, parameter)
                    for moment, value in moments.items()
                    if value is not None
                }
            if self.average and f"average/{name}" in tensors:
                self.average.values[name] = like(tensors[f"average/{name}"], parameter)
            if f"best/{name}" in tensors:
                self.early_stop.weights[name] = like(tensors[f"best/{name}"], parameter)


def _gathered(values: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    found = {}
    for name, value in values.items():
        gathered = whole(value.detach())
        if keep:
            found[name] = gathered.cpu().contiguous()
    return found
