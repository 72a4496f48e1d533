"""Prompts from a file: JSONL, JSON, CSV, Parquet, a folder that `datasets` saved, or standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import IO, Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from triptych.errors import PromptError
from triptych.operators import BadRow, Operator, PromptRow
from triptych.prompts.columns import AsTheyStand, Columns, Picker
from triptych.prompts.row import Record, prompt_rows
from triptych.prompts.table_files import count_rows, find_shards, table_records
from triptych.prompts.text_files import (
    count_json,
    count_lines,
    csv_records,
    json_records,
    jsonl_records,
    open_bytes,
)

Format = Literal["jsonl", "json", "parquet", "csv", "datasets"]

_ENDINGS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "datasets",
}


class PromptFile(Operator):
    """Reads prompts from a file or folder, a few thousand rows at a time.

    A row that can't be a prompt, or that repeats an earlier one, is set aside with its number and the reason.
    `PromptError` is raised where there is no such file, where it can't be read, where it holds no row, and
    where it lacks a column: in Parquet, CSV and `datasets` by its header, in JSON and JSONL if the first 100
    rows all lack it, or from a pipe and standard input if the first one does.
    """

    kind: Literal["file"] = "file"
    path: Annotated[str, BeforeValidator(lambda path: str(path) if isinstance(path, PurePath) else path)] = Field(
        min_length=1
    )
    """A file, relative to the recipe's folder; JSONL, JSON and CSV may be compressed with gzip. Or a folder
    that `datasets.Dataset.save_to_disk` made or that holds Parquet or Arrow shards. `-` is JSONL from
    standard input, which can be read only once."""
    format: Format | None = None
    """None goes by the ending of the path."""
    split: str | None = None
    """Names the split where a folder holds several."""
    columns: Columns = Columns()
    """Which column holds what."""

    @model_validator(mode="after")
    def _standard_input_is_jsonl(self) -> PromptFile:
        if self.path == "-" and self.format not in (None, "jsonl"):
            raise ValueError(f"standard input is read as JSONL, not as {self.format}")
        return self

    def rows(self, folder: Path) -> Iterator[PromptRow | BadRow]:
        """Read the prompts in their order, one at a time.

        Raises `PromptError` where the file can't be read at all.
        """
        empty = True
        lists_are_json = self.path != "-" and self._format(self._found(folder)) == "csv"
        picker = Picker(self.columns, lists_are_json=lists_are_json)
        source = "stdin" if self.path == "-" else self._found(folder).name
        for row in prompt_rows(self._records(folder, picker), picker, source):
            empty = False
            yield row
        if empty:
            raise PromptError(f"{self._name} holds no row")

    def records(self, folder: Path) -> Iterator[Record | BadRow]:
        """Read the rows as they stand, with all of their columns. Raises `PromptError` as `rows` does."""
        empty = True
        for record in self._records(folder, AsTheyStand()):
            empty = False
            yield record
        if empty:
            raise PromptError(f"{self._name} holds no row")

    def count(self, folder: Path) -> int | None:
        """Say quickly how many rows there are, about: beyond 32 MB, lines are counted by their mean length.

        None where reading would use the source up, or is not possible. Raises `PromptError` where there is
        nothing.
        """
        if self.path == "-":
            return None
        path = self._found(folder)
        kind = self._format(path)
        if not (path.is_file() or path.is_dir()):  # a pipe
            return None
        if kind in ("parquet", "datasets"):
            rows = count_rows(self._shards(path, kind))
            if rows is None:
                next(self.rows(folder), None)  # raises where it is broken, and says how
            return rows
        try:
            if kind == "json":
                with open_bytes(path) as stream:
                    return count_json(stream, self._name)
            lines = count_lines(path)
            return max(lines - 1, 0) if kind == "csv" else lines
        except OSError as error:
            raise PromptError(f"{self._name} can't be read: {error.strerror or error}") from error

    @property
    def _name(self) -> str:
        return "standard input" if self.path == "-" else self.path

    def _records(self, folder: Path, picker: Picker | AsTheyStand) -> Iterator[Record | BadRow]:
        if self.path == "-":
            yield from picker.check_first(jsonl_records(_standard_input(), self._name), self._name, slow=True)
            return
        path = self._found(folder)
        kind = self._format(path)
        if kind in ("parquet", "datasets"):
            yield from table_records(self._shards(path, kind), picker, self._name)
            return
        if self.split is not None:
            raise PromptError(f"{self._name} is one file, which has no split {self.split!r}")
        try:
            with open_bytes(path) as stream:
                if kind == "csv":
                    delimiter = "\t" if path.name.lower().removesuffix(".gz").endswith(".tsv") else ","
                    yield from csv_records(stream, self._name, delimiter, lambda there: picker.check(there, self._name))
                else:
                    read = json_records if kind == "json" else jsonl_records
                    yield from picker.check_first(read(stream, self._name), self._name, slow=not path.is_file())
        except OSError as error:
            raise PromptError(f"{self._name} can't be read: {error.strerror or error}") from error

    def _found(self, folder: Path) -> Path:
        path = folder / Path(self.path).expanduser()
        if path.exists():
            return path
        near: list[str] = []
        if path.parent.is_dir():
            names = [each.name for each in path.parent.iterdir()]
            near = get_close_matches(path.name, names, n=1, cutoff=0.7)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise PromptError(f"there is no file {str(path)!r}{meant}")

    def _format(self, path: Path) -> Format:
        if path.is_dir():
            if self.format not in (None, "parquet", "datasets"):
                raise PromptError(f"{self._name} is a folder; as {self.format}, name one file in it")
            return self.format or "datasets"
        if self.format is not None:
            return self.format
        name = path.name.lower()
        ending = Path(name.removesuffix(".gz")).suffix
        found = _ENDINGS.get(ending)
        if found is None or (name.endswith(".gz") and found in ("parquet", "datasets")):
            known = "jsonl, json, csv, parquet or datasets"
            raise PromptError(f"{self._name}: its ending does not tell the format; set format to {known}")
        return found

    def _shards(self, path: Path, kind: Format) -> list[Path]:
        if path.is_dir():
            endings = (".parquet",) if kind == "parquet" else (".arrow", ".parquet")
            return find_shards(path, self.split, endings, self._name)
        if self.split is not None:
            raise PromptError(f"{self._name} is one file, which has no split {self.split!r}")
        return [path]


def _standard_input() -> IO[bytes]:
    if sys.stdin is None:
        raise PromptError("there is no standard input")
    try:
        # A reader of its own: Python aborts if it ends while a thread is still waiting in that of `sys.stdin`.
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except (OSError, ValueError):  # put in its place, as in a notebook
        return sys.stdin.buffer
