"""Weights of the sentences or steps of responses, for losses that do not treat all of a response alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from triptych.instantiation.scores import verdicts
from triptych.records import Objective

if TYPE_CHECKING:
    import polars as pl

Names = Annotated[tuple[str, ...], Field(min_length=1)]
_PART = ["response_id", "message", "start", "end"]


class PartWeights(BaseModel):
    """Weighs each judged part of a response: `base` + what its scores on the criteria come to.

    A part's score on a criterion is the mean over evaluators of the mean of what each says, from 0 to 1. `relative` holds
    it against the other parts of its response, so that the worst has 0 and the best 1 (a lone part, and parts that are
    all equal, have 0). It is then put on `range`, and the criteria are joined by the weights that the objective declares.

    ASPO (arXiv:2505.19100) weighs a sentence of the chosen response by 1 + w, where w joins two relative scores in the
    mean. Fine-Grained RLHF (arXiv:2306.01693) rewards the end of a part by the weighted sum over kinds of error, each
    -1 or 1: `base: 0, range: [-1, 1], join: sum`.

    Parts are told apart by where they stand, so criteria may be judged on sentences and on steps of one response. A part
    that lacks a criterion on which others of the same kind were judged has no weight of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    criteria: Names | None = None
    """The criteria that count; None takes all on which parts were judged."""
    evaluators: Names | None = None
    """The evaluators that count, by name; None takes all."""
    of: Literal["all", "first"] = "all"
    """Whose parts are weighed: those of all of an example's responses, or of the first alone, which of a pair is the
    chosen one."""
    base: float = 1.0
    """What a part weighs whose scores come to 0."""
    relative: bool = False
    """Whether a score is held against the other parts of the response."""
    range: tuple[float, float] = (0.0, 1.0)
    """What a score of 0 and a score of 1 stand for."""
    join: Literal["mean", "sum"] = "mean"
    """Whether criteria are joined as their weighted mean, or as their weighted sum."""

    @model_validator(mode="after")
    def _goes_somewhere(self) -> PartWeights:
        if self.range[0] == self.range[1]:
            raise ValueError(f"range goes from {self.range[0]:g} to itself, so that all parts would weigh the same")
        return self

    def with_spans(self, rows: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective) -> pl.LazyFrame:
        """Add `spans` to rows that have response_ids, and the judgements that they rest on to judgement_ids."""
        import polars as pl

        numbered = rows.with_row_index("example").collect().lazy()
        ids = pl.col("response_ids")
        each = numbered.select(
            "example", ids.alias("response_id"), pl.int_ranges(ids.list.len(), dtype=pl.Int32).alias("response")
        ).explode("response_id", "response")
        if self.of == "first":
            each = each.filter(pl.col("response") == 0)
        found = (
            each.join(self.weights(judgements, objective), on="response_id")
            .sort("example", "response", "message", "start", "end")
            .group_by("example", maintain_order=True)
            .agg(
                pl.struct("response", "message", "start", "end", "value").alias("spans"),
                pl.col("part_judgement_ids").list.explode(),
            )
        )
        rests_on = pl.concat_list("judgement_ids", pl.col("part_judgement_ids").fill_null([]))
        return (
            numbered.join(found, on="example", how="left", maintain_order="left")
            .with_columns(pl.col("spans").fill_null([]), judgement_ids=rests_on.list.unique(maintain_order=True))
            .drop("example", "part_judgement_ids")
        )

    def weights(self, judgements: pl.LazyFrame, objective: Objective) -> pl.LazyFrame:
        """What each judged part weighs.

        Columns: response_id, message, start, end, value, part_judgement_ids (in table order). In no set order.
        """
        import polars as pl

        declared = {name: criterion.weight for name, criterion in objective.criteria.items()}
        worth = (
            pl.col("criterion").replace_strict(declared, default=1.0, return_dtype=pl.Float64)
            if declared
            else pl.lit(1.0)
        )
        said = (
            verdicts(judgements, self.criteria, self.evaluators, of="steps")
            .with_columns(worth=worth)
            .filter(pl.col("start").is_not_null() & pl.col("end").is_not_null() & (pl.col("worth") > 0))
        )
        scores = (
            said.group_by(*_PART, "unit", "criterion", "worth", "evaluator_id")
            .agg(pl.col("verdict").mean(), pl.col("judgement_id", "judgement"))
            .group_by(*_PART, "unit", "criterion", "worth")
            .agg(pl.col("verdict").mean().alias("score"), pl.col("judgement_id", "judgement").list.explode())
            .with_columns(asked=pl.col("criterion").n_unique().over("response_id", "unit"))
            .with_columns(score=self._score())
        )
        value = pl.col("score") * pl.col("worth")
        joined = value.sum() if self.join == "sum" else value.sum() / pl.col("worth").sum()
        return (
            scores.group_by(*_PART, "unit")
            .agg(
                (self.base + joined).round(12).alias("value"),
                pl.col("asked").first(),
                pl.len().alias("judged_on"),
                pl.col("judgement_id").list.explode().sort_by(pl.col("judgement").list.explode()),
            )
            .filter(pl.col("judged_on") == pl.col("asked"))
            .select(*_PART, "value", pl.col("judgement_id").alias("part_judgement_ids"))
        )

    def _score(self) -> pl.Expr:
        import polars as pl

        score = pl.col("score")
        if self.relative:
            least, greatest = (end.over("response_id", "unit", "criterion") for end in (score.min(), score.max()))
            score = pl.when(greatest > least).then((score - least) / (greatest - least)).otherwise(0.0)
        low, high = self.range
        return low + (high - low) * score
