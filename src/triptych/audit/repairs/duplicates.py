"""Rows that say what another row says, and prompts that have too many rows (S9, I6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.repairs.repair import Repair, dropped
from triptych.instantiation.scored import with_draw

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_TIMES_THE_MEDIAN = 4


class DropDuplicates(Repair):
    """Of pairs that show the same prompt and the same two texts in the same order, the first stays.

    Texts are the same where only case and white space differ, prompts also where the marks at the ends of words do.
    """

    name = "drop_duplicates"
    mitigates = ("S9",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop all but the first."""
        import polars as pl

        told = (
            data.pair_features.lazy()
            .join(data.asked.lazy(), on="prompt_id", how="left")
            .sort("row")
            .with_columns(
                again=pl.int_range(pl.len()).over("strategy_id", "asks", "chosen_alike", "rejected_alike") > 0
            )
        )
        return dropped(told.filter("again"), "an earlier row says the same")


class CapPerPrompt(Repair):
    """No prompt keeps more than four times as many pairs of a strategy as the median prompt: those of the widest margins.

    Prompts are the same where only case, white space and the marks at the ends of words differ.
    """

    name = "cap_per_prompt"
    mitigates = ("S9",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop what is beyond the cap."""
        import polars as pl

        told = (
            data.pairs.join(data.asked, on="prompt_id", how="left")
            .with_columns(response_id="id", many=pl.len().over("strategy_id", "asks"))
            .lazy()
        )
        prompts = told.unique(["strategy_id", "asks"]).group_by("strategy_id")
        cap = prompts.agg((pl.col("many").median() * _TIMES_THE_MEDIAN).floor().alias("cap"))
        placed = (
            with_draw(told, seed)
            .sort(pl.col("margin").fill_null(0.0), "drawn", descending=[True, False])
            .with_columns(place=pl.int_range(pl.len()).over("strategy_id", "asks"))
            .join(cap, on="strategy_id")
        )
        return dropped(placed.filter(pl.col("place") >= pl.col("cap")), "its prompt has many more pairs than others")
