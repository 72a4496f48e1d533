"""TRL's conversational preference format, for DPO and reward training."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from triptych.errors import TriptychError
from triptych.export.card import card, recipe_of, tallies
from triptych.export.trainer import settings_file, trainer_settings
from triptych.store.blocks import key, prompt_keys, spans
from triptych.store.replay import replayed
from triptych.store.run import Run

if TYPE_CHECKING:
    import polars as pl

_ROWS_AT_ONCE = 2048
_ROWS_A_GROUP = 16_384

Format = Literal["parquet", "jsonl"]


class ExportResult(msgspec.Struct, frozen=True):
    """What an export wrote."""

    path: Path
    """The folder."""
    rows: int
    files: tuple[Path, ...]
    ties: int = 0
    """Pairs left out since they are ties: this format has no way to say that neither response is better."""


def export_trl(run: Run, out: Path, *, formats: Sequence[Format] = ("parquet", "jsonl")) -> ExportResult:
    """Write the pairs of a run as `train.parquet` and `train.jsonl`, with the card `README.md`.

    Where the recipe's method names settings of TRL, they are written beside it, as `trl.yaml`.

    Columns: `prompt` (the prompt's messages), `chosen` and `rejected` (the messages that continue it),
    `margin`, `weight`, `score_chosen`, `score_rejected`, `tools` (JSON text, only where a prompt has tools),
    and where the row comes from: `example_id`, `prompt_id`, `chosen_id`, `rejected_id`, `strategy`,
    `objective_version`. Where examples of earlier rounds are replayed, `run` names the folder of each row's run.
    Messages have a role and a content; tool calls in OpenAI's form, call ids and names
    only where any message of the run has them.

    Works through a few thousand pairs at a time. The files get their names when they are whole. Raises
    `TriptychError` where there is no pair, or no room.
    """
    unknown = set(formats) - {"parquet", "jsonl"}
    if unknown or not formats:
        raise TriptychError(f"can't write the formats {list(formats)}; there are: parquet, jsonl")
    parts = out / ".parts"
    try:
        out.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
        runs = [run, *replayed(run)]
        rows, ties = _write(runs, parts, formats)
        if rows == 0:
            raise TriptychError(_no_pairs(run, ties))
        names = [f"train.{form}" for form in ("parquet", "jsonl") if form in formats]
        text = card(run, rows=rows, ties=ties, files=names, has_tools=_has_tools(runs))
        texts = {"README.md": text}
        if settings := trainer_settings(recipe_of(run)):
            texts["trl.yaml"] = settings_file(settings, out)
        for name, content in texts.items():
            (parts / name).write_text(content, encoding="utf-8")
        names += texts
        for name in names:
            os.replace(parts / name, out / name)
    except OSError as error:
        raise TriptychError(f"can't write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return ExportResult(out, rows, tuple(out / name for name in names), ties)


def _write(runs: Sequence[Run], folder: Path, formats: Sequence[Format]) -> tuple[int, int]:
    """Write the files into `folder`: a run's rows, then those that are replayed of others.

    Returns how many rows, and how many ties were left out.
    """
    import polars as pl

    columns, has_tools = _message_columns(runs), _has_tools(runs)
    alike = not columns and not has_tools  # so that Polars can write the lines
    rows = ties = 0
    pieces: list[Path] = []
    with (folder / "train.jsonl").open("wb") as lines:
        for chunk in chain.from_iterable(_chunks(run, columns, has_tools, named=len(runs) > 1) for run in runs):
            fair = chunk.filter("decided").drop("decided")
            rows, ties = rows + fair.height, ties + chunk.height - fair.height
            if "parquet" in formats and fair.height:
                pieces.append(folder / f"{len(pieces):06d}.parquet")
                fair.write_parquet(pieces[-1])
            if "jsonl" in formats:
                if alike:
                    fair.write_ndjson(lines)
                else:
                    said = (msgspec.json.encode(_said(row)) for row in fair.iter_rows(named=True))
                    lines.writelines(line + b"\n" for line in said)
    if pieces:
        pl.scan_parquet(pieces).sink_parquet(folder / "train.parquet", row_group_size=_ROWS_A_GROUP)
    return rows, ties


def _chunks(run: Run, columns: Sequence[str], has_tools: bool, named: bool) -> Iterator[pl.DataFrame]:
    """The pairs with their texts, in the order of the examples, a few thousand at a time; with the run's name or not."""
    import polars as pl

    examples = run.examples().drop("judgement_ids")
    prompts, responses = run.prompts().select("id", "messages", "tools"), run.responses().select("id", "messages")
    # Rows stand in prompt order in every table, so the texts of neighbouring pairs are neighbours too.
    keys = prompt_keys(run)
    where = keys.join(spans(run.responses(), keys, "key"), on="key")
    total = examples.select(pl.len()).collect().item()
    for start in range(0, total, _ROWS_AT_ONCE):
        pairs = examples.slice(start, _ROWS_AT_ONCE).collect().filter(pl.col("kind") == "pair")
        places = where.join(pairs.select(key("prompt_id")), on="key", how="semi")
        if places.height == 0:
            continue
        here = _slice(prompts, places["prompt_row"], places["prompt_row"]).select(
            pl.col("id").alias("prompt_id"), _messages(columns).alias("prompt"), "tools"
        )
        answers = (
            _slice(responses, places["first"], places["last"])
            .select(pl.col("id"), _messages(columns).alias("messages"))
            .unique("id")
        )
        rows = _rows(pairs.lazy(), here.unique("prompt_id"), answers, has_tools)
        yield (rows.with_columns(run=pl.lit(run.path.name)) if named else rows).collect()


def _slice(table: pl.LazyFrame, first: pl.Series, last: pl.Series) -> pl.LazyFrame:
    start, end = int(first.min()), int(last.max())  # type: ignore[arg-type]
    return table.slice(start, end - start + 1).collect().lazy()


def _rows(pairs: pl.LazyFrame, prompts: pl.LazyFrame, responses: pl.LazyFrame, has_tools: bool) -> pl.LazyFrame:
    import polars as pl

    chosen, rejected = (pl.col("response_ids").list.get(place) for place in (0, 1))
    scores = [pl.col("scores").list.get(place, null_on_oob=True) for place in (0, 1)]
    labels = [pl.col("labels").list.get(place, null_on_oob=True) for place in (0, 1)]
    tools = [pl.when(pl.col("tools") != "[]").then("tools").alias("tools")] if has_tools else []
    return (
        pairs.with_columns(chosen_id=chosen, rejected_id=rejected)
        .join(prompts, on="prompt_id", how="inner", maintain_order="left")
        .join(responses.rename({"id": "chosen_id", "messages": "chosen"}), on="chosen_id", maintain_order="left")
        .join(
            responses.rename({"id": "rejected_id", "messages": "rejected"}),
            on="rejected_id",
            maintain_order="left",
        )
        .select(
            *("prompt", "chosen", "rejected", "margin", "weight"),
            scores[0].alias("score_chosen"),
            scores[1].alias("score_rejected"),
            *tools,
            pl.col("id").alias("example_id"),
            *("prompt_id", "chosen_id", "rejected_id", "strategy", "objective_version"),
            labels[0].ne_missing(labels[1]).alias("decided") | labels[0].is_null(),
        )
    )


def _message_columns(runs: Sequence[Run]) -> list[str]:
    """Which of the rarer fields any message of the runs has."""
    import polars as pl

    field = pl.element().struct.field
    used = {
        "tool_calls": field("tool_calls").list.len() > 0,
        "tool_call_id": field("tool_call_id").is_not_null(),
        "name": field("name").is_not_null(),
    }
    asked = [pl.col("messages").list.eval(is_used).list.any().any().alias(name) for name, is_used in used.items()]
    found = [
        table.select(asked).collect(engine="streaming").row(0, named=True)
        for run in runs
        for table in (run.prompts(), run.responses())
    ]
    return [name for name in used if any(row[name] for row in found)]


def _has_tools(runs: Sequence[Run]) -> bool:
    import polars as pl

    any_tools = (pl.col("tools") != "[]").any()
    return any(bool(run.prompts().select(any_tools).collect(engine="streaming").item()) for run in runs)


def _messages(columns: Sequence[str]) -> pl.Expr:
    """Messages with a role, a content, and these rarer fields; tool calls as OpenAI writes them."""
    import polars as pl

    field = pl.element().struct.field
    function = pl.struct(field("name"), field("arguments")).alias("function")
    calls = field("tool_calls").list.eval(pl.struct(field("id"), pl.lit("function").alias("type"), function))
    rarer = {
        "tool_calls": pl.when(field("tool_calls").list.len() > 0).then(calls).alias("tool_calls"),
        "tool_call_id": field("tool_call_id"),
        "name": field("name"),
    }
    content = field("content").fill_null("")  # tables leave empty fields of messages out
    return pl.col("messages").list.eval(pl.struct(field("role"), content, *(rarer[name] for name in columns)))


def _said(value: Any) -> Any:
    """A row without the fields that say nothing: lines of JSON need not be alike."""
    if isinstance(value, dict):
        return {key: _said(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_said(inner) for inner in value]
    return value


def _no_pairs(run: Run, ties: int) -> str:
    """Say why there is nothing to export, and what to do."""
    import polars as pl

    if run.manifest.prompts == 0:
        return f"{run.path} has no pair for TRL: no prompt was complete ({run.manifest.status})"
    kinds = run.examples().select(pl.col("kind").unique().sort()).collect(engine="streaming")["kind"].to_list()
    if ties:
        return f"{run.path} has no pair for TRL: all {ties:,} are ties, which its format can't hold"
    if kinds:
        return f"{run.path} has no pair for TRL: its examples are of the kind {', '.join(kinds)}"
    reasons = [
        f"{row['prompts']:,} {'prompts' if row['prompts'] != 1 else 'prompt'}: {row['outcome']}"
        for row in tallies(run).filter(pl.col("prompts") > 0).iter_rows(named=True)
    ]
    why = f" ({'; '.join(reasons)})" if reasons else "; its recipe has no instantiation of the kind pairs"
    return f"{run.path} has no pair for TRL{why}"
