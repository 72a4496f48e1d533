"""What a row of training data is, whatever trainer reads it: an example with all of its texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from triptych.store.blocks import key, prompt_keys, spans
from triptych.store.run import Run
from triptych.store.tables import a_message, schema

if TYPE_CHECKING:
    import polars as pl

HELD_OUT = "held_out"
"""A column that says whether a row's prompt is held out for evaluation."""
_ROWS_AT_ONCE = 2048
_SCATTERED_AT_ONCE = 16_384
_SCATTERED = 8
"""Examples are out of the order of their prompts from this many times on that reading the texts of all, some neighbours at a
time, would read the table of prompts."""
_OWN = (*("id", "kind", "prompt_id", "response_ids", "scores", "labels", "margin", "weight", "spans", "input", "outputs"),
        *("strategy", "strategy_id", "objective_version", "judgement_ids"))  # fmt: skip
_OF_PROMPT = ("tools", "constraints", "reference", "source", "tags", "family_id", "criteria")


class Facts(NamedTuple):
    """What is to be known of a kind's examples before they are written."""

    rows: int
    soft: int
    """Examples with a label that is neither 1 nor 0, ties apart."""
    weighed: int
    """Examples whose weight is not 1."""
    in_parts: int
    """Examples that weigh parts of their texts."""
    unmargined: int = 0
    """Examples without a margin."""
    tools: bool = False
    """Whether any prompt of the runs declares tools."""


class Rarities(NamedTuple):
    """What only some runs have, so that the others need no column for it."""

    message_fields: tuple[str, ...]
    tools: bool
    constraints: bool


def facts(runs: Sequence[Run]) -> dict[str, Facts]:
    """The facts of each kind of examples that the runs have, in the order of their names."""
    import polars as pl

    labels = pl.col("labels")
    first, second = (labels.list.get(place, null_on_oob=True) for place in (0, 1))
    tie = (pl.col("kind") == "pair") & (labels.list.len() == 2) & (first == second)
    soft = labels.list.eval((pl.element() != 0) & (pl.element() != 1)).list.any().fill_null(False) & ~tie.fill_null(
        False
    )
    counted = (
        pl.concat([examples(run).drop("input") for run in runs])
        .with_columns(soft=soft)  # here, since Polars 1.31 evaluates no list within groups if there are no rows
        .group_by("kind")
        .agg(
            pl.len().alias("rows"),
            pl.col("soft").sum(),
            (pl.col("weight") != 1).sum().alias("weighed"),
            (pl.col("spans").list.len() > 0).sum().alias("in_parts"),
            pl.col("margin").is_null().sum().alias("unmargined"),
        )
        .sort("kind")
        .collect(engine="streaming")
    )
    return {kind: Facts(*numbers) for kind, *numbers in counted.iter_rows()}


def examples(run: Run) -> pl.LazyFrame:
    """The table of examples, with the columns that runs of before did not have."""
    import polars as pl

    table, types = run.examples(), schema("examples")
    there = table.collect_schema().names()
    missing = [pl.lit([], dtype=types[name]).alias(name) for name in _OWN if name not in there]
    return table.with_columns(missing).select(_OWN)


def rarities(runs: Sequence[Run]) -> Rarities:
    """Which of the rarer things any row of the runs has."""
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
    any_of = (pl.col("tools", "constraints") != "[]").any()
    demands = [run.prompts().select(any_of).collect(engine="streaming").row(0) for run in runs]
    return Rarities(
        tuple(name for name in used if any(row[name] for row in found)), *map(any, zip(*demands, strict=True))
    )


