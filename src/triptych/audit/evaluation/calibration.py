"""Whether a judge is as sure as it is right (E7)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.agreement import each_evaluator
from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import Floats, cluster_sums, logit, smooth
from triptych.audit.finding import Curve, Finding
from triptych.audit.intervals import Estimate
from triptych.audit.mitigations import scoring
from triptych.audit.needs import GOLD, LIBRARIES, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

PROBABILITIES = Need(
    "probabilities beside a judge's choices, where there are gold labels",
    "use `pairwise` with read: logprobs",
    lambda data: data.confidences.height > 0,
)
_MOST_BINS, _ROWS_A_BIN = 10, 25


class CalibrationSlope(Diagnostic):
    """The coefficient of logit(p) in a logistic model of gold, where p is the probability that a judge gives a response.

    1 where it is as sure as it is right, less where it is too sure, 0 where its probabilities say nothing (Cox, Biometrika
    45, 1958). No intercept, since it does not matter which response is called the first. p is held to [0.001, 0.999].
    """

    name = "calibration_slope"
    failure_mode = "E7"
    needs = (LIBRARIES, GOLD, PROBABILITIES)
    good = (0.5, 2.0)
    error = (0.1, 10.0)
    change = "calibrate the judge on gold labels"
    mitigations = (scoring.calibrated,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Fit the model, for each judge."""
        for judge, rows in each_evaluator(data.confidences):
            found = slope(rows)
            if found is not None:
                said = f"For each unit of log-odds that {judge} gives, those of the truth change by"
                yield self.found(found, said, subject=judge, rows=_worst(rows), data=data, plot=reliability(rows))


class CalibrationError(Diagnostic):
    """Root mean square difference between how sure a judge is and how often it is right, less what chance adds to it.

    In bins of like confidence max(p, 1 - p), as many as leave 25 rows in each, ten at most: the mean of squared differences
    less their sampling variance, which makes it unbiased (arXiv:1909.10155), then the root; 0 where it is below 0.
    """

    name = "calibration_error"
    failure_mode = "E7"
    needs = (LIBRARIES, GOLD, PROBABILITIES)
    good = (0.0, 0.1)
    error = (0.0, 0.3)
    change = "calibrate the judge on gold labels"
    mitigations = (scoring.calibrated,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it, for each judge."""
        for judge, rows in each_evaluator(data.confidences):
            found = error(rows)
            if found is not None:
                said = f"How sure {judge} is differs from how often it is right by"
                yield self.found(found, said, subject=judge, rows=_worst(rows), data=data, plot=reliability(rows))


def slope(rows: pl.DataFrame) -> Estimate | None:
    """The calibration slope of rows of `Data.confidences`."""
    import polars as pl

    p = pl.col("probability").clip(0.001, 0.999)
    told = rows.with_columns(odds=(p / (1 - p)).log(), true=(1 + pl.col("truth")) / 2)
    return logit(told, "true", ["odds"]).get("odds")


def binned(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with sure (in [0.5, 1]), hit (0, 0.5, 1) and bin (of like confidence, with about as many rows in each)."""
    import polars as pl

    bins = max(1, min(_MOST_BINS, rows.height // _ROWS_A_BIN))
    p, true = pl.col("probability"), (1 + pl.col("truth")) / 2
    return rows.with_columns(
        sure=pl.max_horizontal(p, 1 - p),
        hit=pl.when(p == 0.5).then(0.5).otherwise(((p > 0.5) == (true > 0.5)).cast(pl.Float64)),
    ).with_columns(bin=((pl.col("sure").rank("average") - 1) * bins / rows.height).floor().cast(pl.Int32))


def error(rows: pl.DataFrame) -> Estimate | None:
    """The unbiased calibration error of rows of `Data.confidences`."""
    import numpy as np
    import polars as pl

    told = binned(rows)
    bins = sorted(told["bin"].unique())
    off = pl.col("hit") - pl.col("sure")
    told = told.with_columns(
        *((pl.col("bin") == i).cast(pl.Float64).alias(f"n{i}") for i in bins),
        *pl_columns("d", bins, off),
        *pl_columns("q", bins, off**2),
    )
    sums = cluster_sums(told, [f"{kind}{i}" for kind in "ndq" for i in bins])

    def squared(s: Floats) -> Floats:
        n, d, q = (s[..., len(bins) * i : len(bins) * (i + 1)] for i in range(3))
        size = np.maximum(n, 1e-12)
        noise = (q / size - (d / size) ** 2) / np.maximum(n - 1, 1)
        return (n * ((d / size) ** 2 - noise)).sum(-1) / n.sum(-1)

    found = smooth(sums, squared, n=rows.height)
    if found is None:
        return None
    root = [max(end, 0.0) ** 0.5 for end in (found.value, found.low, found.high)]
    return Estimate(root[0], root[1], min(root[2], 1.0), found.n, found.prompts)


def pl_columns(name: str, bins: list[int], value: pl.Expr) -> list[pl.Expr]:
    """A value in its own bin, and 0 in the others."""
    import polars as pl

    return [pl.when(pl.col("bin") == i).then(value).otherwise(0.0).alias(f"{name}{i}") for i in bins]


def reliability(rows: pl.DataFrame) -> Curve:
    """How often a judge is right, over how sure it is."""
    import polars as pl

    drawn = binned(rows).group_by("bin").agg(pl.col("sure", "hit").mean()).sort("bin")
    return Curve(
        x=tuple(drawn["sure"]),
        y=tuple(drawn["hit"]),
        x_axis="how sure the judge is",
        y_axis="how often it is right",
        diagonal=True,
    )


def expected_calibration_error(rows: pl.DataFrame) -> Estimate | None:
    """ECE: the mean over rows of the absolute difference between confidence and accuracy in a row's bin (see `binned`)."""
    import numpy as np
    import polars as pl

    told = binned(rows).with_columns(one=1.0)
    bins = sorted(told["bin"].unique())
    told = told.with_columns(pl_columns("d", bins, pl.col("hit") - pl.col("sure")))
    sums = cluster_sums(told, [*(f"d{i}" for i in bins), "one"])
    return smooth(sums, lambda s: np.abs(s[..., :-1]).sum(-1) / s[..., -1], n=rows.height, within=(0.0, 1.0))


def _worst(rows: pl.DataFrame) -> list[str]:
    import polars as pl

    off = (pl.col("probability") - (1 + pl.col("truth")) / 2).abs()
    return rows.sort(off, "judgement_id", descending=[True, False])["judgement_id"][:10].to_list()
