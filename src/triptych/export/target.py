"""A trainer, or a library, that exports are written for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from triptych.export.format import Format
from triptych.export.rows import Rarities


class Part(NamedTuple):
    """The rows of one kind of examples in an export."""

    format: Format
    rows: int
    """Of both splits."""
    files: Sequence[str]
    """Those to train on, from the export's folder."""
    columns: Sequence[str]
    tests: Sequence[str] = ()
    """Those held out, in the same order; empty where none are."""
    test_rows: int = 0
    checkable: bool = False
    """Whether the recipe has verifiers, so that they can reward what a trainer draws itself."""


class Target(NamedTuple):
    """What is particular to a trainer: its formats of the kinds of examples, its files, its configuration."""

    name: str
    """What it is called on the command line."""
    title: str
    """What it calls itself."""
    formats: Mapping[str, Format]
    """Its format of each kind of examples that it has one for."""
    endings: Sequence[str]
    """The files that are written, of `.parquet`, `.jsonl` and `.arrow`; a configuration names the first."""
    snippet: Callable[[Part, Mapping[str, Any]], tuple[str, str]]
    """How to load or train on a part, by the settings of the recipe's method: a language, and text in it."""
    others: Mapping[str, str] = {}
    """Why a kind has no format, and what to do instead."""
    texts: Callable[[Sequence[Part], Mapping[str, Any], Path], Mapping[str, str]] = lambda parts, settings, out: {}
    """Files to be written beside the rows, such as configurations, by their names."""
    lost: Callable[[Rarities], list[str]] = lambda rarities: []
    """What the trainer does not read of any kind's rows, in a sentence each."""

    def no_format(self, kind: str) -> str:
        """Why a kind of examples can't be written."""
        return self.others.get(kind, f"{self.title} has no format for {kind}")
