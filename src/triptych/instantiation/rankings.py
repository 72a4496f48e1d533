"""Responses to a prompt from best to worst, for list-wise losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from triptych.instantiation.scored import Scored
from triptych.records import Objective

if TYPE_CHECKING:
    import polars as pl


class Rankings(Scored):
    """Puts the scored responses to a prompt into one list, from best to worst; the labels are their scores.

    So do RRHF (arXiv:2304.05302), PRO (arXiv:2306.17492) and LiPO (arXiv:2402.01878).
    """

    kind: Literal["rankings"] = "rankings"
    ties: Literal["drop", "keep"] = "drop"
    """Of responses of equal score only one, by a draw, or all of them, in drawn order."""
    min_size: int = Field(default=2, ge=2)
    """Fewest responses of a list."""
    max_size: int | None = Field(default=None, ge=2)
    """Most responses of a list: the best and the worst always, between them those spread evenly over the ranks."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Rankings:
        if self.max_size is not None and self.max_size < self.min_size:
            raise ValueError(f"max_size {self.max_size} is below min_size {self.min_size}: no list fits")
        return self

    def instantiate(
        self, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective, seed: int
    ) -> pl.LazyFrame:
        """Make at most one list of each prompt, in the order of the prompts."""
        import polars as pl

        ranked = self.ranked(responses, judgements, objective, seed)
        if self.ties == "drop":
            ranked = ranked.unique(["prompt", "score"], keep="first", maintain_order=True)
        if self.max_size is not None:
            ranked = ranked.filter(self._spread(self.max_size))
        rows = (
            ranked.sort("prompt", "place")
            .group_by("prompt", maintain_order=True)
            .agg(
                pl.first("prompt_id"),
                pl.col("response_id").alias("response_ids"),
                pl.col("score").alias("scores"),
                pl.col("score").alias("labels"),
                (pl.col("score").first() - pl.col("score").last()).round(12).alias("margin"),
                pl.col("judgement_ids").explode().unique(maintain_order=True),
            )
            .filter(pl.col("response_ids").list.len() >= self.min_size)
        )
        return self.as_examples(rows, kind="ranking", strategy=f"ties_{self.ties}", version=objective.version)

    def _spread(self, most: int) -> pl.Expr:
        """Of n ranks, those next above most - 1 equal steps from the first to the last."""
        import polars as pl

        rank = pl.int_range(pl.len()).over("prompt")
        last = pl.len().over("prompt").cast(pl.Int64) - 1
        steps = most - 1
        # Rank r stands first at or above step i where i = ceil(r * steps / last) moves on.
        at = (rank * steps) // last.clip(1)
        return (last < most) | (rank == 0) | (at > ((rank - 1) * steps) // last.clip(1))
