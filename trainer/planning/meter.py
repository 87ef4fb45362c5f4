"""Counting the work and the memory of whatever runs within: on real tensors or on ones without values."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

_aten = torch.ops.aten


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape))


CPU_ATTENTION: dict[Any, Callable[..., int]] = {
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""FLOPs of what torch's own counter leaves out: attention on the CPU, by the formulas it has for GPUs."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of a kernel: its FLOPs (2 a multiply-add) and the bytes it reads and writes."""

    flops: int
    moved: int


class Meter(TorchDispatchMode):
    """Within it every operation is counted, and the bytes of tensors that are made and freed.

    `flops` agrees with torch.utils.flop_counter (plus CPU attention). `peak` is the most bytes of tensors made within
    that were alive at once; tensors from before do not count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.peak = 0
        self._alive: dict[int, int] = {}
        self._bytes = 0
        self._before: set[int] = set()

    @property
    def flops(self) -> int:
        return sum(operation.flops for operation in self.operations)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "prim":
            return func(*args, **kwargs)
        packet = func._overloadpacket
        formula = CPU_ATTENTION.get(packet)
        if packet not in flop_registry and formula is None:
            with self:
                whole = func.decompose(*args, **kwargs)
                if whole is not NotImplemented:
                    return whole
        taken = list(_storages((args, kwargs)))
        self._before |= {key for _, key, _ in taken if key not in self._alive}
        out = func(*args, **kwargs)
        made = [(storage, key, size) for storage, key, size in _storages(out) if key not in {k for _, k, _ in taken}]
        for storage, key, size in made:
            self._add(storage, key, size)
        if packet in flop_registry:
            flops = int(flop_registry[packet](*args, **kwargs, out_val=out))
        else:
            flops = formula(*args, **kwargs) if formula else 0
        self.operations.append(Operation(flops, _moved(args, kwargs, out) if made else 0))
        return out

    def _add(self, storage: Any, key: int, size: int) -> None:
        if key in self._alive:
            return
        self._before.discard(key)
        self._alive[key] = size
        self._bytes += size
        self.peak = max(self.peak, self._bytes)
        weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self._bytes -= self._alive.pop(key, 0)


@contextmanager
def metered() -> Iterator[Meter]:
    """A meter in which compiled blocks run uncompiled.

    A block that torch.compile meets for the first time under a dispatch mode is left uncompiled for good.
    """
    with torch.compiler.set_stance("force_eager"), Meter() as meter:
        yield meter


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))


def _storages(tree: Any) -> Iterator[tuple[Any, int, int]]:
    for tensor in _tensors(tree):
        storage = tensor.untyped_storage()
        yield storage, storage._cdata, storage.nbytes()


def _moved(args: Any, kwargs: Any, out: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors((args, kwargs, out)))
