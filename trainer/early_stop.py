"""When held-out pairs stop getting better: remember the best weights, and say when to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from trainer.contract.config import ValidationConfig

RISES = {"margin": True, "accuracy": True, "loss_preference": False}
"""Whether a watched figure gets better by rising."""


class EarlyStop:
    """Watches one figure of the validations; its state goes into checkpoints, so that a resumed run stops alike."""

    def __init__(self, config: ValidationConfig) -> None:
        self._patience = config.patience
        self._figure = config.watch
        self._gain = config.min_gain
        self.weights: dict[str, Tensor] = {}
        """The trained weights of the best validation."""
        self.state: dict[str, float] = {}

    def look(self, step: int, values: Mapping[str, float], parameters: Mapping[str, nn.Parameter]) -> None:
        """Take in a validation of the weights as they stand after `step` steps."""
        if self._patience is None:
            return
        value = values[self._figure] if RISES[self._figure] else -values[self._figure]
        if not self.state or value > self.state["best"] + self._gain:
            self.state = {"best": value, "best_step": float(step), "worse": 0.0}
            self.weights = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        else:
            self.state["worse"] += 1

    @property
    def due(self) -> bool:
        """Whether the run should stop."""
        return self._patience is not None and self.state.get("worse", 0.0) >= self._patience
