"""What a run will cost, from its config and the model's sizes (predicted), to be held against what is measured."""

from __future__ import annotations

from trainer.contract.config import RunConfig
from trainer.data.rows import slots_of

BYTES = {"auto": 4, "float32": 4, "bfloat16": 2}
"""Bytes of a frozen weight; auto is counted at its larger outcome."""


def rows_per_step(config: RunConfig) -> dict[str, int]:
    """Rows a step sends through the policy (forward and backward) and through the reference (forward)."""
    slots = slots_of(config.training.pairs_per_step, config.training.micro_batch, config.objective)
    preferring = sum(2 * len(s.pairs) + 2 * len(s.capo) + len(s.scpo) for s in slots)
    return {
        "forwards": len(slots),
        "policy_rows": preferring + sum(len(s.replay) for s in slots),
        "reference_rows": preferring,
    }


def plan(config: RunConfig, sizes: dict[str, int], train_pairs: int) -> dict[str, float]:
    """Rows, epochs, weights' memory and the transformer's work of a run.

    `sizes` are parameter counts by part, as a backbone gives them. Work is counted in forwards of one row:
    a backward with the adapter's gradients costs about two of them, so a policy row counts three.
    """
    rows = rows_per_step(config)
    frozen = sum(count for name, count in sizes.items() if name != "adapter") * BYTES[config.model.dtype]
    steps = config.training.steps
    return {
        **{name: float(value) for name, value in rows.items()},
        "steps": float(steps),
        "epochs": steps * config.training.pairs_per_step / max(1, train_pairs),
        "train_pairs": float(train_pairs),
        "frozen_bytes": float(frozen),
        "trained_bytes": float(sizes["adapter"] * 4 * 4),
        "trainable_parameters": float(sizes["adapter"]),
        "row_forwards": float(steps * (2 * rows["policy_rows"] + rows["reference_rows"] + rows["policy_rows"])),
    }
