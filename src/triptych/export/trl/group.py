"""Groups as TRL's prompt-only rows, for GRPO and RLOO, which draw and score responses of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.export.format import ORIGIN, PROMPT, TOOLS, Format, tools, unwritten_of_groups
from triptych.export.rows import Facts, Rarities

if TYPE_CHECKING:
    import polars as pl

_COLUMNS = {
    "prompt": PROMPT,
    "reference": "a known good or correct answer, if there is one; reward functions are given it by this name",
    "constraints": "the prompt's checkable demands, as JSON text",
    "scores": "the scores of the run's responses to the prompt, from 0 to 1, to tell how hard it is",
    "tools": TOOLS,
    **ORIGIN,
}

_OWN_TOOLS = (
    "GRPOTrainer and RLOOTrainer show the model the tools that they are given themselves, not those of rows (column `tools`)"
)


def _shaped(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    return rows.select(
        "prompt",
        "reference",
        *(["constraints"] if rarities.constraints else []),
        "scores",
        *tools(rarities),
        pl.col("id").alias("example_id"),
        *("prompt_id", "strategy", "objective_version"),
    )


def _lost(facts: Facts) -> list[str]:
    return [
        f"the responses of {facts.rows:,} groups and their advantages are left out, since GRPOTrainer and RLOOTrainer draw "
        "and score their own; their rows are the prompts",
        *unwritten_of_groups(facts),
        *([_OWN_TOOLS] if facts.tools else []),
    ]


GROUP = Format("group", "prompt", "GRPOTrainer", _COLUMNS, _shaped, _lost, continuations=0)
