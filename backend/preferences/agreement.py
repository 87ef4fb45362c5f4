"""Agreement between annotators, from how often each unit was given each value, and between every two of them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def krippendorff_alpha(counts: npt.ArrayLike) -> float | None:
    """Krippendorff's α for nominal values from `counts` [units, values] (how many annotators gave the unit the value).

    Units judged once say nothing and are left out. Null where nothing can be said: no unit was judged twice, or only
    one value was ever given. Source: K. Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011.
    """
    table = _repeated(counts)
    if table.size == 0:
        return None
    judged = table.sum(axis=1)
    # Pairable values: a unit judged m times weighs m, each of its m(m-1) ordered pairs 1/(m-1).
    observed = float(((judged**2 - (table**2).sum(axis=1)) / (judged - 1)).sum())
    values = table.sum(axis=0)
    total = float(values.sum())
    expected = (total**2 - float((values**2).sum())) / (total - 1)
    return None if expected == 0 else 1 - observed / expected


def pairwise_agreement(counts: npt.ArrayLike) -> tuple[float | None, int]:
    """The share of pairs of annotators on the same unit who said the same, and the number of such pairs."""
    table = _repeated(counts)
    pairs = float((table.sum(axis=1) * (table.sum(axis=1) - 1)).sum() / 2)
    if pairs == 0:
        return None, 0
    return float((table * (table - 1)).sum() / 2) / pairs, int(pairs)


@dataclass(frozen=True)
class Meetings:
    """What every two of n annotators said of the units both judged: [n, n, values, values], the second's along the
    last axis. `tables[k, k]` holds an annotator against themselves on units they judged more than once."""

    tables: npt.NDArray[np.int64]

    @property
    def compared(self) -> npt.NDArray[np.int64]:
        """[n, n] pairs of answers."""
        return self.tables.sum(axis=(2, 3))

    @property
    def alike(self) -> npt.NDArray[np.int64]:
        """[n, n] of those, the ones that are the same."""
        return np.trace(self.tables, axis1=2, axis2=3)

    def kappa(self) -> npt.NDArray[np.float64]:
        """Cohen's κ [n, n]; not a number where two never met, or both gave one value only.

        Source: J. Cohen, "A coefficient of agreement for nominal scales", 1960.
        """
        total = self.compared
        with np.errstate(invalid="ignore", divide="ignore"):
            by_chance = (self.tables.sum(axis=3) * self.tables.sum(axis=2)).sum(axis=2) / total**2
            return np.where(by_chance < 1, (self.alike / total - by_chance) / (1 - by_chance), np.nan)


def meetings(annotators: npt.ArrayLike, units: npt.ArrayLike, values: npt.ArrayLike, size: int, kinds: int) -> Meetings:
    """Counts every two answers to the same unit: `annotators` (0…size-1), `units` and `values` (0…kinds-1) are [T]."""
    order = np.argsort(np.asarray(units), kind="stable")
    who, unit, said = (np.asarray(part, dtype=np.int64)[order] for part in (annotators, units, values))
    tables = np.zeros((size, size, kinds, kinds), dtype=np.int64)
    lag = 1
    while len(unit) > lag and (same := unit[lag:] == unit[:-lag]).any():
        one, other = np.flatnonzero(same), np.flatnonzero(same) + lag
        np.add.at(tables, (who[one], who[other], said[one], said[other]), 1)
        between = who[one] != who[other]
        one, other = one[between], other[between]
        np.add.at(tables, (who[other], who[one], said[other], said[one]), 1)
        lag += 1
    return Meetings(tables)


def _repeated(counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    table = np.asarray(counts, dtype=np.float64)
    table = table.reshape(len(table), -1) if table.size else np.zeros((0, 1))
    return table[table.sum(axis=1) > 1]
