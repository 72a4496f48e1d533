"""Whether the longer response wins (failure modes E2 and I5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.agreement import preferences
from triptych.audit.diagnostic import Diagnostic
from triptych.audit.finding import Finding, share_finding
from triptych.audit.intervals import Share

if TYPE_CHECKING:
    import polars as pl


def response_chars(responses: pl.LazyFrame) -> pl.LazyFrame:
    """The characters of all that each response's assistant messages say. Columns: id, chars."""
    import polars as pl

    message = pl.element().struct
    by_assistant = (message.field("role") == "assistant").cast(pl.UInt32)
    spoken = by_assistant * message.field("content").str.len_chars()
    chars = pl.col("messages").list.eval(spoken).list.sum()
    return responses.select("id", chars.cast(pl.Int64).alias("chars")).unique("id")


def judge_prefers_longer(responses: pl.LazyFrame, judgements: pl.LazyFrame) -> Diagnostic:
    """Share of a judge's clear preferences that go to the longer response (E2)."""
    import polars as pl

    chars = response_chars(responses)
    longer = (pl.col("chars") - pl.col("chars_b")).sign()
    rows = (
        preferences(judgements)
        .join(chars, left_on="a", right_on="id")
        .join(chars, left_on="b", right_on="id", suffix="_b")
        .filter(longer != 0)
        .with_columns(part=longer == pl.col("prefers"), whole=1, id="judgement_id", shows=longer == pl.col("prefers"))
    )

    def say(share: Share, shown: tuple[str, ...], evaluator: str, _id: str) -> Finding:
        return share_finding(
            share,
            name="judge_prefers_longer",
            failure_mode="E2",
            subject=evaluator,
            said=f"{evaluator} prefers the longer of two responses in",
            good=(0.0, 0.65),
            error=(0.0, 0.9),
            rows=shown,
            change="tell the judge to disregard length, or pair responses of like length",
        )

    return Diagnostic(rows, ("evaluator", "evaluator_id"), say)


def chosen_longer(responses: pl.LazyFrame, examples: pl.LazyFrame) -> Diagnostic:
    """Share of pairs whose chosen response is the longer one (I5), leaving out ties and equal lengths."""
    import polars as pl

    chars = response_chars(responses)
    rows = (
        examples.filter((pl.col("kind") == "pair") & (pl.col("margin").is_null() | (pl.col("margin") > 0)))
        .with_columns(*(pl.col("response_ids").list.get(place).alias(name) for place, name in enumerate("ab")))
        .join(chars, left_on="a", right_on="id")
        .join(chars.rename({"chars": "chars_b"}), left_on="b", right_on="id")
        .filter(pl.col("chars") != pl.col("chars_b"))
        .with_columns(part=pl.col("chars") > pl.col("chars_b"), whole=1, shows=pl.col("chars") > pl.col("chars_b"))
    )

    def say(share: Share, shown: tuple[str, ...], strategy: str, _id: str) -> Finding:
        return share_finding(
            share,
            name="chosen_longer",
            failure_mode="I5",
            subject=strategy,
            said=f"The chosen response is the longer one in {strategy} pairs for",
            good=(0.0, 0.65),
            error=(0.0, 0.8),
            rows=shown,
            change="pair responses of like length, or train with a loss that normalises length",
        )

    return Diagnostic(rows, ("strategy", "strategy_id"), say)
