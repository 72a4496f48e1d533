"""Estimates of what is no share: correlations, coefficients, areas under curves; their intervals know of prompts too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from triptych.audit.intervals import Estimate, student, wilson

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

Floats = Any
"""An array of floats."""
_NEARLY = 1e-9


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
) -> Estimate | None:
    """A smooth function of sums over prompts, with the interval that the jackknife gives; None where it is not defined.

    `sums` has shape (prompts, p); `statistic` maps an array of shape (..., p) to one of shape (...), so that all
    prompts are left out, one after the other, in one call. The interval is made on a scale on which the statistic has
    no bounds (the logit of shares, Fisher's z of correlations, the logarithm of what is positive), with Student's t and
    one degree of freedom for each prompt but one (Efron and Stein, Annals of Statistics 9, 1981; Miller, Biometrika 61,
    1974). `within` is the statistic's range.
    """
    import numpy as np

    sums = np.asarray(sums, dtype=float)
    prompts = len(sums)
    if prompts == 0:
        return None
    total = sums.sum(axis=0)
    low, high = within
    with np.errstate(all="ignore"):
        value = float(statistic(total))
        left_out = np.asarray(statistic(total - sums), dtype=float)
    if not math.isfinite(value):
        return None
    left_out = left_out[np.isfinite(left_out)]
    if prompts > 1 and _at_an_end(value, within) and math.isfinite(high - low):
        return _wilson(value, within, prompts, n, prompts)
    k = len(left_out)
    if k < 2:
        return Estimate(value, low, high, n, prompts)
    if any(_at_an_end(each, within) for each in (value, left_out.min(), left_out.max())):
        return _beside_an_end(value, left_out, within, n, prompts)
    scale, back = _scale(within)
    error = _jackknife(scale(left_out))
    middle, reach = float(scale(np.asarray(value))), student(k - 1) * error
    return Estimate(value, float(back(middle - reach)), float(back(middle + reach)), n, prompts)


def _at_an_end(value: float, within: tuple[float, float]) -> bool:
    return bool(value - within[0] < _NEARLY or within[1] - value < _NEARLY)


def _jackknife(left_out: Floats) -> float:
    """The standard error of a statistic, from its values without one of the prompts each."""
    k = len(left_out)
    return math.sqrt((k - 1) / k * float(((left_out - left_out.mean()) ** 2).sum()))


def _wilson(value: float, within: tuple[float, float], effective: float, n: int, prompts: int) -> Estimate:
    """Wilson's interval for the value's place within its range, as if that were a share of an effective number of rows."""
    low, high = within
    place = min(max((value - low) / (high - low), 0.0), 1.0)
    first, last = wilson(place, effective * (1.959963984540054 / student(prompts - 1)) ** 2)
    return Estimate(value, low + first * (high - low), low + last * (high - low), n, prompts)


def _beside_an_end(value: float, left_out: Floats, within: tuple[float, float], n: int, prompts: int) -> Estimate:
    """The interval where the value, or that without some prompt, stands at an end of the range.

    On a scale without bounds that is infinite. To leave such prompts out would leave out those that matter: of 29 rows with 1
    and one with 0 only the last one tells how far the mean may be from 1.
    """
    low, high = within
    error = _jackknife(left_out)
    if error == 0:
        return Estimate(value, low, high, n, prompts)
    if math.isfinite(high - low):
        effective = (value - low) * (high - value) / error**2 or float(prompts)
        return _wilson(value, within, min(effective, float(n)), n, prompts)
    reach = student(len(left_out) - 1) * error
    return Estimate(value, max(value - reach, low), min(value + reach, high), n, prompts)


def _scale(within: tuple[float, float]) -> tuple[Callable[[Floats], Floats], Callable[[float], float]]:
    """The map to a scale without bounds, and the way back."""
    import numpy as np

    low, high = within
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
    return smooth(cluster_sums(rows, ["value", "one"], cluster), lambda s: s[..., 0] / s[..., 1], n=rows.height)


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
    return smooth(sums, pearson, n=rows.height, within=(-1.0, 1.0))


def auc(rows: pl.DataFrame, score: str, label: str, cluster: str = "prompt_id") -> Estimate | None:
    """The probability that a row with a true label has the higher score than one with a false label; ties count half.

    The variance is that of placement values, clustered (Obuchowski, Biometrics 53, 1997); None without both labels.
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
    by_cluster = rows.select(cluster).with_columns(pull=pl.Series(pulls)).group_by(cluster).agg(pl.col("pull").sum())
    clusters = by_cluster.height
    if clusters < 2:
        return Estimate(value, 0.0, 1.0, rows.height, clusters)
    variance = clusters / (clusters - 1) * float((by_cluster["pull"] ** 2).sum())
    # As an effective number of rows, so that Wilson's interval keeps it in [0, 1] (as in `ratio`).
    effective = min(float(rows.height), value * (1 - value) / variance) if variance > 0 and 0 < value < 1 else clusters
    low, high = wilson(value, effective * (1.959963984540054 / student(clusters - 1)) ** 2)
    return Estimate(value, low, high, rows.height, clusters)


def bounded_mean(
    rows: pl.DataFrame, column: str, within: tuple[float, float] = (0.0, 1.0), cluster: str = "prompt_id"
) -> Estimate | None:
    """The mean over rows of a column whose values lie in `within`, and so does the interval."""
    import polars as pl

    value = pl.col("value")
    rows = rows.select(cluster, value=pl.col(column).cast(pl.Float64)).filter(value.is_finite()).with_columns(one=1.0)
    return smooth(
        cluster_sums(rows, ["value", "one"], cluster), lambda s: s[..., 0] / s[..., 1], n=rows.height, within=within
    )


def difference(rows: pl.DataFrame, column: str, second: str, *, cluster: str = "prompt_id") -> Estimate | None:
    """The mean of a column where the boolean `second` holds, less the mean where it does not."""
    import polars as pl

    value, after = pl.col("value"), pl.col("second").cast(pl.Float64)
    rows = (
        rows.select(cluster, value=pl.col(column).cast(pl.Float64), second=pl.col(second))
        .filter(value.is_finite())
        .with_columns(x=value * (1 - after), m=1 - after, y=value * after, n=after)
    )
    return smooth(
        cluster_sums(rows, ["x", "m", "y", "n"], cluster),
        lambda s: s[..., 2] / s[..., 3] - s[..., 0] / s[..., 1],
        n=rows.height,
    )


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
    reach = student(clusters - 1) * fitted.bse
    return {
        name: Estimate(float(value), float(value - half), float(value + half), rows.height, clusters)
        for name, value, half in zip(names, fitted.params, reach, strict=True)
    }


def pl_float() -> pl.DataType:
    """The type in which everything is computed."""
    import polars as pl

    return pl.Float64()
