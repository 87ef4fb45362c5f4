"""Agreement between annotators, from how often each unit was given each value."""

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


def _repeated(counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    table = np.asarray(counts, dtype=np.float64)
    table = table.reshape(len(table), -1) if table.size else np.zeros((0, 1))
    return table[table.sum(axis=1) > 1]
