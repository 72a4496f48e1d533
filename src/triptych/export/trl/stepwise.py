"""Rows of steps in the stepwise format that TRL's PRMTrainer read, up to its end before TRL 1.16."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.export.chat import CALLS_TOOLS, calls_tools
from triptych.export.format import ORIGIN, SPANS, TOOLS, Format, left_out, parts, tools, unread
from triptych.export.rows import Facts, Rarities

if TYPE_CHECKING:
    import polars as pl

_COLUMNS = {
    "prompt": "the prompt as one text; of several messages, each after its role",
    "completions": "the texts of the steps, without the white space between them",
    "labels": "whether each step is good",
    "scores": "the score of each step, from 0 to 1",
    "weight": "the example's weight",
    "spans": SPANS,
    "tools": TOOLS,
    "response_id": "the response that the steps are of",
    **ORIGIN,
}


def _shaped(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    field = pl.element().struct.field
    alone = pl.col("prompt").list.first().struct.field("content")
    spoken = pl.col("prompt").list.eval(field("role") + ": " + field("content")).list.join("\n\n")
    return rows.select(
        pl.when(pl.col("prompt").list.len() == 1).then(alone).otherwise(spoken).alias("prompt"),
        pl.col("steps").alias("completions"),
        pl.col("labels").list.eval(pl.element() == 1).alias("labels"),
        *("scores", "weight"),
        *parts(facts),
        *tools(rarities),
        pl.col("response_ids").list.first().alias("response_id"),
        pl.col("id").alias("example_id"),
        *("prompt_id", "strategy", "objective_version"),
        left_out((calls_tools(pl.col("prompt"), rarities) | calls_tools(pl.col("says_0"), rarities), CALLS_TOOLS)),
    )


def _refused(facts: Facts) -> str | None:
    if facts.soft:
        return (
            f"{facts.soft:,} of its rows of steps have labels between 0 and 1, and the stepwise format's are true or "
            "false; make them with labels: hard"
        )
    return None


def _lost(facts: Facts) -> list[str]:
    return [
        "what stands between steps, and the roles of messages, are not told apart in it",
        *unread("step row", facts),
        *(["rows of steps are read without the tools that prompts declare (column `tools`)"] if facts.tools else []),
    ]


STEPWISE = Format("stepwise", "step row", None, _COLUMNS, _shaped, _lost, _refused, steps=True)
