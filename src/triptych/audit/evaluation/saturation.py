"""Whether a judge's scores tell responses apart (E8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.agreement import each_evaluator
from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.estimates import Floats, cluster_sums, smooth
from triptych.audit.finding import Bars, Finding
from triptych.audit.mitigations import judging
from triptych.audit.needs import LIBRARIES, SCORES, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


COMPARED = Need("pairs judged by a model", "judge with `pairwise`", lambda data: data.choices.height > 0)


class ScoresAtTheEnds(Share):
    """Share of a judge's scores that are the highest or the lowest on its scale. Verifiers, which have two, do not count."""

    name = "scores_at_the_ends"
    failure_mode = "E8"
    needs = (SCORES,)
    counts = (
        "scores by a model",
        "score with a rubric or a reward model; people and verifiers do not count here",
    )
    good = (0.0, 0.5)
    error = (0.0, 0.9)
    by = ("evaluator", "evaluator_id")
    change = "take a wider scale or a stricter rubric, read the score from log-probabilities, or compare in pairs"
    mitigations = (judging.finer_scale, judging.expected_scores)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each score of a model, and whether it stands at an end."""
        import polars as pl

        end = (pl.col("score") >= 1) | (pl.col("score") <= 0)
        alone = data.scored.lazy().filter(pl.col("model").is_not_null())
        return alone.with_columns(part=end, whole=1, id="judgement_id", shows=end)

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the judge."""
        return evaluator, f"{evaluator} gives the highest or the lowest score in"


class TiedScores(Share):
    """Share of two responses to one prompt that a judge scores alike on a criterion, over all two that it scores."""

    name = "tied_scores"
    failure_mode = "E8"
    needs = (SCORES,)
    counts = (
        "scores by a model, of two or more responses to a prompt",
        "score with a rubric or a reward model; people and verifiers do not count here",
    )
    good = (0.0, 0.5)
    error = (0.0, 0.9)
    by = ("evaluator", "evaluator_id")
    change = "take a wider scale, read the score from log-probabilities, repeat, or compare in pairs"
    mitigations = (judging.finer_scale, judging.expected_scores)

    def rows(self, data: Data) -> pl.LazyFrame:
        """How many of a prompt's pairs are tied, for each judge and criterion."""
        import polars as pl

        key = ["prompt_id", "evaluator", "evaluator_id", "criterion"]

        def two(n: pl.Expr) -> pl.Expr:
            return n * (n - 1) / 2

        return (
            data.scored.lazy()
            .filter(pl.col("model").is_not_null())
            .group_by(*key, pl.col("score").round(9))
            .agg(n=pl.len().cast(pl.Float64), id=pl.col("judgement_id").min())
            .group_by(key)
            .agg(part=two(pl.col("n")).sum(), whole=two(pl.col("n").sum()), id=pl.col("id").min())
            .with_columns(shows=pl.col("part") > 0)
        )

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the judge."""
        return evaluator, f"{evaluator} scores two responses to one prompt alike in"


class TiedPairs(Share):
    """Share of a judge's readable verdicts on pairs that call both responses equal, each order by itself."""

    name = "tied_pairs"
    failure_mode = "E8"
    needs = (COMPARED,)
    good = (0.0, 0.5)
    error = (0.0, 0.9)
    by = ("evaluator", "evaluator_id")
    change = "ask for a choice without a tie, or take a judge that tells these responses apart"
    mitigations = (judging.without_ties, judging.expected_scores)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each readable verdict on a pair, and whether it is a tie."""
        import polars as pl

        tie = pl.col("named") == 0
        read = data.choices.lazy().drop_nulls("named")
        return read.with_columns(part=tie, whole=1, id="judgement_id", shows=tie)

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the judge."""
        return evaluator, f"{evaluator} calls two responses equal in"


class ScoreLevels(Diagnostic):
    """How many scores a judge uses in effect: exp of the entropy of how often it gives each (Hill, Ecology 54, 1973).

    A judge that gives one score has 1; one that gives ten equally often has 10. Scores between 200 steps of the scale count
    as the same. Verifiers do not count.
    """

    name = "score_levels"
    failure_mode = "E8"
    needs = (LIBRARIES, SCORES)
    counts = (
        "scores by a model",
        "score with a rubric or a reward model; people and verifiers do not count here",
    )
    good = (2.0, float("inf"))
    error = (1.2, float("inf"))
    change = "take a wider scale or a stricter rubric, read the score from log-probabilities, or compare in pairs"
    mitigations = (judging.finer_scale, judging.expected_scores)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Count, for each judge."""
        import numpy as np
        import polars as pl

        rows = data.scored.filter(pl.col("model").is_not_null()).with_columns(
            level=(pl.col("score") * 200).round().cast(pl.Int32), one=1.0
        )
        for judge, part in each_evaluator(rows):
            levels = sorted(part["level"].unique())
            sums = cluster_sums(part.with_columns((pl.col("level") == i).alias(f"l{i}") for i in levels), [f"l{i}" for i in levels])  # fmt: skip

            def effective(s: Floats) -> Floats:
                share = s / s.sum(-1, keepdims=True)
                return np.exp(-(share * np.log(np.where(share > 0, share, 1.0))).sum(-1))

            found = smooth(sums, effective, n=part.height, within=(0.999, float("inf")))
            if found is not None:
                counts = part.group_by("level").agg(pl.len()).sort("level")
                bars = Bars(
                    labels=tuple(f"{level / 200:g}" for level in counts["level"]),
                    values=tuple(map(float, counts["len"])),
                    axis="how often it is given",
                )
                yield self.found(
                    found,
                    f"The scores that {judge} uses come to an effective number of",
                    subject=judge,
                    data=data,
                    plot=bars,
                )
