"""Responses with a label for each step, for process reward models and step-wise losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from triptych.instantiation.scored import Names, Scored, Unit
from triptych.instantiation.scores import shown_responses, verdicts
from triptych.records import Objective

if TYPE_CHECKING:
    import polars as pl


class Stepwise(Scored):
    """Makes one example of each response whose steps were judged; the labels stand in the order of the steps.

    A step's score is the mean over evaluators of their verdicts on it. Judgements of whole responses do not count: what
    they say of an end tells nothing of a step. The steps must follow on one another from the first; a response of
    which one in between has no verdict is left out, and where judging stopped at a first error, the labels end there.
    """

    kind: Literal["stepwise"] = "stepwise"
    criteria: Names | None = None
    """The criteria that count; None takes all on which steps were judged. Their scores of a step are averaged."""
    labels: Literal["hard", "soft"] = "hard"
    """Whether a label is 1 or 0, or the score itself."""
    good: Unit = Field(default=0.5)
    """With `hard`: the least score of a good step, exclusive at 0, so that 0 marks good what has any chance."""
    min_steps: int = Field(default=1, ge=1)
    """Fewest steps of an example."""

    def instantiate(
        self, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective, seed: int
    ) -> pl.LazyFrame:
        """Make the examples, in the order of the responses."""
        import polars as pl

        said = verdicts(judgements, self.criteria, self.evaluators, of="steps")
        of_step = (
            said.group_by("response_id", "step", "criterion", "evaluator_id")
            .agg(pl.col("verdict").mean(), pl.col("judgement_id"), pl.col("judgement").min())
            .group_by("response_id", "step")
            .agg(
                pl.col("verdict").mean().round(12).alias("score"),
                pl.col("judgement_id").list.explode().sort(),
            )
        )
        rows = (
            of_step.sort("response_id", "step")
            .group_by("response_id", maintain_order=True)
            .agg(
                pl.col("score").alias("scores"),
                (pl.col("step").max() + 1 == pl.len()).alias("whole"),
                pl.col("judgement_id").list.explode().alias("judgement_ids"),
            )
            .filter(pl.col("whole") & (pl.col("scores").list.len() >= self.min_steps))
            .join(shown_responses(responses), on="response_id")
            .sort("row")
            .select(
                "prompt_id",
                "scores",
                "judgement_ids",
                response_ids=pl.concat_list("response_id"),
                labels=pl.col("scores").list.eval(self._label()),
                margin=pl.lit(None),
                weight=pl.lit(1.0),
            )
        )
        return self.as_examples(rows, kind="stepwise", strategy=self.labels, version=objective.version)

    def _label(self) -> pl.Expr:
        import polars as pl

        score = pl.element()
        if self.labels == "soft":
            return score
        return (score > 0 if self.good == 0 else score >= self.good).cast(pl.Float64)
