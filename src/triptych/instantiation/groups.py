"""Groups of responses with advantages, for group-relative policy gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from triptych.instantiation.token_weights import TokenRewards
from triptych.instantiation.weighed import Weighed
from triptych.records import Objective

if TYPE_CHECKING:
    import polars as pl


class Groups(Weighed):
    """Puts all scored responses to a prompt into one group; the labels are their advantages.

    `mean_std` is GRPO's (arXiv:2402.03300): the score less the group's mean, over its standard deviation (of a
    sample, with n - 1, as trainers compute it). `mean` leaves the division out, as Dr. GRPO does
    (arXiv:2503.20783). `leave_one_out` subtracts the mean of the others, as RLOO does (arXiv:2402.14740).
    `none` passes the scores on.
    """

    kind: Literal["groups"] = "groups"
    advantage: Literal["mean_std", "mean", "leave_one_out", "none"] = "mean_std"
    """How a score becomes an advantage."""
    zero_variance: Literal["drop", "keep"] = "drop"
    """What becomes of a group whose scores are all equal: none (DAPO, arXiv:2503.14476), or advantages of 0."""
    min_size: int = Field(default=2, ge=2)
    """Fewest scored responses of a group."""
    token_rewards: TokenRewards | None = None
    """Rewards of single tokens as well, by a `TokenRewards`; None gives none."""

    @property
    def _unread(self) -> frozenset[str]:
        tokens = () if self.token_rewards is not None else ("spans",)
        return frozenset(tokens if self._minds_texts else (*tokens, "messages"))

    def instantiate(
        self,
        responses: pl.LazyFrame,
        judgements: pl.LazyFrame,
        objective: Objective,
        seed: int,
        prompts: pl.LazyFrame | None = None,
    ) -> pl.LazyFrame:
        """Make at most one group of each prompt; its responses stand in the order of the table."""
        import polars as pl

        rows = (
            self.with_scores(responses, judgements, objective)
            .group_by("prompt", maintain_order=True)
            .agg(
                pl.first("prompt_id"),
                pl.col("response_id").alias("response_ids"),
                pl.col("score").alias("scores"),
                self._advantage().round(12).alias("labels"),
                (pl.col("score").max() - pl.col("score").min()).round(12).alias("margin"),
                pl.col("judgement_ids").explode().unique(maintain_order=True),
            )
            .filter(pl.col("response_ids").list.len() >= self.min_size)
            .with_columns(weight=pl.lit(1.0))
        )
        if self.zero_variance == "drop":
            rows = rows.filter(pl.col("margin") > 0)
        if self.token_rewards is not None:
            rows = self.token_rewards.rewarded(rows, judgements)
        rows = self.weighed(rows, responses, judgements, objective, prompts)
        return self.as_examples(rows, kind="group", strategy=self.advantage, version=objective.version)

    def _advantage(self) -> pl.Expr:
        import polars as pl

        score = pl.col("score")
        match self.advantage:
            case "none":
                return score
            case "mean":
                return score - score.mean()
            case "leave_one_out":
                return score - (score.sum() - score) / (pl.len() - 1)
            case "mean_std":
                # Equal scores are all the mean, but for the rounding of the mean: 1 keeps that too small to tell.
                return (score - score.mean()) / pl.max_horizontal(score.std(), (score.max() == score.min()).cast(float))
