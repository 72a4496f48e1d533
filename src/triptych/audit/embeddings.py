"""Embeddings of responses by a model, for the diagnostics that compare meanings. Every call goes by way of the call log."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from triptych.audit.features import texts
from triptych.audit.signal.scoring import in_a_loop
from triptych.audit.vectors import MOST_CHARS, MOST_SIBLINGS, sampled
from triptych.errors import StopRun
from triptych.models.budget import Budget, Ledger
from triptych.models.calls import Calls, Counts
from triptych.models.chat import EmbedRequest, Reply
from triptych.models.spec import ModelSpec
from triptych.store.call_log import CallLog

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_NAME = "embeddings"


def embedded(
    data: Data, model: ModelSpec, calls: str | Path, *, budget: Budget | None = None, counts: Counts | None = None
) -> pl.DataFrame:
    """Ask a model for the embeddings of up to 8 responses to each of up to 1,500 prompts: what `Data(embeddings=)` takes.

    `model` is one behind an endpoint that has `/v1/embeddings`, or the embedded model with a `pooling`. Of a response its
    first 2,000 characters are sent. `calls` is the call log, which need not be there yet: what it holds is not asked
    again. `counts` is told of the calls. Responses that the model refuses are left out. Raises `StopRun` where the endpoint is down or the budget is
    spent, and `RunFolderError` where the log can't be written.

    Columns: response_id, vector (list of floats).
    """
    import polars as pl

    rows = _some(data)
    said = rows["text"].to_list()
    log = CallLog(Path(calls))
    try:
        vectors = in_a_loop(lambda: _asked(said, model, log, budget or Budget(), counts or Counts()))
    finally:
        log.close()
    found = rows.select("response_id").with_columns(vector=pl.Series(vectors, dtype=pl.List(pl.Float64)))
    return found.drop_nulls()


def _some(data: Data) -> pl.DataFrame:
    """Columns: response_id, text; no text that says nothing, which some models have no embedding of."""
    import polars as pl

    said = texts(data.responses).with_columns(pl.col("text").str.head(MOST_CHARS))
    ids = said.select(pl.col("prompt_id").unique()).collect()["prompt_id"].drop_nulls().to_list()
    return (
        said.filter(pl.col("prompt_id").is_in(sampled(ids)) & (pl.col("text").str.strip_chars() != ""))
        .filter(pl.int_range(pl.len()).over("prompt_id") < MOST_SIBLINGS)
        .select("response_id", "text")
        .collect()
    )


async def _asked(
    said: list[str], model: ModelSpec, log: CallLog, budget: Budget, counts: Counts
) -> list[list[float] | None]:
    async with Calls({_NAME: model}, log, Ledger(budget), uuid.uuid4().hex) as calls:
        replies = await calls.ask(counts)(_NAME, [EmbedRequest(text=text) for text in said])
        await calls.drain()
        if isinstance(calls.stopped, StopRun):
            raise calls.stopped
    return [list(reply.vector) if isinstance(reply, Reply) and reply.vector else None for reply in replies]
