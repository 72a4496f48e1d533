"""How likely a policy, and a reference, find the responses of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from triptych.errors import Problem, RecipeError, TriptychError
from triptych.models.budget import Budget, Ledger
from triptych.models.calls import Calls, Counts
from triptych.models.chat import CallFailed, GivenRequest, Reply
from triptych.models.spec import EmbeddedModel, ModelSpec
from triptych.operators import suggestion
from triptych.recipes.load import parse_recipe
from triptych.store.call_log import CallLog
from triptych.store.run import Run
from triptych.store.tables import records

if TYPE_CHECKING:
    import polars as pl

EMBEDDED = "embedded"
CALLS = "audit.sqlite"
"""The call log of folders that have none, such as those of imported data."""
_BLOCK = 256
_SCHEMA = {"response_id": "String", "logprob": "Float64", "tokens": "Int64", "reference_logprob": "Float64"}


class Scoring(msgspec.Struct):
    """Where the scoring of responses stands; one value, brought up to date as it goes on."""

    total: int
    """Responses in all."""
    done: int = 0
    failed: int = 0
    """Responses of which a model could not say how likely they are."""
    error: str | None = None
    """Why the first of these failed."""
    counts: Counts = msgspec.field(default_factory=Counts)
    """Calls, tokens and US dollars; what the call log answers costs nothing."""


def score_responses(
    run: Run,
    policy: str,
    reference: str | None = None,
    *,
    models: Mapping[str, ModelSpec] | None = None,
    most_prompts: int | None = None,
    calls: str | Path | None = None,
    budget: Budget | None = None,
    progress: Callable[[Scoring], None] | None = None,
) -> pl.DataFrame:
    """Ask the policy, and the reference if there is one, how likely they find each response that is one message of text.

    `policy` and `reference` name models of the run's recipe, or `models` in their place, or `embedded`. Calls are memoised by
    the run's call log, or the one at `calls`. `most_prompts` takes those with the least ids, which are drawn at random, for
    ids are hashes. `progress` is told where it stands after each 256 responses.

    Columns: response_id, logprob (the sum over the response's tokens, in nats; the token that ends the turn is not among
    them), tokens (the policy's), reference_logprob (null without a reference). Responses of which a model could not say it are
    left out. Raises `RecipeError` where a model is not declared or gives no such log-probabilities, `BudgetReached`, and
    `TriptychError` where not one response could be scored.
    """
    import polars as pl

    specs = _specs(run, policy, reference, models)
    asked = _responses(run, most_prompts)
    state = Scoring(total=asked.height)
    log = CallLog(Path(calls) if calls is not None else own_log(run))
    try:
        rows = in_a_loop(lambda: _score(run, specs, log, budget or Budget(), asked, state, progress))
    finally:
        log.close()
    if not rows and asked.height:
        raise TriptychError(f"no response could be scored by {policy}: {state.error}")
    return pl.DataFrame(rows, {name: getattr(pl, kind) for name, kind in _SCHEMA.items()}, orient="row")


def _specs(
    run: Run, policy: str, reference: str | None, models: Mapping[str, ModelSpec] | None
) -> dict[str, ModelSpec]:
    """The models by role; the reference is missing where there is none."""
    declared: dict[str, Any] = dict(parse_recipe(run.recipe_text(), run.called).models) | dict(models or {})
    declared.setdefault(EMBEDDED, EmbeddedModel())
    found = {}
    for role, name in (("policy", policy), ("reference", reference)):
        if name is None:
            continue
        if name not in declared:
            said = f"model {name!r} is not declared{suggestion(name, declared)}"
            raise RecipeError(run.called, [Problem(said, f"--{role}")])
        if "given" not in declared[name].answers:
            said = (
                f"model {name!r} gives no log-probabilities of given texts: declare given_logprobs (vllm or llamacpp)"
            )
            raise RecipeError(run.called, [Problem(said, f"--{role}")])
        found[role] = declared[name]
    return found


def own_log(run: Run) -> Path:
    """The call log that an audit of a run asks by."""
    return run.path / CALLS if run.manifest.imported or not run.calls_path.exists() else run.calls_path


def _responses(run: Run, most_prompts: int | None) -> pl.DataFrame:
    """Good responses of one message of text, with the chat that they answer, in the order of their ids."""
    import polars as pl

    prompts = run.prompts().select("id", asks="messages").unique("id").sort("id")
    prompts = prompts if most_prompts is None else prompts.head(most_prompts)
    said = pl.col("messages").list.first().struct
    one = (pl.col("messages").list.len() == 1) & (said.field("tool_calls").list.len().fill_null(0) == 0)
    return (
        run.responses()
        .filter((pl.col("status") == "ok") & one)
        .unique("id")
        .select("id", "prompt_id", says=said.field("content"))
        .join(prompts, left_on="prompt_id", right_on="id")
        .sort("prompt_id", "id")
        .collect()
    )


async def _score(
    run: Run,
    specs: Mapping[str, ModelSpec],
    log: CallLog,
    budget: Budget,
    asked: pl.DataFrame,
    state: Scoring,
    progress: Callable[[Scoring], None] | None,
) -> list[tuple[str, float, int, float | None]]:
    """Ask block by block; what the audit pays is not counted as the run's."""
    found: list[tuple[str, float, int, float | None]] = []
    async with Calls(specs, log, Ledger(budget), f"{run.manifest.run}-audit") as calls:
        ask = calls.ask(state.counts)
        for block in asked.iter_slices(_BLOCK):
            requests = _requests(block)
            told = await asyncio.gather(*(ask(role, requests) for role in specs))
            for response_id, *replies in zip(block["id"], *told, strict=True):
                _take(str(response_id), replies, found, state)
            state.done += block.height
            if progress is not None:
                progress(state)
        await calls.drain()
        if not found and calls.stopped is not None:
            raise calls.stopped
    return found


def _requests(block: pl.DataFrame) -> list[GivenRequest]:
    rows = block.select("says", messages="asks", id="prompt_id").iter_rows(named=True)
    return [
        GivenRequest(messages=records("prompts", [row])[0].messages, continuation=row["says"])  # type: ignore[union-attr]
        for row in rows
    ]


def _take(
    response_id: str,
    replies: Sequence[Reply | CallFailed],
    found: list[tuple[str, float, int, float | None]],
    state: Scoring,
) -> None:
    failed = next((reply.error for reply in replies if isinstance(reply, CallFailed)), None)
    tokens = [reply.tokens or () for reply in replies if isinstance(reply, Reply)]
    if failed is None and not all(tokens):
        failed = "the response has no tokens"
    if failed is not None:
        state.failed += 1
        state.error = state.error or failed
        return
    totals = [sum(token.logprob for token in each) for each in tokens]
    found.append((response_id, totals[0], len(tokens[0]), totals[1] if len(totals) > 1 else None))


def in_a_loop(make: Callable[[], Any]) -> Any:
    """Run a coroutine; where an event loop is running already, as in a notebook, in a thread with its own."""
    if asyncio._get_running_loop() is None:
        return asyncio.run(make())
    with ThreadPoolExecutor(1, thread_name_prefix="audit") as thread:
        return thread.submit(lambda: asyncio.run(make())).result()
