"""What a verifier says of one text: passed or not, and what it saw."""

from __future__ import annotations

import msgspec


class Check(msgspec.Struct, frozen=True):
    """The outcome of one checkable constraint on one text."""

    passed: bool
    """Whether the text satisfies the constraint."""
    found: str
    """What was found, for a person: "14 words, at most 12 allowed"."""
