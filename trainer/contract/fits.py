"""What the planner chose for each recipe on cards of 24, 48, 80 and 140 GB; None where a recipe does not fit.

Printed by `python -m trainer plan --recipe NAME --cards --json` from the configs of public bases alone: counted, not
measured on a GPU. `micro_batch` are pairs a forward; a smaller one is preferred to checkpointing.
"""

from __future__ import annotations


def _fit(micro_batch: int, checkpointing: bool, encode_batch: int) -> dict[str, int | bool]:
    return {"micro_batch": micro_batch, "checkpointing": checkpointing, "encode_batch": encode_batch}


FITS: dict[str, dict[int, dict[str, int | bool] | None]] = {
    "flux_fill": {24: None, 48: _fit(1, True, 2), 80: _fit(3, True, 2), 140: _fit(4, True, 2)},
    "flux_fill_512": {24: None, 48: _fit(4, True, 8), 80: _fit(4, True, 8), 140: _fit(1, False, 8)},
    "flux_controlnet": {24: None, 48: None, 80: _fit(3, True, 2), 140: _fit(4, True, 2)},
    "flux_controlnet_512": {24: None, 48: _fit(3, True, 8), 80: _fit(4, True, 8), 140: _fit(4, True, 8)},
    "sd_inpaint": {24: _fit(3, False, 8), 48: _fit(4, False, 8), 80: _fit(4, False, 8), 140: _fit(4, False, 8)},
    "sd_inpaint_1024": {24: _fit(3, True, 2), 48: _fit(1, False, 2), 80: _fit(3, False, 2), 140: _fit(4, False, 2)},
    "sdxl_inpaint": {24: _fit(4, True, 2), 48: _fit(4, True, 2), 80: _fit(1, False, 2), 140: _fit(3, False, 2)},
    "sdxl_inpaint_512": {24: _fit(4, True, 8), 48: _fit(3, False, 8), 80: _fit(4, False, 8), 140: _fit(4, False, 8)},
    "sd3_controlnet": {24: _fit(3, True, 1), 48: _fit(4, True, 2), 80: _fit(1, False, 2), 140: _fit(3, False, 2)},
    "sd3_controlnet_512": {24: _fit(4, True, 4), 48: _fit(1, False, 8), 80: _fit(4, False, 8), 140: _fit(4, False, 8)},
    "qwen_image_edit": {24: None, 48: None, 80: None, 140: _fit(3, True, 2)},
    "qwen_image_edit_512": {24: None, 48: None, 80: _fit(4, True, 8), 140: _fit(4, True, 8)},
}
