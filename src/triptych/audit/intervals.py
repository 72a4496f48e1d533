"""Shares with intervals that know that rows of one prompt belong together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from triptych.audit.finding import too_few

if TYPE_CHECKING:
    import polars as pl

Z = 1.959963984540054
_MOST_ROWS = 10


class Estimate(msgspec.Struct, frozen=True):
    """A number measured on rows, with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    """Of how many rows."""
    prompts: int
    """From how many prompts: the clusters."""
    effective_prompts: float | None = None
    """How many prompts with as many rows each tell as much: (sum n)^2 / sum n^2 for n rows of a prompt (Kish, Survey Sampling,
    1965). One prompt with nearly all rows makes it nearly 1, however many there are. None where it is not known."""

    @property
    def few(self) -> bool:
        """Whether there are too few prompts to tell, or too few by their rows."""
        return too_few(self.prompts, self.effective_prompts)


def sums(rows: pl.LazyFrame, by: Sequence[str]) -> pl.LazyFrame:
    """Sum up, for each group of `by`, what `shares` needs. The sums of different prompts can be added.

    `rows` has the columns `by`, prompt_id, part, whole, and id with `shows`: the row's id, and whether it is
    one that shows what is wrong.
    """
    import polars as pl

    part, whole = pl.col("part"), pl.col("whole")
    rows = rows.with_columns(part.cast(pl.Float64), whole.cast(pl.Float64))
    clusters = rows.group_by(*by, "prompt_id").agg(
        part.sum(), whole.sum(), pl.col("id").filter("shows").sort().head(_MOST_ROWS)
    )
    return clusters.filter(whole > 0).group_by(by).agg(
        pl.len().cast(pl.Int64).alias("prompts"),
        part.sum().alias("y"),
        whole.sum().alias("m"),
        (part * part).sum().alias("yy"),
        (part * whole).sum().alias("ym"),
        (whole * whole).sum().alias("mm"),
        _first_ids(),
    )  # fmt: skip


def shares(
    parts: Sequence[pl.DataFrame], by: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], Estimate, tuple[str, ...]]]:
    """Estimate sum(part) / sum(whole) for each group of `by`, clustered by prompt, from `sums` of different prompts.

    Yields the group, its share, and the ids of up to ten rows that show it.
    """
    import polars as pl

    numbers = ("prompts", "y", "m", "yy", "ym", "mm")
    added = pl.concat(parts).group_by(by).agg(pl.col(numbers).sum(), _first_ids())
    for row in added.sort(by).iter_rows(named=True):
        share = ratio(*(row[name] for name in numbers))
        yield tuple(row[name] for name in by), share, tuple(row["id"])


def _first_ids() -> pl.Expr:
    import polars as pl

    return pl.col("id").explode().drop_nulls().sort().head(_MOST_ROWS)


def ratio(prompts: int, y: float, m: float, yy: float, ym: float, mm: float) -> Estimate:
    """The ratio y / m of two sums over prompts, with its 95 % interval, from sums and sums of squares.

    The variance is that of the ratio estimator under cluster sampling (Cochran, Sampling Techniques, 1977,
    ch. 6 and 9). It gives an effective sample size, corrected for the number of clusters by Student's t (Korn
    and Graubard, Survey Methodology 24, 1998), which goes into Wilson's interval (JASA 22, 1927). Franco,
    Little, Louis and Slud (J. Survey Statistics and Methodology 7, 2019) compare such intervals. Where all
    rows agree the variance can't be seen, and each prompt counts as one row. The number of clusters is the
    effective one, by their sizes.
    """
    value = y / m
    clusters = min(m * m / mm, float(prompts))
    effective = clusters
    if prompts > 1 and 0 < value < 1:
        variance = prompts / (prompts - 1) * max(yy - 2 * value * ym + value * value * mm, 0.0) / (m * m)
        effective = min(m, value * (1 - value) / variance) if variance > 0 else m
    low, high = wilson(value, fewer(effective, clusters))
    return Estimate(value, low, high, round(m), prompts, clusters)


def wilson(value: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % score interval for a share seen among n."""
    z2 = Z * Z
    centre = (value + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(value * (1 - value) / n + z2 / (4 * n * n))
    return max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half))


def fewer(n: float, prompts: float) -> float:
    """How many rows Wilson's interval should be told of, so that it is as wide as Student's t asks for."""
    return n * (Z / student(prompts - 1)) ** 2


def student(freedom: float) -> float:
    """The 97.5 % point of Student's t (expansion 26.7.5 of Abramowitz and Stegun, 1964)."""
    z, v = Z, max(freedom, 1)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )
