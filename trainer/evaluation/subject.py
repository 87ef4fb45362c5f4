"""What a generator does to the subject: error inside it, expansion beyond it, coherence of the band around it.

All three look at pixels alone, so they hold for any model and world. Arrays are uint8: images [H, W, 3], masks [H, W]
with 255 = background and 0 = subject.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

Pixels = npt.NDArray[np.uint8]

BAND = 2.0
"""Pixels around the subject whose coherence is measured."""
SURROUNDINGS = 6.0
"""Pixels around the subject up to which its surroundings reach: the band is compared with what lies beyond it."""
REACH = 5.0
"""Pixels within which a band's pixel may find its like in the surroundings: a horizon or a lane mark goes on nearby."""
STRANGE = 0.2
"""Colour distance in [0, 1] at which a pixel of the band counts as wholly foreign to its surroundings."""
ALIKE = 0.06
"""Colour distance in [0, 1] below which a pixel has the subject's own colour."""


def foreground_error(image: Pixels, truth: Pixels, mask: Pixels) -> float:
    """Mean absolute difference to the true subject inside it, in [0, 1], of an image *before* the subject is pasted."""
    inside = mask == 0
    if not inside.any():
        return 0.0
    return float(np.abs(image[inside].astype(np.float32) - truth[inside]).mean() / 255)


def boundary_coherence(image: Pixels, mask: Pixels) -> float:
    """How well the band around the subject belongs to what lies beyond it: 1 = every pixel has its like, 0 = none has.

    For each background pixel within BAND of the subject, the smallest mean absolute colour difference to a background
    pixel between BAND and SURROUNDINGS, at most REACH away, over STRANGE and cut at 1; one minus the mean. A halo, a
    grey rim or a smeared edge has no like further out and lowers it; texture and a horizon that go on do not. 1 where
    there is no band.
    """
    distance = ndimage.distance_transform_edt(mask >= 128)
    band = (distance > 0) & (distance <= BAND)
    beyond = (distance > BAND) & (distance <= SURROUNDINGS)
    if not band.any() or not beyond.any():
        return 1.0
    nearest = _nearest_colour(image, band, beyond, REACH)
    return float(1 - np.minimum(nearest / STRANGE, 1).mean())


def subject_expansion(image: Pixels, mask: Pixels) -> float:
    """Area of background that continues the subject, as a share of the subject's area.

    A background pixel within SURROUNDINGS counts when its colour is within ALIKE of a subject's pixel at most
    SURROUNDINGS away, is not found in the background around (up to twice as far), and it hangs together with the
    subject.
    """
    subject = mask < 128
    distance = ndimage.distance_transform_edt(~subject)
    ring = (distance > 0) & (distance <= SURROUNDINGS)
    around = (distance > SURROUNDINGS) & (distance <= 2 * SURROUNDINGS)
    if not ring.any() or not subject.any():
        return 0.0
    edge = subject & (ndimage.distance_transform_edt(subject) <= SURROUNDINGS)
    own = _nearest_colour(image, ring, edge, SURROUNDINGS)
    grown = np.zeros_like(subject)
    grown[ring] = own < ALIKE
    if around.any():
        colours = image.astype(np.float32) / 255
        elsewhere, _ = cKDTree(colours[around]).query(colours[ring], p=1)
        grown[ring] &= elsewhere / 3 > 2 * ALIKE
    parts, _ = ndimage.label(grown | subject)
    attached = np.isin(parts, np.unique(parts[subject]))
    return float((grown & attached).sum() / subject.sum())


def _nearest_colour(image: Pixels, of: np.ndarray, among: np.ndarray, reach: float) -> npt.NDArray[np.float32]:
    """Mean absolute colour difference in [0, 1] of each pixel of `of` to the likest of `among` within `reach`.

    It looks along one offset at a time, so that memory stays small at a megapixel too.
    """
    span = int(reach)
    colours = np.pad(image.astype(np.float32) / 255, ((span, span), (span, span), (0, 0)))
    allowed = np.pad(among, span)
    rows, columns = (places + span for places in np.nonzero(of))
    own = colours[rows, columns]
    nearest = np.ones(len(rows), np.float32)
    for down, right in product(range(-span, span + 1), repeat=2):
        if down * down + right * right > reach * reach:
            continue
        there = rows + down, columns + right
        differences = np.abs(own - colours[there]).mean(axis=-1)
        nearest = np.where(allowed[there], np.minimum(nearest, differences), nearest)
    return nearest
