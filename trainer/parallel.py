"""Several processes of one run, as torchrun starts them.

Every process goes through the same steps and takes its share of each step's forwards; the gradients' sum is the
step's. Order and noise depend on the step alone, so the number of processes changes a run by the order of sums only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from trainer.contract.errors import ConfigError, TrainerError

T = TypeVar("T")
Batch = TypeVar("Batch", bound=Sized)
PATIENCE = timedelta(hours=12)
"""How long a process waits for the others: one may be encoding a large snapshot."""


_ENVIRONMENT = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))


class Processes:
    """The processes of a run: this one's place among them, and what they tell each other."""

    def __init__(self, rank: int = 0, count: int = 1, local_rank: int = 0) -> None:
        self.rank, self.count, self.local_rank = rank, count, local_rank
        self.main = rank == 0

    @classmethod
    def from_environment(cls) -> Processes:
        """Those that torchrun has started; one alone without it."""
        return cls(*(int(os.environ.get(name, default)) for name, default in _ENVIRONMENT))

    def __enter__(self) -> Processes:
        self.take_device()
        if self.count > 1:
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend, timeout=PATIENCE)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.count > 1 and kind is None:
            dist.destroy_process_group()

    @property
    def device(self) -> str | None:
        """The device of this process; None leaves the choice to the loader."""
        return f"cuda:{self.local_rank}" if self.count > 1 and torch.cuda.is_available() else None

    def take_device(self) -> None:
        """Make this process's GPU the one that it works on."""
        if self.count > 1 and torch.cuda.is_available():
            torch.cuda.set_device(self.local_rank)

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of the items."""
        return items[self.rank :: self.count]

    def in_rounds(self, batches: Sequence[Batch], progress: Callable[[int, int], None] | None) -> Iterator[Batch]:
        """This process's batches, one a round; a process may have none in the last round.

        `progress(done, total)` counts what all processes have done, from 0, and is called by each of them as often, so
        that what it raises by their common decision stops them all in one round.
        """
        total = sum(len(batch) for batch in batches)
        if progress and total:
            progress(0, total)
        done = 0
        for start in range(0, len(batches), self.count):
            turn = batches[start : start + self.count]
            if self.rank < len(turn):
                yield turn[self.rank]
            done += sum(len(batch) for batch in turn)
            if progress:
                progress(done, total)

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.count > 1:
            dist.barrier()

    def once(self, work: Callable[[], T]) -> T:
        """The first process's result of `work`, for all; its TrainerError is raised in all."""
        if self.count == 1:
            return work()
        outcome: list[Any] = [None, None]
        if self.main:
            try:
                outcome[0] = work()
            except TrainerError as error:
                outcome[1] = error
        dist.broadcast_object_list(outcome, src=0)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]  # type: ignore[no-any-return]  # what `work` gave in the first process

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.count == 1:
            return flag
        value = torch.tensor([float(flag)])
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

    def agree(self, value: T) -> T:
        """The first process's value, for all."""
        return self.once(lambda: value)

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its sum over the processes, in one exchange."""
        if self.count == 1:
            return
        trained = list(parameters)
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([parameter.grad.view(-1) for parameter in trained if parameter.grad is not None])
        dist.all_reduce(flat)
        start = 0
        for parameter in trained:
            assert parameter.grad is not None
            parameter.grad.copy_(flat[start : start + parameter.numel()].view_as(parameter))
            start += parameter.numel()

    def sum_figures(self, figures: dict[str, float]) -> dict[str, float]:
        """Figures summed by name over the processes; a process may lack some."""
        if self.count == 1:
            return figures
        gathered: list[dict[str, float]] = [{} for _ in range(self.count)]
        dist.all_gather_object(gathered, figures)
        total: dict[str, float] = {}
        for part in gathered:
            for name, value in part.items():
                total[name] = total.get(name, 0.0) + value
        return total

    def check_forwards(self, forwards: int, *, sharded: bool) -> None:
        """Raise ConfigError when a step's forwards cannot be shared out among the processes."""
        if forwards < self.count or (sharded and forwards % self.count):
            need = f"a multiple of {self.count}" if sharded else f"at least {self.count}"
            raise ConfigError(
                "processes_idle",
                f"A step has {forwards} forwards, but {self.count} processes need {need}: lower training.micro_batch "
                "or raise training.pairs_per_step.",
            )


ALONE = Processes()
"""One process, which waits for none."""
