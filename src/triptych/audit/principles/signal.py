"""Principle 1: the pipeline defines the optimisation signal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.finding import OURS, Finding
from triptych.audit.principles.rule import Rule

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_SHOWN = 10


class OrphanRows(Diagnostic):
    """Share of responses, judgements and examples that point at a row that is not there, over all of them.

    Whole tables are looked at, so the share has no interval. Ids are compared; that a row's id is the hash of its content
    is not computed anew.
    """

    name = "orphan_rows"
    failure_mode = "R1.1"
    good = (0.0, 0.0)
    error = (0.0, 0.0)
    unit = "share"
    change = "make the tables anew with the same command, or import the data again; the call log is not touched by that"

    def measure(self, data: Data) -> Iterator[Finding]:
        """Count them over all tables."""
        rows: int = _pointing(data).collect().item()
        if not rows:
            return
        missing = _missing(data).collect()
        share = missing.height / rows
        yield Finding(
            name=self.name,
            failure_mode=self.failure_mode,
            value=share,
            low=None,
            high=None,
            counted=True,
            n=rows,
            prompts=missing["prompt_id"].n_unique() if missing.height else rows,
            threshold=0.0,
            threshold_source=OURS,
            severity="error" if missing.height else "info",
            message=f"{missing.height:,} of {rows:,} rows point at a row that is not there.",
            rows=tuple(missing["id"].sort().head(_SHOWN)),
            change=self.change if missing.height else "",
        )


def _pointing(data: Data) -> pl.LazyFrame:
    import polars as pl

    tables = (data.responses, data.judgements, data.examples)
    return pl.concat([table.select(pl.len()) for table in tables]).sum()


def _missing(data: Data) -> pl.LazyFrame:
    """The rows that point at nothing, once each: id and prompt_id."""
    import polars as pl

    def ids(table: pl.LazyFrame) -> pl.LazyFrame:
        return table.select(pl.col("id").alias("to"))

    def lost(table: pl.LazyFrame, column: str, into: pl.LazyFrame) -> pl.LazyFrame:
        points = pl.col(column).cast(pl.List(pl.String)) if column.endswith("_ids") else pl.concat_list(column)
        return (
            table.select("id", "prompt_id", points.alias("to"))
            .explode("to")
            .filter(pl.col("to").is_not_null())
            .join(ids(into), on="to", how="anti")
            .select("id", "prompt_id")
        )

    links = [
        (data.responses, "prompt_id", data.prompts),
        (data.judgements, "prompt_id", data.prompts),
        (data.judgements, "response_ids", data.responses),
        (data.examples, "prompt_id", data.prompts),
        (data.examples, "response_ids", data.responses),
        (data.examples, "judgement_ids", data.judgements),
    ]
    return pl.concat([lost(*link) for link in links]).unique("id")


DIAGNOSTICS: tuple[Diagnostic, ...] = (OrphanRows(),)
RULES = (
    Rule(
        id="R1.1",
        asks="every row can be walked back to the judgements, the responses and the prompt",
        modes=("R1.1",),
        statistics=("orphan_rows",),
    ),
    Rule(
        id="R1.2",
        asks="margins are there and are wide enough to learn from",
        modes=("S3", "I3"),
        statistics=("pairs_without_margin", "pairs_within_noise"),
    ),
    Rule(
        id="R1.3",
        asks="two runs differ in one stage only before one of them is called better",
        unchecked=(
            "it is about a claim that one of two runs is the better one, and an audit is of one run: there is nothing yet "
            "in Triptych that makes such a claim, and two recipes of which one is changed in several stages are no fault"
        ),
    ),
)
