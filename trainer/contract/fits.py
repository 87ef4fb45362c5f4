"""What the planner chose for each recipe on cards of 24, 48, 80 and 140 GB; None where a recipe does not fit.

Printed by `python -m trainer plan --recipe NAME --cards --json` for recipes with public bases, from their configs
alone. Not measured on a GPU.
"""

from __future__ import annotations

FITS: dict[str, dict[int, dict[str, int | bool] | None]] = {}
