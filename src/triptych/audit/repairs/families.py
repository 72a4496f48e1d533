"""Prompts that are nearly the same, kept on one side of a split (I12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.prompts import near_copies

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class Resplit:
    """Prompts that are alike become one family, so that `export --split` keeps them on one side.

    Prompts are alike where only case, white space and the marks at the ends of words differ, or where one is a near copy of the other (see
    `near_duplicate_prompts`); whole families that share such a prompt are joined.
    """

    name = "resplit"
    mitigates = ("I12",)
    why = "a prompt of another family is alike"

    def families(self, data: Data) -> pl.DataFrame:
        """Say which prompts change their family. Columns: prompt_id, family_id (the new one)."""
        import polars as pl

        copies = near_copies(data.prompts).select("prompt_id", first=pl.coalesce("copy_of", "prompt_id"))
        keys = data.asked.join(copies, on="prompt_id", how="left")
        joined = keys.with_columns(to="family")
        while True:  # a family passes its name on to those that share a prompt with it, until nothing changes
            nearer = joined
            for shared in ("asks", "first", "family"):
                nearer = nearer.with_columns(to=pl.col("to").min().over(shared))
            if nearer.equals(joined):
                break
            joined = nearer
        return joined.filter(pl.col("to") != pl.col("family")).select("prompt_id", family_id="to")
