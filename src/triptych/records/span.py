"""The span: a stretch of a response's text, and a number that belongs to it."""

from __future__ import annotations

import msgspec


class Span(msgspec.Struct, frozen=True, gc=False):
    """A token, a sentence or a step by where it stands, with what is said of it: a log-probability, a score, a weight."""

    response: int
    """Which of the row's responses, from 0 in the order of its `response_ids`."""
    message: int
    """The message of the response that holds it, from 0."""
    start: int
    """First character in that message's content."""
    end: int
    """One past its last character."""
    value: float
    """What belongs to it; in a judgement what the evaluator found, in an example what its part of the loss is
    multiplied with, or the reward at its end, as the recipe has it."""
