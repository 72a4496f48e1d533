"""Whether judges err together (E14)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import Floats, cluster_sums, smooth
from triptych.audit.finding import Finding
from triptych.audit.intervals import Estimate
from triptych.audit.mitigations import judging
from triptych.audit.needs import GOLD, LIBRARIES, SEVERAL_JUDGES

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_MOST_JUDGES = 20


class EffectiveJudges(Diagnostic):
    """The effective number of judges, over their number: 1 / (1 + (n - 1) rho), with rho the mean correlation of errors.

    An error is 1, a tie 0.5, in the mean over a judge's verdicts on a pair and criterion, where gold says who is better. rho
    is the mean of Pearson's correlations of every two judges on the pairs that both judged (Kish's design effect, Survey
    Sampling, 1965), held at 0 or more. Of more than twenty judges, those with the most verdicts count.
    """

    name = "effective_judges"
    failure_mode = "E14"
    needs = (LIBRARIES, GOLD, SEVERAL_JUDGES)
    unit = "number"
    good = (0.5, 1.0)
    error = (0.15, 1.0)
    change = "take judges of other families, or judge with fewer"
    mitigations = (judging.another_judge,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it over all judges."""
        found = effective(data.judged)
        if found is not None:
            share, judges = found
            of_more = data.judged["evaluator_id"].n_unique() > judges
            who = f"The {judges} judges with the most verdicts" if of_more else f"{judges} judges"
            said = f"{who} err together: the effective number of judges over their number is"
            yield self.found(share, said, data=data)


def effective(judged: pl.DataFrame) -> tuple[Estimate, int] | None:
    """The effective number of judges over their number, and their number; from `Data.judged`."""
    import numpy as np
    import polars as pl

    key = ["prompt_id", "criterion", "a", "b"]
    errors = judged.group_by(*key, "evaluator_id").agg(error=1 - pl.col("right").mean())
    most = errors.group_by("evaluator_id").agg(pl.len()).sort(["len", "evaluator_id"], descending=[True, False])
    kept = most["evaluator_id"][:_MOST_JUDGES].to_list()
    if len(kept) < 2:
        return None
    wide = errors.filter(pl.col("evaluator_id").is_in(kept)).pivot("evaluator_id", index=key, values="error")
    names = sorted(set(wide.columns) - set(key))
    two = [(i, j) for i in names for j in names if i < j]
    columns = []
    for number, (i, j) in enumerate(two):
        both = pl.col(i).is_not_null() & pl.col(j).is_not_null()
        x, y = (pl.when(both).then(pl.col(name)).otherwise(0.0) for name in (i, j))
        columns += [
            value.cast(pl.Float64).alias(f"{number}_{place}")
            for place, value in enumerate((both, x, y, x * x, y * y, x * y))
        ]
    sums = cluster_sums(wide.select("prompt_id", *columns), [f"{n}_{k}" for n in range(len(two)) for k in range(6)])

    def rho(s: Floats) -> Floats:
        n, x, y, xx, yy, xy = (s[..., k::6] for k in range(6))
        spread = (n * xx - x**2) * (n * yy - y**2)
        told = spread > 1e-9
        each = np.where(told, (n * xy - x * y) / np.sqrt(np.where(told, spread, 1.0)), 0.0)
        return each.sum(-1) / told.sum(-1)

    def share(s: Floats) -> Floats:
        return 1 / (1 + (len(names) - 1) * np.maximum(rho(s), 0.0))

    found = smooth(sums, share, n=wide.height, within=(0.0, 1.0))
    return None if found is None else (found, len(names))
