"""Estimates of what is no share: correlations, coefficients, areas under curves; their intervals know of prompts too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from triptych.audit.intervals import Estimate, Z, fewer, student, wilson

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

Floats = Any
"""An array of floats."""
_NEARLY = 1e-9
_TENTH = 0.1
_TAIL = 20
"""With fewer rows in it a tail says too little of its shape."""
_LIGHT = 0.25
"""A lighter tail than this has the fourth moment that an interval of a sum of squares needs."""


def cluster_sums(rows: pl.DataFrame, columns: list[str], cluster: str = "prompt_id") -> np.ndarray:
    """Sum some columns up within each cluster: an array of shape (clusters, columns)."""
    import polars as pl

    return rows.group_by(cluster).agg(pl.col(columns).cast(pl.Float64).sum()).select(columns).to_numpy()


def smooth(
    sums: Floats,
    statistic: Callable[[Floats], Floats],
    *,
    n: int,
    within: tuple[float, float] = (-math.inf, math.inf),
    prior: Floats = None,
    root: bool = False,
    rows_at: int | None = None,
) -> Estimate | None:
    """A smooth function of sums over prompts, with the interval that the jackknife gives; None where it is not defined.

    `sums` has shape (prompts, p); `statistic` maps an array of shape (..., p) to one of shape (...), so that all
    prompts are left out, one after the other, in one call. The interval is made on a scale on which the statistic has
    no bounds (the logit of shares, Fisher's z of correlations, the logarithm of what is positive, or with `root` its square
    root), with Student's t and one degree of freedom for each prompt but one (Efron and Stein, Annals of Statistics 9,
    1981; Miller, Biometrika 61, 1974). `within` is the statistic's range.

    `prior` has rows like those of `sums`. They are added for the interval only, as prompts that might have been: where what
    has not been seen yet would matter, as with a rare label, the interval would be too narrow without them (Agresti and
    Caffo, American Statistician 54, 2000).

    `rows_at` is the column of `sums` that counts rows, if there is one: then the degrees of freedom are those of the
    effective number of prompts (see `Estimate`).
    """
    import numpy as np

    sums = np.asarray(sums, dtype=float)
    prompts = len(sums)
    if prompts == 0:
        return None
    effective = None if rows_at is None else effective_clusters(sums[:, rows_at])
    clusters = prompts if effective is None else effective
    total = sums.sum(axis=0)
    low, high = within
    with np.errstate(all="ignore"):
        value = float(statistic(total))
        if not math.isfinite(value):
            return None
        if prompts == 1:
            return Estimate(value, *within, n, 1)
        if prior is not None:
            sums = np.concatenate([sums, prior])
            total = sums.sum(axis=0)
        centre = float(statistic(total))
        left_out = np.asarray(statistic(total - sums), dtype=float)
    left_out = left_out[np.isfinite(left_out)]
    if _at_an_end(centre, within) and math.isfinite(high - low):
        return _wilson(value, within, clusters, n, prompts, effective)
    k = len(left_out)
    if k < 2:
        return Estimate(value, low, high, n, prompts, effective)
    if not root and any(_at_an_end(each, within) for each in (centre, left_out.min(), left_out.max())):
        return _beside_an_end(value, left_out, within, n, prompts, effective)
    scale, back = _scale(within, root)
    with np.errstate(all="ignore"):
        error = _jackknife(scale(left_out))
        middle, reach = float(scale(np.asarray(centre))), student(min(k, clusters) - 1) * error
    first, last = float(back(middle - reach)), float(back(middle + reach))
    return Estimate(value, min(first, value), max(last, value), n, prompts, effective)


def effective_clusters(sizes: Floats) -> float:
    """How many clusters of equal size tell as much as those of some sizes (see `Estimate`)."""
    import numpy as np

    sizes = np.asarray(sizes, dtype=float)
    squares = float((sizes**2).sum())
    return min(float(sizes.sum()) ** 2 / squares, float(len(sizes))) if squares > 0 else float(len(sizes))


def _at_an_end(value: float, within: tuple[float, float]) -> bool:
    return bool(value - within[0] < _NEARLY or within[1] - value < _NEARLY)


def _jackknife(left_out: Floats) -> float:
    """The standard error of a statistic, from its values without one of the prompts each."""
    k = len(left_out)
    return math.sqrt((k - 1) / k * float(((left_out - left_out.mean()) ** 2).sum()))


def _wilson(
    value: float, within: tuple[float, float], rows: float, n: int, prompts: int, effective: float | None
) -> Estimate:
    """Wilson's interval for the value's place within its range, as if that were a share of an effective number of rows."""
    low, high = within
    place = min(max((value - low) / (high - low), 0.0), 1.0)
    first, last = wilson(place, fewer(rows, prompts if effective is None else effective))
    return Estimate(value, low + first * (high - low), low + last * (high - low), n, prompts, effective)


def _beside_an_end(
    value: float, left_out: Floats, within: tuple[float, float], n: int, prompts: int, effective: float | None
) -> Estimate:
    """The interval where the value, or that without some prompt, stands at an end of the range.

    On a scale without bounds that is infinite. To leave such prompts out would leave out those that matter: of 29 rows with 1
    and one with 0 only the last one tells how far the mean may be from 1.
    """
    low, high = within
    error = _jackknife(left_out)
    if error == 0:
        return Estimate(value, low, high, n, prompts, effective)
    if math.isfinite(high - low):
        rows = (value - low) * (high - value) / error**2 or float(prompts)
        return _wilson(value, within, min(rows, float(n)), n, prompts, effective)
    reach = student(min(len(left_out), prompts if effective is None else effective) - 1) * error
    return Estimate(value, max(value - reach, low), min(value + reach, high), n, prompts, effective)


def share(sums: Floats, *, n: int) -> Estimate | None:
    """The quotient of two sums, of which each prompt's first is at least 0 and at most its second.

    The variance is that of the ratio estimator under cluster sampling. It gives an effective sample size, which goes into
    Wilson's interval (see `triptych.audit.intervals.ratio`). There it is a number of rows; here it may exceed that, since
    values between the ends vary less than those at them. A tenth of a prompt at each end is added to what varies, and the
    effective size is no less than that of the prompts by their weights: what is rare may not have been seen yet.
    """
    import numpy as np

    sums = np.asarray(sums, dtype=float)
    part, whole = sums[sums[:, 1] > 0].T if len(sums) else np.zeros((2, 0))
    prompts = len(whole)
    if not prompts or not np.isfinite(sums).all():
        return None
    value = min(max(float(part.sum() / whole.sum()), 0.0), 1.0)
    if prompts == 1:
        return Estimate(value, 0.0, 1.0, n, 1)
    seen = prompts / (prompts - 1) * float(((part - value * whole) ** 2).sum())
    unseen = _TENTH * float(whole.mean()) ** 2 * (value**2 + (1 - value) ** 2)
    effective = value * (1 - value) * float(whole.sum()) ** 2 / (seen + unseen)
    least = effective_clusters(whole)
    low, high = wilson(value, fewer(max(effective, least), least))
    return Estimate(value, low, high, n, prompts, least)


def effective_share(sums: Floats, weights: Floats) -> tuple[Estimate, str] | None:
    """The effective number of rows by their weights, as a share of all: (sum w)^2 / (n sum w^2) (Kish, Survey Sampling, 1965).

    `sums` has the prompts' sums of w, w^2 and 1; `weights` are those of the rows. No sample bounds it from below where
    weights have a heavy tail, since it may be the weights that were not drawn that count: then the interval begins at 0, its
    end is that of a one-sided one, and there are words that say so. The tail is light enough where its shape is below 0.25
    with 97.5 % confidence, so that the fourth moment is finite (see `tail_shape`).
    """
    import numpy as np

    found = smooth(sums, lambda s: s[..., 0] ** 2 / (s[..., 2] * s[..., 1]), n=len(weights), within=(0.0, 1.0))
    if found is None:
        return None
    shape, rows = tail_shape(np.asarray(weights, dtype=float))
    if shape + Z * abs(1 + shape) / math.sqrt(max(rows, 1)) < _LIGHT:
        return found, ""
    why = f"the greatest weights have a Pareto tail of k = {shape:.2f}" if math.isfinite(shape) else "of too few rows"
    said = f" (at most: how few it may be can't be told, {why})"
    scale, back = _scale((0.0, 1.0))
    with np.errstate(all="ignore"):
        middle, last = scale(np.array([found.value, found.high]))
    high = float(back(middle + (last - middle) * 1.645 / Z)) if math.isfinite(last) else found.high
    return Estimate(found.value, 0.0, high, found.n, found.prompts), said


def tail_shape(values: Floats) -> tuple[float, int]:
    """The shape k of a generalised Pareto distribution that is fitted to the greatest values, and to how many of them.

    The tail is the greatest fifth, or 3 sqrt(n) of n values if that is less (arXiv:1507.02646); the fit is that of Zhang
    and Stephens (Technometrics 51, 2009). Moments of order 1 / k and above are infinite; at most 0 where values are bounded.
    Infinity where the tail has fewer than 20 values: it can't be told.
    """
    import numpy as np

    n = len(values)
    m = int(min(n / 5, 3 * math.sqrt(n)))
    if m < _TAIL:
        return math.inf, m
    ordered = np.sort(values)
    beyond = ordered[-m:] - ordered[-m - 1]
    beyond = beyond[beyond > _NEARLY * max(float(ordered[-1]), _NEARLY)]
    if len(beyond) < _TAIL // 2:
        return -1.0, m  # most of the tail is one value: there is none
    m = len(beyond)
    points = 30 + int(math.sqrt(m))
    b = (1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))) / (3 * beyond[int(m / 4 + 0.5) - 1]) + 1 / beyond[-1]
    shapes = np.log1p(-b[:, None] * beyond).mean(axis=1)
    fit = m * (np.log(-b / shapes) - shapes - 1)
    likely = np.exp(fit - fit.max())
    best = float((b * likely).sum() / likely.sum())
    return float(np.log1p(-best * beyond).mean()), m


def _scale(
    within: tuple[float, float], root: bool = False
) -> tuple[Callable[[Floats], Floats], Callable[[float], float]]:
    """The map to a scale without bounds, and the way back."""
    import numpy as np

    low, high = within
    if root:
        return lambda value: np.sqrt(np.maximum(value - low, 0)), lambda z: low + max(z, 0.0) ** 2
    if math.isfinite(low) and math.isfinite(high):
        span = high - low

        def logit(value: Floats) -> Floats:
            place = (value - low) / span
            return np.log(place) - np.log1p(-place)

        return logit, lambda z: low + span / (1 + math.exp(-min(max(z, -700.0), 700.0)))
    if math.isfinite(low):
        return lambda value: np.log(value - low), lambda z: low + math.exp(min(z, 700.0))
    return lambda value: value, lambda z: z


def mean(rows: pl.DataFrame, column: str, cluster: str = "prompt_id") -> Estimate | None:
    """The mean of a column over rows."""
    rows = rows.select(cluster, value=column).drop_nulls().with_columns(one=1.0)
    return smooth(cluster_sums(rows, ["value", "one"], cluster), lambda s: s[..., 0] / s[..., 1], n=rows.height, rows_at=1)


def correlation(
    rows: pl.DataFrame, x: str, y: str, *, ranks: bool = False, cluster: str = "prompt_id"
) -> Estimate | None:
    """Pearson's correlation of two columns, or Spearman's, which is that of their ranks."""
    import polars as pl

    rows = rows.select(cluster, x=pl.col(x).cast(pl.Float64), y=pl.col(y).cast(pl.Float64)).drop_nulls()
    if ranks:
        rows = rows.with_columns(pl.col("x", "y").rank("average"))
    centred = rows.with_columns(pl.col("x", "y") - pl.col("x", "y").mean()).with_columns(
        xx=pl.col("x") ** 2, yy=pl.col("y") ** 2, xy=pl.col("x") * pl.col("y"), one=1.0
    )

    def pearson(s: Floats) -> Floats:
        sx, sy, sxx, syy, sxy, n = (s[..., i] for i in range(6))
        return (sxy - sx * sy / n) / ((sxx - sx**2 / n) * (syy - sy**2 / n)) ** 0.5

    sums = cluster_sums(centred, ["x", "y", "xx", "yy", "xy", "one"], cluster)
    return smooth(sums, pearson, n=rows.height, within=(-1.0, 1.0), rows_at=5)


def auc(rows: pl.DataFrame, score: str, label: str, cluster: str = "prompt_id") -> Estimate | None:
    """The probability that a row with a true label has the higher score than one with a false label; ties count half.

    The variance is that of placement values, clustered (Obuchowski, Biometrics 53, 1997), and the interval is made on the
    logit; None without both labels.
    """
    import numpy as np
    import polars as pl

    rows = rows.select(cluster, score=pl.col(score).cast(pl.Float64), label=pl.col(label).cast(pl.Boolean)).drop_nulls()
    positives = int(rows["label"].sum())
    negatives = rows.height - positives
    if not positives or not negatives:
        return None
    score_, label_ = rows["score"].to_numpy(), rows["label"].to_numpy()
    other = [np.sort(score_[~label_]), np.sort(score_[label_])]

    def below(values: Floats, among: Floats) -> Floats:
        return (np.searchsorted(among, values, "left") + np.searchsorted(among, values, "right")) / 2 / len(among)

    placed = np.where(label_, below(score_, other[0]), 1 - below(score_, other[1]))
    value = float(placed[label_].mean())
    pulls = np.where(label_, (placed - value) / positives, (placed - value) / negatives)
    by_cluster = rows.select(cluster, pull=pl.Series(pulls)).group_by(cluster).agg(pl.col("pull").sum(), pl.len())
    clusters = by_cluster.height
    if clusters < 2:
        return Estimate(value, 0.0, 1.0, rows.height, clusters)
    variance = clusters / (clusters - 1) * float((by_cluster["pull"] ** 2).sum())
    worth = effective_clusters(by_cluster["len"].to_numpy())
    if variance == 0 or _at_an_end(value, (0.0, 1.0)):
        return Estimate(value, *wilson(value, fewer(worth, worth)), rows.height, clusters, worth)
    scale, back = _scale((0.0, 1.0))
    middle, reach = float(scale(np.array(value))), student(worth - 1) * math.sqrt(variance) / (value * (1 - value))
    return Estimate(value, float(back(middle - reach)), float(back(middle + reach)), rows.height, clusters, worth)


def bounded_mean(
    rows: pl.DataFrame, column: str, within: tuple[float, float] = (0.0, 1.0), cluster: str = "prompt_id"
) -> Estimate | None:
    """The mean over rows of a column whose values lie in `within`, and so does the interval."""
    import polars as pl

    value = pl.col("value")
    low, high = within
    rows = rows.select(cluster, value=pl.col(column).cast(pl.Float64)).filter(value.is_finite())
    placed = rows.with_columns(((value - low) / (high - low)).clip(0, 1), one=1.0)
    found = share(cluster_sums(placed, ["value", "one"], cluster), n=rows.height)
    if found is None:
        return None
    middle, first, last = (low + (high - low) * end for end in (found.value, found.low, found.high))
    return Estimate(middle, first, last, found.n, found.prompts, found.effective_prompts)


def difference(
    rows: pl.DataFrame,
    column: str,
    second: str,
    *,
    within: tuple[float, float] | None = None,
    cluster: str = "prompt_id",
) -> Estimate | None:
    """The mean of a column where the boolean `second` holds, less the mean where it does not.

    `within` is the range of the values, if they have one.
    """
    import polars as pl

    value, after = pl.col("value"), pl.col("second").cast(pl.Float64)
    rows = (
        rows.select(cluster, value=pl.col(column).cast(pl.Float64), second=pl.col(second))
        .filter(value.is_finite())
        .with_columns(x=value * (1 - after), m=1 - after, y=value * after, n=after)
    )
    if within is not None:
        return _bounded_difference(rows, within, cluster)
    return smooth(
        cluster_sums(rows, ["x", "m", "y", "n"], cluster),
        lambda s: s[..., 2] / s[..., 3] - s[..., 0] / s[..., 1],
        n=rows.height,
    )


def _bounded_difference(rows: pl.DataFrame, within: tuple[float, float], cluster: str) -> Estimate | None:
    """The difference of means of values in a range, from columns x, m, y, n: value and 1 of the first, and of the second."""
    import polars as pl

    low, high = within
    span = high - low
    placed = rows.with_columns(
        ((pl.col(value) - low * pl.col(one)) / span).clip(0, pl.col(one)) for value, one in (("x", "m"), ("y", "n"))
    )
    found = difference_of_shares(cluster_sums(placed, ["x", "m", "y", "n"], cluster), n=rows.height)
    if found is None:
        return None
    return Estimate(span * found.value, span * found.low, span * found.high, found.n, found.prompts)


def difference_of_shares(sums: Floats, *, n: int) -> Estimate | None:
    """The second of two shares less the first, from prompts' sums of part and whole of the first, and of the second.

    The interval is put together from those of the shares (Newcombe, Statistics in Medicine 17, 1998, method 10), which are
    wider towards the middle, with the correlation that the two have over prompts (Zou and Donner, Statistics in Medicine
    27, 2008).
    """
    import numpy as np

    sums = np.asarray(sums, dtype=float)
    one, two = (share(sums[:, side : side + 2], n=n) for side in (0, 2))
    if one is None or two is None:
        return None
    x, y = sums[:, 0] - one.value * sums[:, 1], sums[:, 2] - two.value * sums[:, 3]
    size = math.sqrt(float(x @ x) * float(y @ y))
    together = float(x @ y) / size if size > 0 else 0.0

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * together * a * b + b * b, 0.0))

    value = two.value - one.value
    low = value - reach(two.value - two.low, one.high - one.value)
    high = value + reach(two.high - two.value, one.value - one.low)
    return Estimate(value, max(low, -1.0), min(high, 1.0), n, int((sums[:, 1] + sums[:, 3] > 0).sum()))


def quotient(rows: pl.DataFrame, column: str, second: str, *, cluster: str = "prompt_id") -> Estimate | None:
    """The mean of a positive column where the boolean `second` holds, over the mean where it does not."""
    import polars as pl

    value, after = pl.col("value"), pl.col("second").cast(pl.Float64)
    rows = (
        rows.select(cluster, value=pl.col(column).cast(pl.Float64), second=pl.col(second))
        .filter(value.is_finite())
        .with_columns(x=value * (1 - after), m=1 - after, y=value * after, n=after)
    )
    return smooth(
        cluster_sums(rows, ["x", "m", "y", "n"], cluster),
        lambda s: (s[..., 2] / s[..., 3]) / (s[..., 0] / s[..., 1]),
        n=rows.height,
        within=(0.0, math.inf),
    )


def logit(rows: pl.DataFrame, y: str, x: Sequence[str], cluster: str = "prompt_id") -> dict[str, Estimate]:
    """Coefficients of a logistic model without intercept, by the names in `x`; empty where it can't be fitted.

    For outcomes of pairs, of which it does not matter which is called the first. `y` is in [0, 1]. The intervals are those
    of the cluster-robust covariance, by Student's t. Where something in `x` tells `y` without an error (separation), no
    finite coefficient is the best one, and none is given.
    """
    import warnings

    import numpy as np
    import statsmodels.api as sm

    rows = rows.select(cluster, y, *x).drop_nulls()
    values = rows.select(x).cast(pl_float()).to_numpy()
    names = [name for name, spread in zip(x, np.ptp(values, axis=0) if len(values) else (), strict=False) if spread > 0]
    groups = rows[cluster].rank("dense").to_numpy()
    clusters = rows[cluster].n_unique()
    if not names or clusters < len(names) + 2:
        return {}
    model = sm.GLM(
        rows[y].cast(pl_float()).to_numpy(), rows.select(names).cast(pl_float()).to_numpy(), sm.families.Binomial()
    )
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            fitted = model.fit(cov_type="cluster", cov_kwds={"groups": groups}, maxiter=50)
        except (np.linalg.LinAlgError, ValueError):
            return {}
    if not fitted.converged or not np.isfinite(fitted.bse).all() or np.abs(model.exog @ fitted.params).max() > 25:
        return {}
    worth = effective_clusters(rows.group_by(cluster).len()["len"].to_numpy())
    reach = student(worth - 1) * fitted.bse
    return {
        name: Estimate(float(value), float(value - half), float(value + half), rows.height, clusters, worth)
        for name, value, half in zip(names, fitted.params, reach, strict=True)
    }


def pl_float() -> pl.DataType:
    """The type in which everything is computed."""
    import polars as pl

    return pl.Float64()
