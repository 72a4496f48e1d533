"""Constraints on marks in a text: highlights, placeholders, quotation marks, commas."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict

from triptych.evaluation.constraints.bounds import Bounds
from triptych.evaluation.constraints.check import Check

_HIGHLIGHT = re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])[^*\n]*(?<=[^\s*])\1(?![\w*])")
_PLACEHOLDER = re.compile(r"\[(?![ xX]\])[^\[\]\n]*\w[^\[\]\n]*\](?!\()")
_COMMAS = re.compile("[,،、，﹐､]")
_QUOTES = {'"': '"', "“": "”", "„": "“", "«": "»"}


class Highlights(Bounds):
    """So many highlighted passages: `*so*`, `**so**` or `***so***`, each within a line."""

    kind: Literal["highlights"] = "highlights"

    def check(self, text: str) -> Check:
        """Count the highlighted passages."""
        return self._judge(len(_HIGHLIGHT.findall(text)), "highlight")


class Placeholders(Bounds):
    """So many placeholders in square brackets, such as `[address]`. Markdown links and check boxes are none."""

    kind: Literal["placeholders"] = "placeholders"

    def check(self, text: str) -> Check:
        """Count the placeholders."""
        return self._judge(len(_PLACEHOLDER.findall(text)), "placeholder")


class Quoted(BaseModel):
    """The whole text is in double quotation marks, straight or typographic, with something between them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["quoted"] = "quoted"

    def check(self, text: str) -> Check:
        """Look at both ends."""
        shown = text.strip()
        passed = len(shown) > 2 and _QUOTES.get(shown[0]) == shown[-1] and bool(shown[1:-1].strip())
        return Check(passed, f"starts with {shown[:1] or 'nothing'} and ends with {shown[-1:] or 'nothing'}")


class NoCommas(BaseModel):
    """There is no comma, be it Latin, Arabic or Chinese. Commas in numbers count; an empty text does not pass."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["no_commas"] = "no_commas"

    def check(self, text: str) -> Check:
        """Count the commas."""
        if not text.strip():
            return Check(False, "an empty text")
        commas = len(_COMMAS.findall(text))
        return Check(not commas, f"{commas} comma{'' if commas == 1 else 's'}; none allowed")
