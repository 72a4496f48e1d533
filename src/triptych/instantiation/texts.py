"""Texts that a model is shown in training in place of the prompt, as Polars expressions over chat messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from triptych.store.tables import a_message

if TYPE_CHECKING:
    import polars as pl


def with_text(messages: pl.Expr, text: pl.Expr, place: Literal["user", "system"]) -> pl.Expr:
    """The messages with a text at the end of the last one, if it is the user's, or of a system message at the beginning.

    Where there is no such message, one is added.
    """
    import polars as pl

    at = -1 if place == "user" else 0
    its = messages.list.get(at, null_on_oob=True).struct.field
    longer = a_message(place, its("content").fill_null("") + pl.lit("\n\n") + text)
    alone = a_message(place, text)
    if place == "user":
        changed, added = [messages.list.head(messages.list.len() - 1), longer], [messages, alone]
    else:
        changed, added = [longer, messages.list.slice(1)], [alone, messages]
    return (
        pl.when((its("role") == place).fill_null(False)).then(pl.concat_list(changed)).otherwise(pl.concat_list(added))
    )


def for_each(column: pl.Series, made: Callable[[str], str]) -> pl.Series:
    """A text made of each text of a column; once for those that are equal."""
    import polars as pl

    known = column.unique()
    return column.replace_strict(
        known, pl.Series([made(text) for text in known], dtype=pl.String), return_dtype=pl.String
    )
