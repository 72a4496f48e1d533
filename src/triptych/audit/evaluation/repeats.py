"""Whether a judge gives the same score when it is asked again (E5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import Floats, cluster_sums, smooth
from triptych.audit.finding import Finding
from triptych.audit.mitigations import judging
from triptych.audit.needs import LIBRARIES, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_MOST_ROWS = 10


def repeated(data: Data) -> pl.DataFrame:
    """What models say of responses that they scored several times by themselves, asked the same way.

    Columns: evaluator, evaluator_id, criterion, prompt_id, response_id; k (how many times), total and squares (of the scores
    in [0, 1]), spread (their standard deviation), judgement_id (one).
    """
    import polars as pl

    about = data.by_models.filter(pl.col("response_ids").list.len() == 1).select(
        "criterion_id", "check", judgement_id="id"
    )
    score = pl.col("verdict")
    return (
        data.said.lazy()
        .join(about.unique("judgement_id"), on="judgement_id")
        .group_by("evaluator", "evaluator_id", "criterion", "criterion_id", "check", "prompt_id", "response_id")
        .agg(
            k=pl.len().cast(pl.Float64),
            total=score.sum(),
            squares=(score * score).sum(),
            spread=score.std(),
            judgement_id=pl.col("judgement_id").min(),
        )
        .filter(pl.col("k") > 1)
        .drop("criterion_id", "check")
        .collect()
    )


REPEATED_SCORES = Need(
    "scores of the same response, given several times",
    "give the judge `repeats`, with a temperature above 0",
    lambda data: data.once(repeated).height > 1,
)


class ScoreReliability(Diagnostic):
    """How much of the variance of a judge's scores lies between responses, not between repeated scores of one and the same: the
    intraclass correlation ICC(1,1) (Shrout and Fleiss, Psychological Bulletin 86, 1979), for any number of repeats.

    With the mean squares B between and W within responses, and k the repeats (corrected for unequal numbers of them), it is
    (B - W) / (B + (k - 1) W). From 0.75 on reliability is called good, below 0.5 poor (Koo and Li, J. Chiropractic Medicine
    15, 2016). Only responses judged by themselves count.
    """

    name = "score_reliability"
    failure_mode = "E5"
    needs = (LIBRARIES, REPEATED_SCORES)
    good = (0.75, 1.0)
    error = (0.5, 1.0)
    source = "Koo and Li, J. Chiropractic Medicine 15, 2016"
    change = "take the mean of several repeats, a lower temperature, a finer rubric, or a panel"
    mitigations = (judging.repeated, judging.cooler)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each judge and criterion."""
        import polars as pl

        by = ["evaluator", "evaluator_id", "criterion"]
        parts = data.once(repeated).partition_by(by, as_dict=True)
        for (evaluator, _, criterion), rows in sorted(parts.items(), key=str):
            n = pl.col("k")
            told = rows.with_columns(one=pl.lit(1.0), kk=n * n, between=pl.col("total") ** 2 / n, prompt_id="prompt_id")
            sums = cluster_sums(told, ["one", "k", "kk", "total", "between", "squares"])
            found = smooth(sums, reliability, n=round(rows["k"].sum()), within=(-1.0, 1.0))
            if found is not None:
                said = f"Asked again, {evaluator} scores {criterion} with a reliability (ICC) of"
                worst = rows.sort("spread", "judgement_id", descending=[True, False])["judgement_id"][:_MOST_ROWS]
                yield self.found(found, said, subject=f"{evaluator}: {criterion}", rows=worst.to_list(), data=data)


def reliability(s: Floats) -> Floats:
    """ICC(1,1) of sums over things that were scored: how many, k, k^2, totals, totals^2 / k, squares of scores."""
    things, n, kk, total, between, squares = (s[..., i] for i in range(6))
    mean_between = (between - total**2 / n) / (things - 1)
    within = (squares - between) / (n - things)
    k = (n - kk / n) / (things - 1)
    return (mean_between - within) / (mean_between + (k - 1) * within)
