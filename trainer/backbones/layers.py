"""Which linear layers of a denoiser an adapter sits on. Torch-free: the planner uses it too."""

from __future__ import annotations

from collections.abc import Iterable

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
MLP = (
    "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2", "proj_mlp", "proj_out",
    "img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2",
)  # fmt: skip


def select_layers(names: Iterable[str], targets: str) -> list[str]:
    """Those of the full names of linear layers that `targets` (all, attention, attention_mlp) means."""
    if targets == "all":
        return list(names)
    endings = tuple("." + ending for ending in (ATTENTION if targets == "attention" else ATTENTION + MLP))
    return [name for name in names if name.endswith(endings)]  # the dot keeps the model's own proj_out out
