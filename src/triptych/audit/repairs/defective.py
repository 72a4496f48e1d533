"""Rows that teach a defect (S10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.repairs.repair import Repair, dropped

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class DropDefective(Repair):
    """Rows go whose chosen response (or, of rows that are no pairs, any response) is cut off, empty, or shows a chat template.

    Cut off means that the model ended for length (`finish_reason`).
    """

    name = "drop_defective"
    mitigates = ("S10",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop rows that would teach it."""
        import polars as pl

        cut = (pl.col("finish_reason") == "length").fill_null(False)
        bad = (
            data.features.lazy()
            .filter(cut | pl.col("leaks_template") | (pl.col("words") == 0))
            .select(pl.col("response_id").alias("response_ids"))
        )
        learnt = (
            pl.when(pl.col("kind") == "pair")
            .then(pl.col("response_ids").list.head(1))
            .otherwise(pl.col("response_ids"))
        )
        rows = data.examples.select("id", learnt.alias("response_ids")).explode("response_ids")
        return dropped(rows.join(bad, on="response_ids", how="semi"), "it would teach a defective text")
