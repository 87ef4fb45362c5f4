"""Matrix products in float32 on a CPU with AVX-512: by oneDNN, where torch would leave them to MKL.

MKL keeps to narrower vectors on processors that are not Intel's; what that costs is measured in `docs/performance.md`.
Weights stay as they are, nothing is repacked, results differ from MKL's in the last bits only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import flop_registry, register_flop_formula


def can_multiply() -> bool:
    """Whether this torch and this CPU have what the module is about."""
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"


def multiply_fast(model: nn.Module) -> None:
    """Have each linear layer of a model multiply in this way, where the machine can; others stay as they are."""
    if not can_multiply():
        return
    for layer in model.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = FastLinear


class FastLinear(nn.Linear):
    """A linear layer whose products are oneDNN's in float32 on a CPU, outside of autocast and compiled code."""

    def forward(self, given: Tensor) -> Tensor:
        plain = given.dtype == self.weight.dtype == torch.float32 and given.device.type == "cpu"
        if not plain or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
            return super().forward(given)
        out: Tensor = _Linear.apply(given, self.weight, self.bias)  # type: ignore[no-untyped-call]  # torch's own
        return out


def _product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """left [..., K] times the transpose of right [N, K], plus bias [N]."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return out


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        needs_input, needs_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(given if needs_weight else None, weight if needs_input else None)
        return _product(given, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        given, weight = ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])
        return (
            None if weight is None else _product(gradient, weight.t()),
            None if given is None else _product(flat.t(), given.reshape(-1, given.shape[-1]).t()),
            flat.sum(0) if ctx.needs_input_grad[2] else None,
        )


if torch.backends.mkldnn.is_available() and torch.ops.mkldnn._linear_pointwise not in flop_registry:

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)  # type: ignore[untyped-decorator]  # torch's own
    def _flops(left: Any, right: Any, *_: Any, **__: Any) -> int:
        """FLOPs by shapes, for torch's counter and the planner's."""
        return 2 * int(torch.Size(left).numel()) * int(right[0])
