"""The rows that show a finding, with their texts shortened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

MOST_CHARS = 700
"""Of one text."""
_MOST_RESPONSES = 4
"""Of a prompt that is shown with its responses."""


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A text of a row."""

    label: str
    """Whose it is: `prompt`, `chosen`, `rejected`, `shown first` ..."""
    text: str
    """Its beginning."""
    left_out: int
    """How many more characters it has."""
    said: str = ""
    """What was said of it: a score, a rank, a status."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A row with its texts."""

    id: str
    kind: str
    """`pair`, `judgement`, `response` ..."""
    texts: tuple[Text, ...]
    note: str = ""
    """What is known of it as a whole."""


def shown(data: Data, ids: Iterable[str]) -> dict[str, Shown]:
    """Read the rows of some ids, of any table. Ids that are not there are left out."""
    wanted = list(dict.fromkeys(ids))
    found = _Found(data)
    stories = {
        "e": (data.examples, found.example),
        "j": (data.judgements, found.judgement),
        "r": (data.responses, found.response),
        "p": (data.prompts, found.prompt),
    }
    told: dict[str, Shown] = {}
    for prefix, (table, story) in stories.items():
        mine = [each for each in wanted if each.startswith(f"{prefix}_")]
        if mine:
            rows = _rows(table, "id", mine)
            found.read(rows, with_siblings=prefix == "p")
            told |= {row["id"]: story(row) for row in rows}
    return {each: told[each] for each in wanted if each in told}


class _Found:
    """Texts of the prompts and responses that rows are about."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._prompts: dict[str, Text] = {}
        self._responses: dict[str, dict[str, Any]] = {}

    def read(self, rows: Sequence[dict[str, Any]], *, with_siblings: bool) -> None:
        prompts = [row.get("prompt_id") or row["id"] for row in rows]
        self._prompts |= {row["id"]: _prompt(row) for row in _texts(self._data.prompts, "id", prompts)}
        if with_siblings:
            responses = _texts(self._data.responses, "prompt_id", prompts)
        else:
            of = [each for row in rows for each in row.get("response_ids") or [row["id"]]]
            responses = _texts(self._data.responses, "id", of)
        self._responses |= {row["id"]: row for row in responses}

    def example(self, row: dict[str, Any]) -> Shown:
        outputs = row.get("outputs") or ()
        names = ("chosen", "rejected") if row["kind"] == "pair" else ()
        texts = [
            self._said(each, names[place] if names and place < 2 else f"response {place + 1}", _score(row, place))
            for place, each in enumerate(row["response_ids"][: _MOST_RESPONSES * 2])
        ]
        texts += [_text("output", output, len(output)) for output in outputs[:2]]
        margin = "" if row["margin"] is None else f", margin {row['margin']:.3g}"
        return self._shown(row, row["kind"], texts, f"{row['kind']} by {row['strategy']}{margin}")

    def judgement(self, row: dict[str, Any]) -> Shown:
        several = len(row["response_ids"]) > 1
        texts = [
            self._said(each, f"shown {_ordinal(place)}" if several else "response", _verdict(row, place))
            for place, each in enumerate(row["response_ids"][: _MOST_RESPONSES * 2])
        ]
        reasons = row.get("rationale") or row.get("raw") or row.get("error")
        if reasons:
            texts.append(_text("what the evaluator said", reasons[:MOST_CHARS], len(reasons)))
        return self._shown(row, "judgement", texts, f"{row['evaluator']} on {row['criterion']}: {row['status']}")

    def response(self, row: dict[str, Any]) -> Shown:
        status = row["status"] if not row.get("error") else f"{row['status']}: {row['error'][:200]}"
        return self._shown(row, "response", [self._said(row["id"], "response", status)], f"by {row['model']}")

    def prompt(self, row: dict[str, Any]) -> Shown:
        mine = [each for each in self._responses.values() if each["prompt_id"] == row["id"]]
        texts = [
            self._said(each["id"], f"response {place + 1}", "") for place, each in enumerate(mine[:_MOST_RESPONSES])
        ]
        more = f"{len(mine) - _MOST_RESPONSES} more responses" if len(mine) > _MOST_RESPONSES else ""
        return self._shown({"id": row["id"], "prompt_id": row["id"]}, "prompt", texts, more)

    def _said(self, response_id: str, label: str, said: str) -> Text:
        row = self._responses.get(response_id)
        if row is None:
            return Text(label=label, text="", left_out=0, said="this response is missing")
        return _text(label, row["text"] or "", row["chars"] or 0, said)

    def _shown(self, row: dict[str, Any], kind: str, texts: Sequence[Text], note: str) -> Shown:
        asked = self._prompts.get(row["prompt_id"])
        return Shown(id=row["id"], kind=kind, texts=((asked,) if asked else ()) + tuple(texts), note=note)


def _rows(table: pl.LazyFrame, column: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Rows by id, in the order of the table; without the texts of responses and prompts, which may be very long."""
    import polars as pl

    names = table.collect_schema().names()
    long = [name for name in ("rationale", "raw", "error") if name in names]
    short: dict[str, pl.Expr] = {name: pl.col(name).str.head(MOST_CHARS + 1) for name in long}
    kept = [name for name in names if name not in ("messages", "input", "spans", "outputs", *short)]
    if "outputs" in names:
        short["outputs"] = pl.col("outputs").list.eval(pl.element().str.head(MOST_CHARS + 1))
    told = [expression.alias(name) for name, expression in short.items()]
    return table.filter(pl.col(column).is_in(list(ids))).select(*kept, *told).collect().to_dicts()


def _texts(table: pl.LazyFrame, column: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    """What messages say, joined, and what the last of them says: its beginning, and how long it is."""
    import polars as pl

    content = pl.col("messages").list.eval(pl.element().struct.field("content"))
    said = content.list.join("\n\n", ignore_nulls=True)
    last = content.list.last()
    also = ["prompt_id"] if "prompt_id" in table.collect_schema().names() else []
    return (
        table.filter(pl.col(column).is_in(list(dict.fromkeys(ids))))
        .select(
            "id",
            *also,
            said.str.head(MOST_CHARS).alias("text"),
            said.str.len_chars().alias("chars"),
            last.str.head(MOST_CHARS).alias("last"),
            last.str.len_chars().alias("last_chars"),
            pl.col("messages").list.len().alias("messages"),
        )
        .collect()
        .to_dicts()
    )


def _prompt(row: dict[str, Any]) -> Text:
    turns = row["messages"] or 0
    label = "prompt" if turns < 2 else f"prompt, the last of its {turns} messages"
    return _text(label, row["last"] or "", row["last_chars"] or 0)


def _text(label: str, text: str, chars: int, said: str = "") -> Text:
    beginning = text[:MOST_CHARS]
    return Text(label=label, text=beginning, left_out=max(chars - len(beginning), 0), said=said)


def _score(row: dict[str, Any], place: int) -> str:
    return ", ".join(_at(row, place, (("labels", "label"), ("scores", "score"))))


def _verdict(row: dict[str, Any], place: int) -> str:
    return ", ".join(_at(row, place, (("ranks", "rank"), ("scores", "score"))))


def _at(row: dict[str, Any], place: int, columns: Iterable[tuple[str, str]]) -> Iterator[str]:
    for column, label in columns:
        values = row.get(column) or ()
        if place < len(values) and values[place] is not None:
            yield f"{label} {values[place]:.3g}"


def _ordinal(place: int) -> str:
    return ("first", "second", "third", "fourth")[place] if place < 4 else f"as number {place + 1}"
