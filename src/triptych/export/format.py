"""How a trainer spells one kind of examples: the columns, what they mean, and what they can't hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from triptych.export.rows import Facts, Rarities

if TYPE_CHECKING:
    import polars as pl

KEPT = "kept"
"""A column that says whether a row can be held at all; it is not written."""


class Format(NamedTuple):
    """A trainer's form of one kind of examples."""

    kind: str
    """The kind of examples."""
    noun: str
    """What a row is, in the singular; an s makes it the plural."""
    trainer: str | None
    """The trainer's class that reads such rows, where a recipe names none; None where it has none."""
    columns: dict[str, str]
    """What each column that may be there means."""
    shaped: Callable[[pl.LazyFrame, Facts, Rarities], pl.LazyFrame]
    """From rows with their texts (see `triptych.export.rows.chunks`) to the columns."""
    lost: Callable[[Facts], list[str]]
    """What of these examples the trainer does not read, in a sentence each."""
    refused: Callable[[Facts], str | None] = lambda facts: None
    """Why these examples can't be written; None where they can."""
    continuations: int = 1
    """How many of an example's responses are written."""
    steps: bool = False
    """Whether the texts of judged steps are."""


ORIGIN = {
    "example_id": "the example in the run's tables",
    "prompt_id": "its prompt",
    "strategy": "the instantiation that made it",
    "objective_version": "the version of the objective that scored it",
}
PROMPT = "the chat that is to be continued, as messages of a role and a content"
SPANS = (
    "weights of parts: which response (from 0), which message of it, first character, one past the last, and the weight"
)
TOOLS = "the tools that the prompt declares, as JSON text in OpenAI's form"


def unread(noun: str, facts: Facts) -> list[str]:
    """What of weights a trainer does not read that reads none."""
    said = []
    if facts.weighed:
        said.append(f"{facts.weighed:,} {noun}s have weights other than 1, which the trainer does not read (column `weight`)")
    if facts.in_parts:
        said.append(
            f"{facts.in_parts:,} {noun}s weigh sentences, steps or tokens, which the trainer does not read (column `spans`)"
        )
    return said


def tools(rarities: Rarities) -> list[pl.Expr]:
    """The column `tools`, where any prompt has some."""
    import polars as pl

    return [pl.when(pl.col("tools") != "[]").then("tools").alias("tools")] if rarities.tools else []


def parts(facts: Facts) -> list[str]:
    """The column `spans`, where any example has some."""
    return ["spans"] if facts.in_parts else []
