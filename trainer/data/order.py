"""Which pairs a step trains on: a function of (seed, step), so that a resumed run goes on where it stopped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

from trainer.noise import permutation


class PairOrder:
    """Epochs of shuffled steps; every step holds pairs of one size only, so that they fit one forward.

    Each epoch visits every pair at least once; a size whose pairs do not fill its last step is filled up with pairs
    from the start of the same shuffle.
    """

    def __init__(self, sizes: Sequence[Hashable], per_step: int, seed: int) -> None:
        buckets: dict[Hashable, list[int]] = defaultdict(list)
        for index, size in enumerate(sizes):
            buckets[size].append(index)
        self._buckets = list(buckets.values())
        self._per_step = per_step
        self._seed = seed
        self.steps_per_epoch = sum(-(-len(bucket) // per_step) for bucket in self._buckets)
        self._epoch: tuple[int, list[list[int]]] = (-1, [])

    def at(self, step: int) -> list[int]:
        """Indices of the `per_step` pairs of step 0, 1, ..."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._shuffled(epoch))
        return self._epoch[1][place]

    def _shuffled(self, epoch: int) -> list[list[int]]:
        steps: list[list[int]] = []
        for number, bucket in enumerate(self._buckets):
            order = [bucket[i] for i in permutation(len(bucket), self._seed, f"pairs of size {number}", epoch)]
            for start in range(0, len(order), self._per_step):
                steps.append([order[(start + i) % len(order)] for i in range(self._per_step)])
        return [steps[i] for i in permutation(len(steps), self._seed, "steps", epoch)]
