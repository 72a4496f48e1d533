"""Examples of different strategies, told apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


def each_strategy(rows: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """Tell rows of different strategies apart, by their names and the hash of their settings."""
    import polars as pl

    named = rows.with_columns(pl.col("strategy", "strategy_id").fill_null(""))
    for (strategy, _), its in sorted(
        named.partition_by("strategy", "strategy_id", as_dict=True).items(), key=lambda one: str(one[0])
    ):
        yield str(strategy), its
