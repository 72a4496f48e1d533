"""Coefficients of agreement beyond chance, with intervals clustered by prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triptych.audit.estimates import smooth
from triptych.audit.intervals import Estimate

if TYPE_CHECKING:
    import numpy as np

Array = Any
"""An array of numbers."""
_HALF = 0.5
"""How often each pair of labels is added for the interval only: with a label that is rare, what was not seen matters."""


def _clustered(sums: Array, clusters: Array) -> np.ndarray:
    """Add rows of an array up within clusters."""
    import numpy as np

    place: Any = np.unique(np.asarray(clusters), return_inverse=True)[1]
    added = np.zeros((int(place.max()) + 1 if place.size else 0, sums.shape[1]))
    np.add.at(added, place, sums)
    return added


def cohen_kappa(first: Array, second: Array, clusters: Array) -> Estimate | None:
    """Cohen's kappa of two raters' labels on the same rows (Educational and Psychological Measurement 20, 1960)."""
    import numpy as np

    labels: Any = np.unique(np.concatenate([first, second]))
    k = int(labels.size)
    cell: Any = np.searchsorted(labels, first) * k + np.searchsorted(labels, second)
    one_hot = np.zeros((int(cell.size), k * k))
    one_hot[np.arange(int(cell.size)), cell] = 1

    def kappa(s: Array) -> Array:
        table = s.reshape(*s.shape[:-1], k, k)
        n = table.sum((-1, -2))
        seen = np.trace(table, axis1=-2, axis2=-1) / n
        chance = (table.sum(-1) * table.sum(-2)).sum(-1) / n**2
        return (seen - chance) / (1 - chance)

    prior = _HALF * np.eye(k * k)
    return (
        smooth(_clustered(one_hot, clusters), kappa, n=int(cell.size), within=(-1.0, 1.0), prior=prior) if k else None
    )


def krippendorff_alpha(counts: Array, clusters: Array) -> Estimate | None:
    """Krippendorff's nominal alpha (Content Analysis, 2004). `counts` has shape (units, labels): how many raters said what.

    Units with one rating count for nothing.
    """
    import numpy as np

    counts, clusters = np.asarray(counts, dtype=float), np.asarray(clusters)
    rated = counts.sum(1) > 1
    counts, clusters = counts[rated], clusters[rated]
    together = (counts * (counts - 1)).sum(1) / (counts.sum(1) - 1)

    def alpha(s: Array) -> Array:
        agreed, said = s[..., 0], s[..., 1:]
        n = said.sum(-1)
        chance = (said * (said - 1)).sum(-1) / (n * (n - 1))
        return 1 - (1 - agreed / n) / (1 - chance)

    sums = _clustered(np.column_stack([together, counts]), clusters)
    pairs = _pairs_of_labels(counts.shape[1])
    prior = _HALF * np.column_stack([2.0 * (pairs.max(1) == 2), pairs])
    return smooth(sums, alpha, n=len(counts), within=(-1.0, 1.0), prior=prior)


def gwet_ac1(counts: Array, clusters: Array) -> Estimate | None:
    """Gwet's AC1 (British J. Mathematical and Statistical Psychology 61, 2008), of units rated by any number of raters.

    Chance agreement is that of Gwet: sum of p (1 - p) over labels / (labels - 1), with p the mean share of raters who give
    the label. It does not fall apart where nearly all say the same, as kappa and alpha do. `counts` as in `krippendorff_alpha`;
    a label that nobody gives counts for nothing. None where fewer than two labels are given.
    """
    import numpy as np

    counts, clusters = np.asarray(counts, dtype=float), np.asarray(clusters)
    rated = counts.sum(1) > 0
    counts, clusters = counts[rated][:, counts.any(0)], clusters[rated]
    m, labels = counts.sum(1), counts.shape[1]
    several = m > 1
    agreed = np.where(several, (counts * (counts - 1)).sum(1) / np.where(several, m * (m - 1), 1), 0.0)

    def ac1(s: Array) -> Array:
        seen, share = s[..., 0] / s[..., 1], s[..., 3:] / s[..., 2:3]
        chance = (share * (1 - share)).sum(-1) / (labels - 1)
        return (seen - chance) / (1 - chance)

    if labels < 2:
        return None
    sums = _clustered(np.column_stack([agreed, several, np.ones(len(m)), counts / m[:, None]]), clusters)
    pairs = _pairs_of_labels(labels)
    ones = np.ones(len(pairs))
    prior = _HALF * np.column_stack([pairs.max(1) == 2, ones, ones, pairs / 2])
    return smooth(sums, ac1, n=int(several.sum()), within=(-1.0, 1.0), prior=prior)


def _pairs_of_labels(labels: int) -> np.ndarray:
    """What two raters can say, as counts of labels: shape (labels squared, labels)."""
    import numpy as np

    one = np.eye(labels)
    return (one[:, None] + one[None]).reshape(-1, labels)
