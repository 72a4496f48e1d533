"""Whether scores are distributed as they were: the population stability index of two samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from triptych.audit.estimates import Floats, smooth
from triptych.audit.intervals import Estimate

if TYPE_CHECKING:
    import numpy as np

_HALF = 0.5


def stability(cells: Floats, *, n: int) -> Estimate | None:
    """The population stability index of two samples, less what it would be by chance in samples of whole prompts.

    `cells` has shape (prompts, 2 x bins): how many responses of each prompt are in each bin of the first sample, then of the
    second. The index is the sum over bins of (q - p) log(q / p). Each bin that is filled has half a response more, times
    the design effect where responses to a prompt score alike. Chance is the sum of var(q - p) / ((p + q) / 2), clustered by
    prompt. Like a chi-squared statistic the index is skewed near 0, and its square root is not, so the interval is made of
    that. None where a sample is empty.
    """
    import numpy as np

    cells = np.asarray(cells, dtype=float)
    bins = cells.shape[1] // 2
    sides = (cells[:, :bins], cells[:, bins:])
    if not all(side.sum() > 0 for side in sides):
        return None
    filled = sides[0].sum(axis=0) + sides[1].sum(axis=0) > 0
    more = [_HALF * _design_effect(side) for side in sides]

    def shares(s: Floats) -> list[np.ndarray]:
        counts = [s[..., :bins][..., filled] + more[0], s[..., bins:][..., filled] + more[1]]
        return [each / each.sum(axis=-1, keepdims=True) for each in counts]

    def index(s: Floats) -> np.ndarray:
        p, q = shares(s)
        return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))

    found = smooth(cells, index, n=n, within=(0.0, math.inf), root=True)
    if found is None:
        return None
    p, q = shares(cells.sum(axis=0))
    variance = ((_residuals(sides[1]) - _residuals(sides[0])) ** 2).sum(axis=0)[filled]
    chance = float((2 * variance / (p + q)).sum())
    return Estimate(found.value - chance, found.low - chance, found.high - chance, n, found.prompts)


def _residuals(side: np.ndarray) -> np.ndarray:
    """What each prompt adds to the error of each bin's share."""
    total = side.sum()
    residuals: np.ndarray = (side - side.sum(axis=0) / total * side.sum(axis=1, keepdims=True)) / total
    return residuals


def _design_effect(side: np.ndarray) -> float:
    """How many times greater the variance is than that of as many responses to prompts of their own; at least 1."""
    whole = side.sum(axis=1)
    total = float(whole.sum())
    p = side.sum(axis=0) / total
    alone = float((p * (1 - p)).sum()) / total
    effect = float((_residuals(side) ** 2).sum()) / alone if alone > 0 else 1.0
    return min(max(effect, 1.0), max(float((whole**2).sum()) / total, 1.0))
