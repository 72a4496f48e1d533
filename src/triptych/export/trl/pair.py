"""Pairs as TRL's conversational preference rows, for DPO and its kin and for reward models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.export.format import (
    ORIGIN,
    PROMPT,
    SPANS,
    TIE,
    TOOLS,
    Format,
    is_tie,
    left_out,
    parts,
    tools,
    unread_of_pairs,
)
from triptych.export.rows import Facts, Rarities

if TYPE_CHECKING:
    import polars as pl

_COLUMNS = {
    "prompt": PROMPT,
    "chosen": "the better continuation, as messages",
    "rejected": "the other continuation, as messages",
    "margin": "score of the chosen less score of the rejected, from 0 to 1",
    "weight": "the example's weight",
    "score_chosen": "the objective's score of the chosen response, from 0 to 1",
    "score_rejected": "the same of the rejected response",
    "label_chosen": "how sure it is that the chosen one is the better one, where that is not certain",
    "spans": SPANS,
    "tools": TOOLS,
    "example_id": ORIGIN["example_id"],
    "prompt_id": ORIGIN["prompt_id"],
    "chosen_id": "its chosen response",
    "rejected_id": "its rejected response",
    "strategy": "how the two were chosen",
    "objective_version": "the version of the objective that scored them",
}


def _shaped(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    first, second = (
        {name: pl.col(name).list.get(place, null_on_oob=True) for name in ("response_ids", "scores", "labels")}
        for place in (0, 1)
    )
    return rows.select(
        "prompt",
        pl.col("says_0").alias("chosen"),
        pl.col("says_1").alias("rejected"),
        *([pl.col("margin").fill_null(0.0)] if facts.unmargined < facts.rows else []),
        "weight",
        first["scores"].alias("score_chosen"),
        second["scores"].alias("score_rejected"),
        *([first["labels"].alias("label_chosen")] if facts.soft else []),
        *parts(facts),
        *tools(rarities),
        pl.col("id").alias("example_id"),
        "prompt_id",
        first["response_ids"].alias("chosen_id"),
        second["response_ids"].alias("rejected_id"),
        *("strategy", "objective_version"),
        left_out((is_tie(), TIE)),
    )


def _lost(facts: Facts) -> list[str]:
    said = unread_of_pairs(facts)
    if 0 < facts.unmargined < facts.rows:  # RewardTrainer reads a margin of every row or of none
        said.append(f"{facts.unmargined:,} pairs have no margin; 0 stands in its place, by which RewardTrainer asks for none")
    return said


PAIR = Format("pair", "pair", "DPOTrainer", _COLUMNS, _shaped, _lost, continuations=2)
