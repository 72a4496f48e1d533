"""The figures of a run's three panels: who answered, who judged, what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_MOST = 40
"""Rows of a table, the largest first."""


class Maker(msgspec.Struct, frozen=True, kw_only=True):
    """A model that answered, under one generator."""

    generator: str
    model: str
    responses: int
    without_answer: int
    """Those that failed or were refused."""
    median_chars: float | None
    """Of what the assistant says."""


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """An evaluator on one criterion."""

    evaluator: str
    model: str
    """Empty for people and programs."""
    criterion: str
    judgements: int
    without_verdict: int
    """Those that failed, were refused or could not be read."""


class Strategy(msgspec.Struct, frozen=True, kw_only=True):
    """An instantiation's examples of one kind."""

    strategy: str
    kind: str
    examples: int
    prompts: int
    median_margin: float | None


class Panels(msgspec.Struct, frozen=True, kw_only=True):
    """The three panels. Each list holds the largest forty."""

    prompts: int
    responses_per_prompt: tuple[int, float, int] | None
    """Fewest, median, most."""
    synthesis: tuple[Maker, ...]
    evaluation: tuple[Judge, ...]
    instantiation: tuple[Strategy, ...]


def panels(data: Data) -> Panels:
    """Count what the tables hold."""
    import polars as pl

    spread = (
        data.responses.group_by("prompt_id")
        .len()
        .select(pl.min("len").alias("least"), pl.median("len").alias("median"), pl.max("len").alias("most"))
        .collect()
        .row(0)
    )
    return Panels(
        prompts=data.prompts.select(pl.len()).collect().item(),
        responses_per_prompt=None if spread[0] is None else spread,
        synthesis=tuple(Maker(**row) for row in _makers(data)),
        evaluation=tuple(Judge(**row) for row in _judges(data)),
        instantiation=tuple(Strategy(**row) for row in _strategies(data)),
    )


def _makers(data: Data) -> list[dict[str, Any]]:
    import polars as pl

    made = data.responses.select("generator", "model", "status", pl.col("id").alias("response_id"))
    return _largest(
        made.join(data.chars.lazy(), on="response_id", how="left")
        .group_by("generator", pl.col("model").fill_null(""))
        .agg(
            pl.len().alias("responses"),
            (pl.col("status") != "ok").sum().alias("without_answer"),
            pl.col("chars").filter(pl.col("status") == "ok").median().alias("median_chars"),
        ),
        "responses",
    )


def _judges(data: Data) -> list[dict[str, Any]]:
    import polars as pl

    return _largest(
        data.judgements.group_by("evaluator", pl.col("model").fill_null(""), "criterion").agg(
            pl.len().alias("judgements"), (pl.col("status") != "ok").sum().alias("without_verdict")
        ),
        "judgements",
    )


def _strategies(data: Data) -> list[dict[str, Any]]:
    import polars as pl

    return _largest(
        data.examples.group_by("strategy", "kind").agg(
            pl.len().alias("examples"),
            pl.col("prompt_id").n_unique().alias("prompts"),
            pl.col("margin").median().alias("median_margin"),
        ),
        "examples",
    )


def _largest(counted: pl.LazyFrame, column: str) -> list[dict[str, Any]]:
    """The largest rows; those of equal size by their names."""
    names = [name for name in counted.collect_schema().names() if name != column]
    found = counted.collect().sort(column, *names, descending=[True, *([False] * len(names))], nulls_last=True)
    return found.head(_MOST).to_dicts()
