"""Which column of a file holds what Triptych wants of a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from itertools import chain
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from triptych.errors import PromptError
from triptych.operators import BadRow
from triptych.prompts.row import NAMES, Record, list_from_json

DEFAULT_PROMPT_COLUMNS = ("prompt", "messages", "instruction", "question", "text", "conversations")
"""Where the prompt is looked for if no column is named: the first of these that is there and not null."""

_ROWS_LOOKED_AT = 100
_COLUMNS_SHOWN = 40


class Columns(BaseModel):
    """The file's column for each thing that Triptych wants.

    What is not named is taken from the column of its own name, if there is one. An empty name takes it from
    nowhere, for a column of that name that means something else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Annotated[str, Field(min_length=1)] | None = None
    """Text, or a list of chat messages as OpenAI (`role`, `content`) or ShareGPT (`from`, `value`) write it.
    By default the first present of prompt, messages, instruction, question, text, conversations. In CSV, the
    columns messages and conversations hold such a list as JSON text."""
    system: str | None = None
    """A system message, put before the others."""
    reference: str | None = None
    """A known good or correct answer."""
    constraints: str | None = None
    """Checkable demands on the answer: a list of objects with a `kind`, or JSON text of one."""
    criteria: str | None = None
    """Criteria of this prompt alone: a list of objects, or JSON text of one."""
    tools: str | None = None
    """Tool declarations in OpenAI's form: a list of objects, or JSON text of one."""
    responses: str | tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """Responses that come with the prompt. One column holds a list of texts, or of objects with a text (under
    `text`, `content` or `response`) and who made it (under `source` or `model`). Several columns, such as
    `[chosen, rejected]`, hold a response each, made by "chosen" and "rejected". A list of chat messages
    stands for its last assistant message. Nulls are no responses."""
    source: str | None = None
    """Where the prompt comes from; by default the file's name."""
    tags: str | None = None
    """A list of texts, or one text."""
    parent_id: str | None = None
    """The prompt that this one was evolved or paraphrased from."""
    family_id: str | None = None
    """Prompts of one family must get consistent behaviour."""