def chunks(
    run: Run,
    kind: str,
    fields: Sequence[str],
    *,
    continuations: int | None,
    scratch: Path,
    steps: bool = False,
    marks: pl.Series | None = None,
) -> Iterator[pl.LazyFrame]:
    """The examples of a kind with their texts, in their order, a few thousand at a time.

    Columns: those of an example; `prompt`, what the model is shown, as messages in OpenAI's form with these rarer
    `fields`; `says_0`, `says_1` ... for as many `continuations`, what it is to say or not to say, or `says`, a list of
    them, for all that there are; tools, constraints, criteria, reference, source, tags and family of the prompt; with
    `steps` the texts of the judged steps of the first response; with `marks`, one for each row of the table of prompts,
    the mark of the row's prompt. Examples in another order than that of their prompts are read in the latter, and put in
    their own by way of files in the folder `scratch`.
    """
    import polars as pl

    def texts(table: pl.LazyFrame, rows: int) -> Iterator[pl.LazyFrame]:
        return _texts(
            run, table, kind, fields, keys, continuations=continuations, steps=steps, marks=marks, rows_at_once=rows
        )

    table, keys = examples(run), prompt_keys(run)
    if not _scattered(table, keys):
        yield from texts(table, _ROWS_AT_ONCE)
        return
    with ExitStack() as folders:
        by_prompt = _by_prompt(table, keys, Path(folders.enter_context(TemporaryDirectory(dir=scratch))))
        pieces = Path(folders.enter_context(TemporaryDirectory(dir=scratch)))
        for number, rows in enumerate(texts(by_prompt, _SCATTERED_AT_ONCE)):
            for (bucket,), part in rows.collect().group_by(pl.col("rank") // _SCATTERED_AT_ONCE):
                (pieces / f"{bucket:08d}").mkdir(exist_ok=True)
                part.write_ipc(pieces / f"{bucket:08d}" / f"{number:08d}.arrow")
        for folder in sorted(pieces.iterdir()):
            whole = pl.concat([pl.read_ipc(piece) for piece in folder.iterdir()]).sort("rank").drop("rank")
            for start in range(0, whole.height, _ROWS_AT_ONCE):
                yield whole.slice(start, _ROWS_AT_ONCE).lazy()


def _scattered(table: pl.LazyFrame, keys: pl.DataFrame) -> bool:
    """Whether neighbouring examples are of prompts that stand far apart."""
    import polars as pl

    read = (
        table.select(key("prompt_id"))
        .with_row_index("row")
        .join(keys.lazy(), on="key")
        .group_by(pl.col("row") // _ROWS_AT_ONCE)
        .agg(pl.col("prompt_row").max() - pl.col("prompt_row").min() + 1)
        .select(pl.col("prompt_row").cast(pl.Int64).sum())
        .collect(engine="streaming")
        .item()
    )
    return bool(read > _SCATTERED * max(keys.height, _ROWS_AT_ONCE))


def _by_prompt(table: pl.LazyFrame, keys: pl.DataFrame, folder: Path) -> pl.LazyFrame:
    """The examples in the order of their prompts, as a file, with their `rank` in their own."""
    import polars as pl

    file = folder / "by_prompt.arrow"
    ranked = table.with_row_index("rank").with_columns(key("prompt_id")).join(keys.lazy(), on="key")
    ranked.sort("prompt_row", "rank").drop("key", "prompt_row").sink_ipc(file)
    return pl.scan_ipc(file)


def _texts(
    run: Run,
    table: pl.LazyFrame,
    kind: str,
    fields: Sequence[str],
    keys: pl.DataFrame,
    *,
    continuations: int | None,
    steps: bool,
    marks: pl.Series | None,
    rows_at_once: int,
) -> Iterator[pl.LazyFrame]:
    """Some examples at a time with their texts, read from where their prompts stand."""
    import polars as pl

    prompts = run.prompts().select("id", "messages", *_OF_PROMPT)
    responses = run.responses().select("id", "messages")
    # Rows stand in prompt order in every table, so the texts of neighbouring examples are neighbours too.
    where = keys.join(spans(run.responses(), keys, "key"), on="key")
    judged = spans(run.judgements(), keys, "key") if steps else None
    total = table.select(pl.len()).collect().item()
    for start in range(0, total, rows_at_once):
        rows = table.slice(start, rows_at_once).collect().filter(pl.col("kind") == kind)
        places = where.join(rows.select(key("prompt_id")), on="key", how="semi")
        if places.height == 0:
            continue
        written = _openai(pl.col("messages"), fields)  # before joining, where there is less of them
        here = (
            _slice(prompts, places["prompt_row"], places["prompt_row"])
            .rename({"id": "prompt_id"})
            .with_columns(written)
        )
        if marks is not None:
            first, count = _range(places["prompt_row"], places["prompt_row"])
            here = here.with_columns(marks.slice(first, count).alias(HELD_OUT))
        answers = _slice(responses, places["first"], places["last"]).with_columns(written).unique("id")
        made = rows.lazy().join(here.unique("prompt_id"), on="prompt_id", how="inner", maintain_order="left")
        own = bool(rows["outputs"].list.len().sum())
        if continuations is None:
            made = _with_all(made, answers, fields, own=own)
        for place in range(continuations or 0):
            made = _with_continuation(made, answers, place, fields, own=own)
        if judged is not None:
            at = judged.join(places.select("key"), on="key", how="semi")
            said = _slice(run.judgements().select("id", "step"), at["first"], at["last"])
            made = _with_steps(made, answers, said)
        shown = pl.col("messages")
        if rows["input"].list.len().sum():
            own_input = pl.col("input")
            shown = pl.when(own_input.list.len() > 0).then(_openai(own_input, fields)).otherwise(shown)
        yield made.with_columns(prompt=shown).drop("messages", "input")


def _slice(table: pl.LazyFrame, first: pl.Series, last: pl.Series) -> pl.LazyFrame:
    return table.slice(*_range(first, last)).collect().lazy()


def _range(first: pl.Series, last: pl.Series) -> tuple[int, int]:
    """Where rows begin, and how many there are up to the last one."""
    start, end = int(first.min()), int(last.max())  # type: ignore[arg-type]
    return start, end - start + 1


def _with_continuation(
    rows: pl.LazyFrame, responses: pl.LazyFrame, place: int, fields: Sequence[str], *, own: bool
) -> pl.LazyFrame:
    """Add `says_N`: the example's own output, where any has some, or what the response says."""
    import polars as pl

    name, output = f"says_{place}", pl.col("outputs").list.get(place, null_on_oob=True)
    said = pl.col(name)
    if own:
        said = pl.when(output.is_not_null()).then(_openai(a_message("assistant", output), fields)).otherwise(said)
    return (
        rows.with_columns(response_id=pl.col("response_ids").list.get(place))
        .join(
            responses.rename({"id": "response_id", "messages": name}),
            on="response_id",
            how="left",
            maintain_order="left",
        )
        .drop("response_id")
        .with_columns(said.alias(name))
    )


def _with_all(rows: pl.LazyFrame, responses: pl.LazyFrame, fields: Sequence[str], *, own: bool) -> pl.LazyFrame:
    """Add `says`: the example's own outputs, or what each of its responses says."""
    import polars as pl

    texts = (
        rows.select("id", response_id=pl.col("response_ids"))
        .explode("response_id")
        .join(
            responses.rename({"id": "response_id", "messages": "says"}),
            on="response_id",
            how="left",
            maintain_order="left",
        )
        .group_by("id", maintain_order=True)
        .agg("says")
    )
    made = rows.join(texts, on="id", how="left", maintain_order="left")
    if not own:
        return made
    written = pl.col("outputs").list.eval(_openai(a_message("assistant", pl.element()), fields))
    return made.with_columns(pl.when(pl.col("outputs").list.len() > 0).then(written).otherwise("says").alias("says"))


def _with_steps(rows: pl.LazyFrame, responses: pl.LazyFrame, judgements: pl.LazyFrame) -> pl.LazyFrame:
    """Add `steps`: the texts of the parts that the judgements of an example are about, in their order."""
    import polars as pl

    step, at = pl.col("step").struct.field, pl.col("message").fill_null(0)
    content = pl.col("messages").list.get(at).struct.field("content")
    found = (
        rows.select("id", "judgement_ids", pl.col("response_ids").list.first().alias("response_id"))
        .explode("judgement_ids")
        .join(
            judgements.filter(pl.col("step").is_not_null()).select(
                pl.col("id").alias("judgement_ids"), *(step(name) for name in ("index", "message", "start", "end"))
            ),
            on="judgement_ids",
        )
        .unique(["id", "index"], keep="first")
        .join(responses.rename({"id": "response_id"}), on="response_id")
        .sort("id", "index")
        .group_by("id", maintain_order=True)
        .agg(content.str.slice(pl.col("start"), pl.col("end") - pl.col("start")).alias("steps"))
    )
    return rows.join(found, on="id", how="left", maintain_order="left")


def _openai(messages: pl.Expr, fields: Sequence[str]) -> pl.Expr:
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
    return messages.list.eval(pl.struct(field("role"), content, *(rarer[each] for each in fields)))
