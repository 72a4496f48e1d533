"""Putting untrusted text on a terminal, and numbers in a form for people."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import click
import msgspec
from rich.console import Console

_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # all control characters but the tab and the end of a line
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # which turn the direction of text
    r"\u180e\u200b\u2028\u2029\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb]"  # which can't be seen
    r"|(?<![\u0590-\u1fff\u2070-\U0010ffff])[\u200c\u200d]"  # which join letters of Asia and emoji, nothing else
)
"""What a terminal obeys or a reader can't see."""


def console(*, stderr: bool = False) -> Console:
    """Open the terminal, or a plain file. Markup and emoji codes in what is printed are left as they are."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=not sys.stdout.isatty())


def say(text: str) -> None:
    """Print lines to stdout; no text from elsewhere that is in them can command the terminal."""
    click.echo(clean(text))


def clean(text: str, most: int | None = None) -> str:
    """Make text from a model or a data set safe for a terminal, and cut it after `most` characters."""
    shown = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))
    return shown if most is None or len(shown) <= most else shown[: most - 1] + "…"


def one_line(text: str, most: int = 100) -> str:
    """Text in one line, cut after `most` characters."""
    return clean(" ".join(text.split()), most)


def json_text(value: Any) -> str:
    """JSON for machines, in ASCII alone: it says all that there is, and is safe on a terminal too."""
    return json.dumps(msgspec.to_builtins(value))


def usd(amount: float) -> str:
    """Money: cents where there are dollars, more digits where there are not."""
    return f"${amount:,.2f}" if amount >= 1 or amount == 0 else f"${amount:.4f}"


def count(number: float) -> str:
    """A whole number with its thousands apart."""
    return f"{round(number):,}"


def many(number: float, noun: str, width: int = 0) -> str:
    """So many of something, as 1 prompt or 2 prompts; the number takes `width` characters at least."""
    return f"{count(number):>{width}} {noun}{'' if round(number) == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time span such as 41 s, 3 min 20 s or 2 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 90:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
