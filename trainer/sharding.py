"""Full fine-tuning over several processes: weights, gradients and moments sharded by FSDP2 (`fully_shard`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainer.backbones.protocol import Backbone


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks that make up most of a diffusers model, outermost first."""
    names = set(getattr(model, "_repeated_blocks", None) or getattr(model, "_no_split_modules", None) or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def shard(backbone: Backbone, processes: int) -> None:
    """Shard the denoiser and its frozen copy, block by block. Gradients are summed, as the step's losses are."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = init_device_mesh(backbone.device.type, (processes,))
    for model in (backbone.denoiser, backbone.reference_copy()):
        if model is None:
            continue
        for part in (*repeated_blocks(model), model):
            # the outermost part too: weights that stayed gathered would hide an average swapped in between forwards
            fully_shard(part, mesh=mesh, reshard_after_forward=True)
        for part in model.modules():
            if isinstance(part, FSDPModule):
                part.set_gradient_divide_factor(1.0)
                part.set_force_sum_reduction_for_comms(True)


def whole(value: Tensor) -> Tensor:
    """A tensor that may be sharded over processes, gathered; all of them must call this."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def like(value: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor on a parameter's device, sharded as the parameter is."""
    placed = value.to(parameter.device)
    if not hasattr(parameter, "full_tensor"):
        return placed.clone()
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    return distribute_tensor(placed, parameter.device_mesh, parameter.placements)
