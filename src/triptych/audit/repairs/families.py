"""Prompts that are nearly the same, kept on one side of a split (I12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class Resplit:
    """Prompts that are alike become one family, so that `export --split` keeps them on one side.

    Prompts are alike where only case and white space differ; whole families that share such a prompt are joined.
    """

    name = "resplit"
    mitigates = ("I12",)
    why = "a prompt of another family is alike"

    def families(self, data: Data) -> pl.DataFrame:
        """Say which prompts change their family. Columns: prompt_id, family_id (the new one)."""
        import polars as pl

        keys = data.prompt_keys.with_columns(family=pl.coalesce("family_id", "prompt_id"))
        joined = keys.with_columns(to="family")
        while True:  # a family passes its name on to those that share a prompt with it, until nothing changes
            nearer = joined.with_columns(to=pl.col("to").min().over("prompt_alike")).with_columns(
                to=pl.col("to").min().over("family")
            )
            if nearer.equals(joined):
                break
            joined = nearer
        return joined.filter(pl.col("to") != pl.col("family")).select("prompt_id", family_id="to")
