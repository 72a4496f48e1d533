"""Whether a judge takes length for quality (E2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.agreement import each_evaluator
from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.estimates import cluster_sums, correlation, smooth
from triptych.audit.finding import Finding
from triptych.audit.mitigations import judging, scoring
from triptych.audit.needs import GOLD, JUDGED, LIBRARIES, SCORES

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class JudgePrefersLonger(Share):
    """Share of a judge's clear preferences that go to the longer response, in characters of what the assistant says.

    Clear: the same winner in every order asked, or different mean scores. Pairs of equal length do not count.
    """

    name = "judge_prefers_longer"
    failure_mode = "E2"
    needs = (JUDGED,)
    counts = (
        "clear preferences of a model between responses of different length",
        "let a judge compare more responses",
    )
    good = (0.0, 0.65)
    error = (0.0, 0.9)
    by = ("evaluator", "evaluator_id")
    change = "tell the judge to disregard length, or pair responses of like length"
    mitigations = (scoring.without_length, judging.disregard_length)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each clear preference, and whether it goes to the longer response."""
        import polars as pl

        longer = (pl.col("chars") - pl.col("chars_b")).sign()
        chars = data.chars.lazy()
        return (
            data.preferences.lazy()
            .join(chars, left_on="a", right_on="response_id")
            .join(chars.rename({"chars": "chars_b"}), left_on="b", right_on="response_id")
            .filter(longer != 0)
            .with_columns(
                part=longer == pl.col("prefers"), whole=1, id="judgement_id", shows=longer == pl.col("prefers")
            )
        )

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the judge."""
        return evaluator, f"{evaluator} prefers the longer of two responses in"


class _StyleCoefficient(Diagnostic):
    failure_mode = "E2"
    needs = (LIBRARIES, GOLD)
    good = (-0.4, 0.4)
    error = (-1.1, 1.1)
    style: str
    what: str

    def measure(self, data: Data) -> Iterator[Finding]:
        """Fit the model for each judge."""
        for judge, rows in each_evaluator(data.pair_differences):
            found = data.style_coefficients.get(rows["evaluator_id"][0], {}).get(self.style)
            if found is not None:
                leaning = rows.filter((rows[self.style] * rows["prefers"] > 0) & (rows["right"] < 0.5))
                said = f"At equal gold labels, the log-odds that {judge} prefers a response change with {self.what} by"
                yield self.found(
                    found, said, subject=judge, rows=leaning["judgement_id"].sort()[:10].to_list(), data=data
                )


class LengthCoefficient(_StyleCoefficient):
    """The coefficient of length in a logistic model of what a judge prefers: logit P(a) = g gold + c length + m markup.

    gold is 1 where a is truly the better one, -1 where b is; length is the difference of characters, markup that of
    bullets, headings and bold passages, both over their standard deviation. 0.4 is an odds ratio of 1.5.
    """

    name = "length_coefficient"
    change = "tell the judge to disregard length, or correct its scores for length"
    style = "longer"
    what = "one standard deviation more characters"
    mitigations = (scoring.without_length, judging.disregard_length)


class MarkupCoefficient(_StyleCoefficient):
    """The coefficient of markup in the same logistic model: what a judge makes of bullets, headings and bold passages."""

    name = "markup_coefficient"
    counts = (
        "verdicts beside gold on responses that differ in markup",
        "none is needed where no response has bullets, headings or bold text",
    )
    change = "tell the judge to disregard form, or show it plain text"
    style = "markup"
    what = "one standard deviation more markup"
    mitigations = (scoring.without_style, judging.disregard_form)


class AccuracyGapByLength(Diagnostic):
    """How much more often a judge is right where the better response is the longer one than where it is the shorter one.

    Compared within fifths of the absolute difference of characters, so that pairs are matched, and the fifths weighted as
    Mantel and Haenszel do (J. National Cancer Institute 22, 1959): n1 n2 / (n1 + n2).
    """

    name = "accuracy_gap_by_length"
    failure_mode = "E2"
    needs = (LIBRARIES, GOLD)
    good = (-0.15, 0.15)
    error = (-0.4, 0.4)
    change = "tell the judge to disregard length, or pair responses of like length"
    mitigations = (scoring.without_length, judging.disregard_length)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Compare within fifths, for each judge."""
        import numpy as np
        import polars as pl

        for judge, rows in each_evaluator(data.pair_differences.filter(pl.col("longer") != 0)):
            fifth = ((pl.col("longer").abs().rank("average") - 1) * 5 / rows.height).floor().cast(pl.Int32)
            long = pl.col("longer") * pl.col("truth") > 0
            rows = rows.with_columns(
                *(
                    (part & (fifth == i)).cast(pl.Float64).alias(f"n{w}{i}")
                    for i in range(5)
                    for w, part in _ways(long)
                ),
                *(
                    (pl.col("right") * (part & (fifth == i))).alias(f"y{w}{i}")
                    for i in range(5)
                    for w, part in _ways(long)
                ),
            )
            names = [f"{kind}{w}{i}" for kind in "ny" for w in "ls" for i in range(5)]

            def gap(s: np.ndarray) -> np.ndarray:
                n_l, n_s, y_l, y_s = (s[..., 5 * i : 5 * i + 5] for i in range(4))
                weight = np.where((n_l > 0) & (n_s > 0), n_l * n_s / np.maximum(n_l + n_s, 1e-12), 0.0)
                apart = y_l / np.maximum(n_l, 1e-12) - y_s / np.maximum(n_s, 1e-12)
                return np.asarray((weight * apart).sum(-1) / weight.sum(-1))

            found = smooth(cluster_sums(rows, names), gap, n=rows.height, within=(-1.0, 1.0))
            if found is not None:
                missed = rows.filter(~long & (pl.col("right") < 0.5))["judgement_id"].sort()[:10].to_list()
                said = f"{judge} is right more often where the better response is the longer one, by a share of"
                yield self.found(found, said, subject=judge, rows=missed, data=data)


def _ways(long: pl.Expr) -> tuple[tuple[str, pl.Expr], tuple[str, pl.Expr]]:
    return ("l", long), ("s", ~long)


class ScoreLengthCorrelation(Diagnostic):
    """Spearman's correlation of a judge's scores with characters, both less their means over the prompt's responses.

    Good responses may well be longer: it is a reason to look, and a fault where length is no merit.
    """

    name = "score_length_correlation"
    failure_mode = "E2"
    needs = (LIBRARIES, SCORES)
    counts = (
        "scores by a model, of two or more responses to a prompt",
        "score with a rubric or a reward model; people and verifiers do not count here",
    )
    good = (-0.4, 0.4)
    error = (-0.8, 0.8)
    change = "tell the judge to disregard length, or correct its scores for length"
    mitigations = (scoring.without_length, judging.disregard_length)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Correlate, for each judge."""
        import polars as pl

        by = ["prompt_id", "evaluator_id", "criterion"]
        rows = (
            data.scored.filter(pl.col("model").is_not_null())
            .join(data.features.select("response_id", "chars"), on="response_id")
            .filter(pl.len().over(by) > 1)
            .with_columns(pl.col("score", "chars") - pl.col("score", "chars").mean().over(by))
        )
        for judge, part in each_evaluator(rows):
            found = correlation(part, "score", "chars", ranks=True)
            if found is not None:
                worst = part.sort(pl.col("score") * pl.col("chars"), descending=True)["judgement_id"][:10].to_list()
                said = f"Within prompts, the scores of {judge} go with length by a rank correlation of"
                yield self.found(found, said, subject=judge, rows=worst, data=data)
