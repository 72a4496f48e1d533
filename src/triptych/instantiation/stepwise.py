"""Responses with a label for each step, for process reward models and step-wise losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from triptych.instantiation.scored import Names, Scored, Unit
from triptych.instantiation.scores import shown_responses, step_scores, verdicts
from triptych.records import Objective

if TYPE_CHECKING:
    import polars as pl


class Stepwise(Scored):
    """Makes one example of each response whose parts were judged; the labels stand in the order of the parts.

    A part's score is made of the verdicts on it as that of a response is of those on it: evaluators by `panel`, criteria
    weighted as the objective declares. Judgements of whole responses do not count: what they say of an end tells
    nothing of a step. A response that was judged by step and by sentence gives an example for each.

    A part counts where it has a verdict on each criterion that any part of the response has one on. Those parts must
    follow on one another from the first: where judging stopped, as at a first error, the labels end; a response of
    which a part in between does not count, or in which evaluators saw parts of different extent, is left out.
    """

    has_margins: ClassVar[bool] = False

    kind: Literal["stepwise"] = "stepwise"
    criteria: Names | None = None
    """The criteria that count; None takes all on which parts were judged."""
    labels: Literal["hard", "soft"] = "hard"
    """Whether a label is 1 or 0, or the score itself."""
    good: Unit = Field(default=0.5)
    """With `hard`: the least score of a good step, exclusive at 0, so that 0 marks good what has any chance."""
    min_steps: int = Field(default=1, ge=1)
    """Fewest labels of an example."""

    @model_validator(mode="after")
    def _keeps_steps_apart(self) -> Stepwise:
        if self.fold is not None:
            raise ValueError("fold makes one score of the steps, and stepwise keeps a label for each; leave fold out")
        if self.bradley_terry is not None:
            raise ValueError("bradley_terry is of choices between responses, and steps are not chosen between; leave it out")
        for field in ("length", "style"):
            if getattr(self, field) != "keep":
                raise ValueError(f"{field}: residual takes the {field} of responses out, not that of steps; leave it out")
        return self

    def instantiate(
        self, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective, seed: int
    ) -> pl.LazyFrame:
        """Make the examples, in the order of the responses; of one response, by the name of the parts' unit."""
        import polars as pl

        said = verdicts(judgements, self.criteria, self._evaluators, of="steps")
        scores = step_scores(said, responses, objective, self.panel, lambda said: self._adjusted(said, responses))
        each = ["response_id", "unit"]
        rows = (
            scores.sort(*each, "step")
            .group_by(each, maintain_order=True)
            .agg(
                pl.col("score").alias("scores"),
                (pl.col("aligned").all() & (pl.col("step") == pl.int_range(pl.len())).all()).alias("whole"),
                pl.col("judgement_ids").list.explode(),
            )
            .filter(pl.col("whole") & (pl.col("scores").list.len() >= self.min_steps))
            .join(shown_responses(responses), on="response_id")
            .sort("row", "unit")
            .select(
                "prompt_id",
                "scores",
                "judgement_ids",
                response_ids=pl.concat_list("response_id"),
                labels=pl.col("scores").list.eval(self._label()),
            )
        )
        return self.as_examples(rows, kind="stepwise", strategy=self.labels, version=objective.version)

    def _label(self) -> pl.Expr:
        import polars as pl

        score = pl.element()
        if self.labels == "soft":
            return score
        return (score > 0 if self.good == 0 else score >= self.good).cast(pl.Float64)
