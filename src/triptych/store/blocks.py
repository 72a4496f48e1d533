"""A run's tables some whole prompts at a time, so that what looks at all rows needs no memory for all of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from triptych.store.run import Run

if TYPE_CHECKING:
    import polars as pl

_PROMPTS_A_BLOCK = 4096
STATISTICAL: Mapping[str, Collection[str]] = {
    "responses": ("id", "prompt_id", "parent_id", "params", "model", "status", "messages"),
    "judgements": (
        *("id", "prompt_id", "response_ids", "criterion", "evaluator", "evaluator_id", "model", "check"),
        *("status", "step", "about", "scores", "ranks", "probability", "scale", "weight"),
    ),
    "examples": ("id", "prompt_id", "kind", "strategy", "strategy_id", "response_ids", "labels", "margin", "weight"),
}
"""What statistics rest on. The rest, such as what judges wrote, takes most of the room."""


def blocks(
    run: Run,
    *tables: str,
    prompts: int | None = None,
    columns: Mapping[str, Collection[str] | None] = STATISTICAL,
) -> Iterator[dict[str, pl.LazyFrame]]:
    """These tables by name, cut alike: a block holds all rows of the same prompts, 4,096 of them or `prompts`.

    `columns` names what is read of each table, None for all that there is; if not given, what statistics rest on, and of
    the prompts their ids. A block is read once and kept in memory while it is looked at, since each statistic would
    read it anew.
    """
    import polars as pl

    size = prompts or _PROMPTS_A_BLOCK
    numbered = prompt_keys(run).with_columns(block=pl.col("prompt_row") // size)
    places = {name: spans(run.table(name), numbered, "block") for name in tables if name != "prompts"}
    for number in numbered["block"].unique(maintain_order=True):
        ids = _with(run, "prompts", columns.get("prompts", ("id",))).slice(number * size, size).collect().lazy()
        block = {
            name: _block(_with(run, name, columns.get(name)), place, number, ids).collect().lazy()
            for name, place in places.items()
        }
        yield block | ({"prompts": ids} if "prompts" in tables else {})


def _with(run: Run, name: str, columns: Collection[str] | None) -> pl.LazyFrame:
    """A table with some of its columns, as far as the Triptych that made the run had them."""
    table = run.table(name)
    if columns is None:
        return table
    return table.select(column for column in table.collect_schema().names() if column in columns)


def prompt_keys(run: Run) -> pl.DataFrame:
    """Where each prompt stands in its table. Columns: key (see `key`), prompt_row."""

    rows = run.prompts().select(key("id")).with_row_index("prompt_row")
    return rows.unique("key", keep="first", maintain_order=True).collect()


def key(prompt_id: str) -> pl.Expr:
    """Make a number of each prompt id: it takes a tenth of the room."""
    import polars as pl

    return pl.col(prompt_id).hash().alias("key")


def spans(table: pl.LazyFrame, keys: pl.DataFrame, by: str) -> pl.DataFrame:
    """The first and the last row of each group of prompts: columns `by`, first, last."""
    import polars as pl

    return (
        table.select(key("prompt_id"))
        .with_row_index("row")
        .join(keys.lazy(), on="key")
        .group_by(by)
        .agg(pl.col("row").min().alias("first"), pl.col("row").max().alias("last"))
        .sort(by)
        .collect(engine="streaming")
    )


def _block(table: pl.LazyFrame, places: pl.DataFrame, number: int, prompts: pl.LazyFrame) -> pl.LazyFrame:
    import polars as pl

    here = places.filter(block=number)
    if here.height == 0:
        return table.head(0)
    _, first, last = here.row(0)
    rows = table.slice(first, last - first + 1)
    # Neighbours in the table of prompts are neighbours elsewhere too, but examples of several instantiations are mixed.
    strangers = places.filter(pl.col("block") != number, pl.col("first") <= last, pl.col("last") >= first)
    return rows.join(prompts.rename({"id": "prompt_id"}), on="prompt_id", how="semi") if strangers.height else rows
