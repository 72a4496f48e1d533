"""Good and bad examples that count alike, and groups that teach nothing (I10, S4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.repairs.repair import Repair, dropped

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class BalanceLabels(Repair):
    """Of unpaired rows, those of the label that there is less of weigh more, so that both labels weigh the same in all.

    KTO wants them at par or up to 4 to 3 (arXiv:2402.01306).
    """

    name = "balance_labels"
    mitigates = ("I10",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Weigh the rarer label up."""
        import polars as pl

        good = pl.col("labels").list.first() > 0.5
        rows = data.examples.filter(pl.col("kind") == "unpaired").select(
            "id", "weight", "strategy_id", good.alias("good")
        )
        all_of_label = pl.col("weight").sum().over("strategy_id", "good")
        other = pl.col("weight").sum().over("strategy_id") - all_of_label
        return (
            rows.with_columns(factor=other / all_of_label)
            .filter((pl.col("factor") > 1) & pl.col("factor").is_finite())
            .select("id", weight=pl.col("weight") * pl.col("factor"), why=pl.lit("its label is the rarer one"))
            .collect()
        )


class DropZeroGroups(Repair):
    """Groups go whose responses all score alike: their advantages are nought (arXiv:2503.14476)."""

    name = "drop_zero_groups"
    mitigates = ("S4",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop groups without a contrast."""
        import polars as pl

        scores = pl.col("scores").list
        flat = (scores.len() > 0) & (scores.max() - scores.min() < 1e-9)
        rows = data.examples.filter((pl.col("kind") == "group") & flat)
        return dropped(rows, "all its responses score alike")
