"""Expressions about chats: what can be said of a list of messages before a trainer reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.export.rows import Rarities

if TYPE_CHECKING:
    import polars as pl


def roles(messages: pl.Expr) -> pl.Expr:
    """The roles of a chat, each followed by a comma."""
    import polars as pl

    return messages.list.eval(pl.element().struct.field("role") + ",").list.join("")


def alternates(messages: pl.Expr) -> pl.Expr:
    """Whether user and assistant take turns, the user first and last, after one system message or none."""
    return roles(messages).str.contains(r"^(?:system,)?(?:user,assistant,)*user,$")


def one_answer(messages: pl.Expr) -> pl.Expr:
    """Whether a continuation is one message of the assistant's."""
    return roles(messages) == "assistant,"


def calls_tools(messages: pl.Expr, rarities: Rarities) -> pl.Expr:
    """Whether a chat has calls of tools or answers of tools."""
    import polars as pl

    answered = roles(messages).str.contains("tool,", literal=True)
    if "tool_calls" not in rarities.message_fields:
        return answered
    return answered | messages.list.eval(pl.element().struct.field("tool_calls").list.len() > 0).list.any().fill_null(
        False
    )


def content(messages: pl.Expr) -> pl.Expr:
    """What the last message says."""
    return messages.list.last().struct.field("content")


def plain(messages: pl.Expr) -> pl.Expr:
    """The messages with a role and a content alone."""
    import polars as pl

    field = pl.element().struct.field
    return messages.list.eval(pl.struct(field("role"), field("content")))


def trained(messages: pl.Expr, name: str, *, train: bool) -> pl.Expr:
    """The messages, each with a field that says whether the loss is on it."""
    import polars as pl

    field = pl.element().struct.field
    return messages.list.eval(pl.struct(field("role"), field("content"), pl.lit(train).alias(name)))


CALLS_TOOLS = "call tools, which this format does not hold"
NOT_ONE_ANSWER = "have answers of several messages, and this format holds one"
NO_TURNS = "have chats in which user and assistant do not take turns, which the trainer skips"
