"""Single responses marked good or bad, for KTO (arXiv:2402.01306) and binary classifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from triptych.instantiation.scored import Unit
from triptych.instantiation.weighed import Weighed
from triptych.records import Objective

if TYPE_CHECKING:
    import polars as pl


class Unpaired(Weighed):
    """Marks each scored response good (label 1) or bad (label 0); those between the thresholds are left out.

    With `against: prompt_mean`, a response is held against the mean score of its prompt's responses instead, and
    `good` and `bad` are distances from it: good from mean + `good` up, bad from mean - `bad` down.
    """

    kind: Literal["unpaired"] = "unpaired"
    against: Literal["scale", "prompt_mean"] = "scale"
    """What a score is held against: the scale from 0 to 1, or the mean of the prompt's responses."""
    good: Unit = 0.5
    """Least score of a good response, inclusive."""
    bad: float | None = Field(default=None, ge=0, le=1)
    """Greatest score of a bad response, inclusive; None marks bad all that is not good."""
    weight: Literal["one", "distance"] = "one"
    """The example's weight: 1, or how far its score lies from what it is held against (on the scale, from 0.5)."""

    @model_validator(mode="after")
    def _thresholds_are_apart(self) -> Unpaired:
        if self.against == "scale" and self.bad is not None and self.bad >= self.good:
            raise ValueError(f"bad {self.bad:g} is not below good {self.good:g}: a response would be both")
        return self

    def instantiate(
        self,
        responses: pl.LazyFrame,
        judgements: pl.LazyFrame,
        objective: Objective,
        seed: int,
        prompts: pl.LazyFrame | None = None,
    ) -> pl.LazyFrame:
        """Make one example of each response that is marked, in the order of the responses."""
        import polars as pl

        score = pl.col("score")
        middle = pl.lit(0.5) if self.against == "scale" else score.mean().over("prompt")
        good, bad = self._marks(middle)
        rows = (
            self.ranked(responses, judgements, objective, seed)
            .with_columns(
                label=pl.when(good).then(1.0).when(bad).then(0.0),
                distance=(score - middle).abs().round(12),
            )
            .filter(pl.col("label").is_not_null())
            .sort("row")
            .select(
                "prompt_id",
                "judgement_ids",
                response_ids=pl.concat_list("response_id"),
                scores=pl.concat_list("score"),
                labels=pl.concat_list("label"),
                margin=pl.lit(None),
                weight=pl.col("distance") if self.weight == "distance" else pl.lit(1.0),
            )
        )
        rows = self.weighed(rows, responses, judgements, objective, prompts)
        return self.as_examples(rows, kind="unpaired", strategy=f"against_{self.against}", version=objective.version)

    def _marks(self, middle: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
        """Whether a response is good, and whether it is bad if it is not good."""
        import polars as pl

        score = pl.col("score")
        if self.against == "scale":
            return score >= self.good, pl.lit(True) if self.bad is None else score <= self.bad
        above = (score - middle).round(12)
        return above >= self.good, pl.lit(True) if self.bad is None else above <= -self.bad