class Picker:
    """Picks from rows what Triptych wants, by the names in `triptych.prompts.row.NAMES`."""

    def __init__(self, columns: Columns, *, lists_are_json: bool = False) -> None:
        """`lists_are_json` is for cells that are all text: lists are JSON there, and empty cells null."""
        named: dict[str, str | tuple[str, ...]] = columns.model_dump(exclude_none=True)
        self._several: tuple[str, ...] = ()
        self._named: dict[str, str] = {}
        for name, column in named.items():
            if isinstance(column, tuple):
                self._several = column
            elif column:
                self._named[name] = column
        self._same = tuple(name for name in NAMES if name != "prompt" and name not in named)
        self._lists_are_json = lists_are_json

    def __call__(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Pick from one row. Raises `ValueError` where a column is not there."""
        wanted = {name: values[name] for name in self._same if name in values}
        for name, column in self._named.items():
            if column not in values:
                raise ValueError(f"there is no column {column!r}, which is to hold {_what(name)}")
            wanted[name] = values[column]
        prompt_column = self._named.get("prompt")
        if prompt_column is None:
            prompt_column = self._default_prompt_column(values)
            wanted["prompt"] = values[prompt_column]
        if self._lists_are_json:
            wanted = _read_cells(wanted, prompt_column)
        if self._several:
            wanted["responses"] = [{"text": self._response(values, name), "source": name} for name in self._several]
        return wanted

    def _default_prompt_column(self, values: Mapping[str, Any]) -> str:
        there = [column for column in DEFAULT_PROMPT_COLUMNS if column in values]
        if not there:
            raise ValueError(f"there is none of the columns {', '.join(DEFAULT_PROMPT_COLUMNS)}")
        empty = ("", None) if self._lists_are_json else (None,)
        return next((column for column in there if values[column] not in empty), there[0])

    def _response(self, values: Mapping[str, Any], column: str) -> Any:
        if column not in values:
            raise ValueError(f"there is no column {column!r}, which is to hold {_what('responses')}")
        return values[column] or None if self._lists_are_json else values[column]

    def used(self, there: Collection[str]) -> list[str]:
        """The columns among those `there` that picking can look at."""
        looked_at = {*self._same, *self._named.values(), *self._several}
        if "prompt" not in self._named:
            looked_at.update(DEFAULT_PROMPT_COLUMNS)
        return [column for column in there if column in looked_at]

    def missing(self, there: Collection[str]) -> Iterator[str]:
        """Say which needed columns are not among those `there`, and which may be meant."""
        named = [*self._named.items(), *(("responses", column) for column in self._several)]
        for name, column in named:
            if column not in there:
                near = get_close_matches(column, there, n=1, cutoff=0.6)
                meant = f"; did you mean {near[0]!r}?" if near else ""
                yield f"there is no column {column!r}, which is to hold {_what(name)}{meant}"
        if "prompt" not in self._named and not any(column in there for column in DEFAULT_PROMPT_COLUMNS):
            close = (get_close_matches(c, there, n=1, cutoff=0.75) for c in DEFAULT_PROMPT_COLUMNS)
            near = next((found for found in close if found), [])
            name = repr(near[0]) if near else "the column's name"
            yield (
                f"there is none of the columns {', '.join(DEFAULT_PROMPT_COLUMNS)}; "
                f"say which one holds the prompt with columns: {{prompt: {name}}}"
            )

    def check(self, there: Collection[str], file: str) -> None:
        """Raise `PromptError` where a needed column is not among those `there`, or is there twice."""
        twice = [column for column, times in Counter(self.used(there)).items() if times > 1]
        if twice:
            raise PromptError(f"{file}: there are several columns {twice[0]!r}")
        missing = list(self.missing(there))
        if missing:
            shown = ", ".join(list(there)[:_COLUMNS_SHOWN]) or "none"
            more = f" and {len(there) - _COLUMNS_SHOWN} more" if len(there) > _COLUMNS_SHOWN else ""
            said = "; ".join(missing)
            raise PromptError(f"{file}: {said}{'' if said[-1] == '?' else '.'} The columns are: {shown}{more}")

    def check_first(self, records: Iterator[Record | BadRow], file: str, *, slow: bool) -> Iterator[Record | BadRow]:
        """Check rows that each have their own columns: one that the first 100 rows all lack is not there.

        Where rows are slow to come, as from a pipe, one that the first row lacks is not there: nobody is to wait for 100.
        """
        looked_at: list[Record | BadRow] = []
        there: dict[str, None] = {}
        for record in records:
            looked_at.append(record)
            if isinstance(record, Record):
                there.update(dict.fromkeys(record.values))
                if slow:
                    break
            if len(looked_at) == _ROWS_LOOKED_AT or (there and next(self.missing(there), None) is None):
                break
        if any(isinstance(record, Record) for record in looked_at):
            self.check(there, file)
        return chain(looked_at, records)


class AsTheyStand:
    """In place of a picker: rows with all of their columns, whatever they are called."""

    def used(self, there: Collection[str]) -> list[str]:
        """All columns."""
        return list(there)

    def check(self, there: Collection[str], file: str) -> None:
        """Raise `PromptError` where a column is there twice."""
        twice = [column for column, times in Counter(there).items() if times > 1]
        if twice:
            raise PromptError(f"{file}: there are several columns {twice[0]!r}")

    def check_first(self, records: Iterator[Record | BadRow], file: str, *, slow: bool) -> Iterator[Record | BadRow]:
        """Rows may have any columns."""
        return records


def _read_cells(wanted: dict[str, Any], prompt_column: str) -> dict[str, Any]:
    """Read what cells of text stand for: nothing if empty, and lists if they can only be lists."""
    read: dict[str, Any] = {}
    for name, cell in wanted.items():
        column = prompt_column if name == "prompt" else name
        if column in ("messages", "conversations", "responses", "tags") and cell.lstrip().startswith("["):
            read[name] = list_from_json(column, cell)
        elif cell or name == "prompt":
            read[name] = cell
    return read


def _what(name: str) -> str:
    return f"the {name}"
