"""Rows that teach a defect (S10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.repairs.repair import Repair, dropped
from triptych.audit.synthesis.no_answer import CutOff, EmptyAnswers, Looping, TemplateLeaks

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class DropDefective(Repair):
    """Rows go whose chosen response (or, of rows that are no pairs, any response) has a defect:
    cut off by the limit of tokens, empty, going round in circles, or with marks of a chat template (see `cut_off_responses`,
    `empty_answers`, `looping_responses` and `template_leaks`).
    """

    name = "drop_defective"
    mitigates = ("S10",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop rows that would teach it."""
        import polars as pl

        has = [each.defect().fill_null(False) for each in (CutOff(), EmptyAnswers(), Looping(), TemplateLeaks())]
        bad = data.features.lazy().filter(pl.any_horizontal(has)).select(pl.col("response_id").alias("response_ids"))
        learnt = (
            pl.when(pl.col("kind") == "pair")
            .then(pl.col("response_ids").list.head(1))
            .otherwise(pl.col("response_ids"))
        )
        rows = data.examples.select("id", learnt.alias("response_ids")).explode("response_ids")
        return dropped(rows.join(bad, on="response_ids", how="semi"), "it would teach a defective text")
