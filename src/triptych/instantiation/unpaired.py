"""Single responses marked good or bad, for KTO (arXiv:2402.01306) and binary classifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from triptych.instantiation.scored import Unit
from triptych.instantiation.weighed import Weighed
from triptych.records import Objective

if TYPE_CHECKING:
    import polars as pl


class Unpaired(Weighed):
    """Marks each scored response good (label 1) or bad (label 0); those between the thresholds are left out.

    With `against: prompt_mean`, a response is held against the mean score of its prompt's responses instead, and
    `good` and `bad` are distances from it: good from mean + `good` up, bad from mean - `bad` down. With `labels: soft`
    each scored response is kept, and its label is its score: a target for a regression (HelpSteer2, arXiv:2406.08673).
    """

    has_margins: ClassVar[bool] = False

    kind: Literal["unpaired"] = "unpaired"
    labels: Literal["hard", "soft"] = "hard"
    """Whether a label is 1 or 0, or the score itself."""
    dimensions: Literal["joined", "each"] = "joined"
    """What several criteria make of a row. `joined`: the objective's weighted mean decides. `each`: rows for every
    criterion by itself, with its name in their strategy."""
    against: Literal["scale", "prompt_mean"] = "scale"
    """What a score is held against: the scale from 0 to 1, or the mean of the prompt's responses."""
    good: Unit = 0.5
    """Least score of a good response, inclusive."""
    bad: float | None = Field(default=None, ge=0, le=1)
    """Greatest score of a bad response, inclusive; None marks bad all that is not good."""
    weight: Literal["one", "distance"] = "one"
    """The example's weight: 1, or how far its score lies from what it is held against (on the scale, from 0.5)."""

    @property
    def _unread(self) -> frozenset[str]:
        return frozenset({"spans"} if self._minds_texts else {"spans", "messages"})

    @model_validator(mode="after")
    def _thresholds_are_apart(self) -> Unpaired:
        if self.against == "scale" and self.bad is not None and self.bad >= self.good:
            raise ValueError(f"bad {self.bad:g} is not below good {self.good:g}: a response would be both")
        if self.dimensions == "each" and self.criteria is None:
            raise ValueError("dimensions: each needs the names of the criteria")
        if self.labels == "soft" and not self.model_fields_set.isdisjoint({"good", "bad", "against"}):
            raise ValueError("labels: soft marks nothing good or bad; leave good, bad and against out")
        return self

    def instantiate(
        self,
        responses: pl.LazyFrame,
        judgements: pl.LazyFrame,
        objective: Objective,
        seed: int,
        prompts: pl.LazyFrame | None = None,
    ) -> pl.LazyFrame:
        """Make one example of each response that is marked, in the order of the responses; criterion by criterion."""
        import polars as pl

        if self.dimensions == "joined":
            return self._examples(responses, judgements, objective, seed, prompts, "")
        chosen = {name: getattr(self, name) for name in self.model_fields_set} | {"dimensions": "joined"}
        each = [(name, Unpaired(**(chosen | {"criteria": (name,)}))) for name in self.criteria or ()]
        return self.scheduled(
            pl.concat(one._examples(responses, judgements, objective, seed, prompts, f"/{name}") for name, one in each)
        )

    def _examples(
        self,
        responses: pl.LazyFrame,
        judgements: pl.LazyFrame,
        objective: Objective,
        seed: int,
        prompts: pl.LazyFrame | None,
        named: str,
    ) -> pl.LazyFrame:
        import polars as pl

        score = pl.col("score")
        middle = pl.lit(0.5) if self.against == "scale" else score.mean().over("prompt")
        good, bad = self._marks(middle)
        if self.against == "scale":
            scored = self.with_scores(responses, judgements, objective)
        else:  # from best to worst, since the order in which a mean is added up may make its last digit
            scored = self.ranked(responses, judgements, objective, seed)
        rows = (
            scored.with_columns(
                label=score if self.labels == "soft" else pl.when(good).then(1.0).when(bad).then(0.0),
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
                weight=pl.col("distance") if self.weight == "distance" else pl.lit(1.0),
            )
        )
        strategy = f"against_{self.against}" if self.labels == "hard" else "score"
        rows = self.weighed(rows, responses, judgements, objective, prompts)
        return self.as_examples(rows, kind="unpaired", strategy=strategy + named, version=objective.version)

    def _marks(self, middle: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
        """Whether a response is good, and whether it is bad if it is not good."""
        import polars as pl

        score = pl.col("score")
        if self.against == "scale":
            return score >= self.good, pl.lit(True) if self.bad is None else score <= self.bad
        above = (score - middle).round(12)
        return above >= self.good, pl.lit(True) if self.bad is None else above <= -self.bad
