"""The order in which examples are to be learnt from: a curriculum by margin or difficulty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import polars as pl

_DECIMALS = 12


class Schedule(BaseModel):
    """Puts the examples of all prompts in order, the easiest or the hardest first.

    By `margin`, the example whose responses lie furthest apart is the easiest: so Curri-DPO goes from pairs that are easy
    to tell apart to close ones (arXiv:2403.07230). By `difficulty`, it is the one whose responses score highest in the
    mean: of a group, the prompt that the policy solves most often. Examples of which it is not known come last, and
    those that are equal stay in the order of their prompts. What an example says, and its id, do not depend on it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["margin", "difficulty"]
    """What makes an example easy: a great margin, or a high mean score of its responses."""
    first: Literal["easiest", "hardest"] = "easiest"
    """Which examples come first."""

    def ordered(self, examples: pl.LazyFrame) -> pl.LazyFrame:
        """Put examples, which have margin and scores, in order."""
        import polars as pl

        ease = pl.col("margin") if self.by == "margin" else pl.col("scores").list.mean()
        key = ease.cast(pl.Float64).round(_DECIMALS)
        return examples.sort(key, descending=self.first == "easiest", nulls_last=True, maintain_order=True)
