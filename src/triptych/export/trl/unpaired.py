"""Binary rows as TRL's unpaired preference rows, for KTO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.export.format import ORIGIN, PROMPT, SPANS, TOOLS, Format, parts, tools, unread
from triptych.export.rows import Facts, Rarities

if TYPE_CHECKING:
    import polars as pl

_COLUMNS = {
    "prompt": PROMPT,
    "completion": "the continuation, as messages",
    "label": "whether it is good",
    "weight": "the example's weight",
    "score": "the objective's score of the response, from 0 to 1",
    "spans": SPANS,
    "tools": TOOLS,
    "response_id": "its response",
    **ORIGIN,
}


def _shaped(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    return rows.select(
        "prompt",
        pl.col("says_0").alias("completion"),
        (pl.col("labels").list.first() == 1).alias("label"),
        "weight",
        pl.col("scores").list.first().alias("score"),
        *parts(facts),
        *tools(rarities),
        pl.col("response_ids").list.first().alias("response_id"),
        pl.col("id").alias("example_id"),
        *("prompt_id", "strategy", "objective_version"),
    )


def _refused(facts: Facts) -> str | None:
    if facts.soft:
        return (
            f"{facts.soft:,} of its binary rows have labels other than 0 and 1, and TRL's are true or false; leave out "
            "labels: soft"
        )
    return None


UNPAIRED = Format(
    "unpaired", "binary row", "KTOTrainer", _COLUMNS, _shaped, lambda facts: unread("binary row", facts), _refused
)
