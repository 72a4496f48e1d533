"""How a trainer spells one kind of examples: the columns, what they mean, and what they can't hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from triptych.export.rows import Facts, Rarities

if TYPE_CHECKING:
    import polars as pl

LEFT_OUT = "left_out"
"""A column that says why a row can't be held, and is null where it can; it is not written."""
TIE = "are ties, which this format can't hold"


class Format(NamedTuple):
    """A trainer's form of one kind of examples."""

    kind: str
    """The kind of examples."""
    noun: str
    """What a row is, in the singular; an s makes it the plural."""
    trainer: str | None
    """The class of TRL's that reads such rows, where a recipe names none; None where there is none."""
    columns: dict[str, str]
    """What each column that may be there means."""
    shaped: Callable[[pl.LazyFrame, Facts, Rarities], pl.LazyFrame]
    """From rows with their texts (see `triptych.export.rows.chunks`) to the columns, row by row."""
    lost: Callable[[Facts], list[str]]
    """What of these examples the trainer does not read, in a sentence each."""
    refused: Callable[[Facts], str | None] = lambda facts: None
    """Why these examples can't be written; None where they can."""
    continuations: int | None = 1
    """How many of an example's responses are written; None for all of them, in one column."""
    steps: bool = False
    """Whether the texts of judged steps are."""
    json: tuple[str, ...] = ()
    """Columns of JSON text that are written as JSON where lines of JSON are."""


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
MORE = {
    "weight": "the example's weight",
    "margin": "score of the chosen less score of the rejected, from 0 to 1",
    "score": "the objective's score of the response, from 0 to 1",
    "scores": "the score of each step, from 0 to 1",
    "score_chosen": "the objective's score of the chosen response, from 0 to 1",
    "score_rejected": "the same of the rejected response",
    "label_chosen": "how sure it is that the chosen one is the better one, where that is not certain",
    "spans": SPANS,
    "tools": TOOLS,
    **ORIGIN,
}
"""What columns mean that are beside those that a trainer reads."""


def unread(noun: str, facts: Facts) -> list[str]:
    """What of weights a trainer does not read that reads none."""
    said = []
    if facts.weighed:
        said.append(
            f"{facts.weighed:,} {noun}s have weights other than 1, which the trainer does not read (column `weight`)"
        )
    if facts.in_parts:
        said.append(
            f"{facts.in_parts:,} {noun}s weigh sentences, steps or tokens, which the trainer does not read (column `spans`)"
        )
    return said


def unwritten_of_groups(facts: Facts) -> list[str]:
    """What of weights is lost where a group's row is its prompt alone."""
    said = []
    if facts.weighed:
        said.append(f"{facts.weighed:,} groups have weights other than 1, which are left out: rows of prompts have none")
    if facts.in_parts:
        said.append(f"{facts.in_parts:,} groups weigh or reward parts of their responses, which are left out with these")
    return said


def unread_of_pairs(facts: Facts) -> list[str]:
    """The same of pairs, with their soft labels."""
    said = unread("pair", facts)
    if facts.soft:
        said.append(
            f"{facts.soft:,} pairs have labels between 0 and 1, which the trainer does not read (column `label_chosen`): it "
            "takes the chosen response to be the better one for certain"
        )
    return said


def only_yes_or_no(noun: str, remedy: str) -> Callable[[Facts], str | None]:
    """Refuses examples with labels other than 0 and 1."""
    return lambda facts: (
        f"{facts.soft:,} of its {noun}s have labels other than 0 and 1, and this format's are yes or no; {remedy}"
        if facts.soft
        else None
    )


def tools(rarities: Rarities) -> list[pl.Expr]:
    """The column `tools`, where any prompt has some."""
    import polars as pl

    return [pl.when(pl.col("tools") != "[]").then("tools").alias("tools")] if rarities.tools else []


def parts(facts: Facts) -> list[str]:
    """The column `spans`, where any example has some."""
    return ["spans"] if facts.in_parts else []


def is_tie() -> pl.Expr:
    """Whether a pair is one."""
    import polars as pl

    first, second = (pl.col("labels").list.get(place, null_on_oob=True) for place in (0, 1))
    return first.is_not_null() & first.eq_missing(second)


def left_out(*reasons: tuple[pl.Expr, str]) -> pl.Expr:
    """The column that says why a row can't be held: the first of these reasons that is so."""
    import polars as pl

    said = pl.lit(None, dtype=pl.String)
    for so, reason in reversed(reasons):
        said = pl.when(so).then(pl.lit(reason)).otherwise(said)
    return said.alias(LEFT_OUT)


def beside(kind: str, facts: Facts) -> list[pl.Expr | str]:
    """The columns of an example that most trainers don't read, but a person or a loss of theirs may."""
    import polars as pl

    scores = pl.col("scores").list
    origin = [pl.col("id").alias("example_id"), *map(pl.col, ("prompt_id", "strategy", "objective_version"))]
    if kind == "stepwise":
        return ["weight", "scores", *parts(facts), *origin]
    if kind != "pair":
        return ["weight", scores.first().alias("score"), *parts(facts), *origin]
    of_pair = [
        scores.get(place, null_on_oob=True).alias(f"score_{name}") for place, name in enumerate(("chosen", "rejected"))
    ]
    soft = [pl.col("labels").list.first().alias("label_chosen")] if facts.soft else []
    return ["margin", "weight", *of_pair, *soft, *parts(facts), *origin]
