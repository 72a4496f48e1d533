"""Rows to imitate as TRL's conversational prompts and completions; the loss is on the completion alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.export.format import ORIGIN, PROMPT, SPANS, TOOLS, Format, parts, tools, unread
from triptych.export.rows import Facts, Rarities

if TYPE_CHECKING:
    import polars as pl

_COLUMNS = {
    "prompt": PROMPT,
    "completion": "the continuation to imitate, as messages",
    "weight": "the example's weight",
    "score": "the objective's score of the response, from 0 to 1",
    "spans": SPANS,
    "tools": TOOLS,
    "response_id": "its response, or the first one that is spoken of",
    **ORIGIN,
}


def _shaped(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    return rows.select(
        "prompt",
        pl.col("says_0").alias("completion"),
        "weight",
        pl.col("scores").list.first().alias("score"),
        *parts(facts),
        *tools(rarities),
        pl.col("response_ids").list.first().alias("response_id"),
        pl.col("id").alias("example_id"),
        *("prompt_id", "strategy", "objective_version"),
    )


SFT = Format("sft", "SFT row", "SFTTrainer", _COLUMNS, _shaped, lambda facts: unread("SFT row", facts))
