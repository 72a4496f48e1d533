"""The diagnostic: whose share of which rows it looks at, and what it says of it. Measured some prompts at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from triptych.audit.finding import Finding
from triptych.audit.intervals import shares, sums

if TYPE_CHECKING:
    import polars as pl


class Diagnostic(msgspec.Struct, frozen=True):
    """A share of rows of some whole prompts, for each group of them."""

    rows: pl.LazyFrame
    """What `triptych.audit.intervals.sums` takes."""
    by: tuple[str, ...]
    """The columns that make the groups."""
    say: Callable[..., Finding | None]
    """From a share, the ids of rows that show it, and the group's values in `by`, to a finding, if there is one."""


def measure(blocks: Iterable[Sequence[Diagnostic]]) -> list[Finding]:
    """Measure the same diagnostics on blocks of whole prompts, one after another, as if they were one table."""
    import polars as pl

    counted: list[list[pl.DataFrame]] = []
    diagnostics: Sequence[Diagnostic] = ()
    for diagnostics in blocks:
        parts = pl.collect_all([sums(each.rows, each.by) for each in diagnostics])
        counted.append([_apart(part) for part in parts])
    found = (
        each.say(share, shown, *group)
        for each, *parts in zip(diagnostics, *counted, strict=True)
        for group, share, shown in shares(parts, each.by)
    )
    return [finding for finding in found if finding is not None]


def _apart(few: pl.DataFrame) -> pl.DataFrame:
    """Copy a few rows: their texts are views into buffers that hold the whole block's."""
    import polars as pl

    return pl.DataFrame(few.rows(), few.schema, orient="row")
