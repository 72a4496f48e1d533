"""The tables of a run: the columns of each record type, and rows to and from Polars frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from triptych.records import Example, Judgement, Prompt, Response
from triptych.records.messages import Role

if TYPE_CHECKING:
    import polars as pl

Record = Prompt | Response | Judgement | Example
TABLES: dict[str, type[Record]] = {
    "prompts": Prompt,
    "responses": Response,
    "judgements": Judgement,
    "examples": Example,
}
FREE_FORM = frozenset({"tools", "constraints", "criteria", "params"})
"""Columns whose shape is not Triptych's to fix: they are JSON text."""
_encode = msgspec.json.Encoder().encode


@cache
def schema(table: str) -> dict[str, pl.DataType]:
    """The columns of a table, in order, with their Polars types."""
    import polars as pl

    text, number, count = pl.String(), pl.Float64(), pl.Int32()
    texts, numbers, time = pl.List(text), pl.List(number), pl.Datetime("us", "UTC")
    call = pl.Struct({"id": text, "name": text, "arguments": text})
    messages = pl.List(
        pl.Struct({"role": text, "content": text, "tool_calls": pl.List(call), "tool_call_id": text, "name": text})
    )
    step = pl.Struct({"unit": text, "index": count, "message": count, "start": count, "end": count})
    spans = pl.List(pl.Struct({"response": count, "message": count, "start": count, "end": count, "value": number}))
    types: dict[str, dict[str, pl.DataType]] = {
        "prompts": {"messages": messages, "tags": texts, "call_ids": texts},
        "responses": {
            "messages": messages,
            "sample_index": count,
            "parent_step": count,
            "prompt_tokens": count,
            "completion_tokens": count,
            "logprob": number,
            "token_logprobs": numbers,
            "tokens": texts,
            "token_top_logprobs": pl.List(numbers),
            "cost_usd": number,
            "call_ids": texts,
            "created_at": time,
        },
        "judgements": {
            "response_ids": texts,
            "step": step,
            "about": texts,
            "scores": numbers,
            "ranks": pl.List(count),
            "probability": number,
            "scale": numbers,
            "spans": spans,
            "weight": number,
            "cost_usd": number,
            "call_ids": texts,
            "created_at": time,
        },
        "examples": {
            "response_ids": texts,
            "scores": numbers,
            "labels": numbers,
            "margin": number,
            "weight": number,
            "spans": spans,
            "input": messages,
            "outputs": texts,
            "judgement_ids": texts,
        },
    }
    return {name: types[table].get(name, text) for name in TABLES[table].__struct_fields__}


def frame(table: str, rows: Sequence[Record]) -> pl.DataFrame:
    """Lay rows of one record type out as a frame."""
    import polars as pl

    if not rows:
        return pl.DataFrame(schema=schema(table))
    columns = []
    for name, dtype in schema(table).items():
        values = list(map(attrgetter(name), rows))
        if values.count(values[0]) == len(values):  # many columns say the same in all rows
            columns.append(column(name, values[:1], dtype).new_from_index(0, len(values)))
        else:
            columns.append(column(name, values, dtype))
    return pl.DataFrame(columns)


def column(name: str, values: list[Any], dtype: pl.DataType) -> pl.Series:
    """A column of a table from what a record's field holds in each row."""
    import polars as pl

    if dtype.is_nested() or dtype.is_temporal():
        # By way of JSON: Polars reads it many times faster than nested Python values.
        decoded = pl.Series(name, [_json(values)], dtype=pl.String).str.json_decode(pl.List(dtype)).explode()
        return _with_contents(decoded) if name in ("messages", "input") else decoded
    return pl.Series(name, [_json(value) for value in values] if name in FREE_FORM else values, dtype=dtype)


def a_message(role: Role, content: pl.Expr) -> pl.Expr:
    """A list of one message."""
    import polars as pl

    messages = schema("prompts")["messages"]
    said = {"role": pl.lit(role), "content": content}
    fields = [said.get(field.name, pl.lit(None)).alias(field.name) for field in messages.inner.fields]  # type: ignore[attr-defined]
    return pl.concat_list(pl.struct(fields)).cast(messages)


def _with_contents(messages: pl.Series) -> pl.Series:
    """Give messages without words their empty content back: JSON leaves defaults out."""
    import polars as pl

    content = pl.field("content").fill_null("")
    filled = pl.col(messages.name).list.eval(pl.element().struct.with_fields(content))
    return messages.to_frame().select(filled).to_series()


def records(table: str, rows: Iterable[dict[str, Any]]) -> list[Record]:
    """Read rows of a frame (`frame.iter_rows(named=True)`) back as records."""
    return [_record(TABLES[table], row) for row in rows]


def _record(kind: type[Record], row: dict[str, Any]) -> Record:
    fields = {}
    for name in kind.__struct_fields__:
        if name not in row:  # in tables of before there was such a field
            continue
        value = msgspec.json.decode(row[name]) if name in FREE_FORM else without_nulls(row[name])
        if value is not None:
            fields[name] = value
    return msgspec.convert(fields, kind)


def without_nulls(value: Any) -> Any:
    """A row's value as JSON would have it: nothing in place of nulls."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in value]
    return value


def _json(value: object) -> str:
    return _encode(value).decode()
