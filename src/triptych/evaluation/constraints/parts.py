"""Constraints on the parts of a text: numbered sections, and answers set apart by a mark."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from triptych.evaluation.constraints.check import Check, Checkable, Counted

Mark = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Sections(Counted):
    """So many numbered sections: lines that start with the section's word and a number, such as `Section 1`.

    Roman numerals count, and so do headings: `## SECTION 2: Costs`.
    """

    kind: Literal["sections"] = "sections"
    word: Mark = "Section"
    """The word before the number, in either case."""

    def check(self, text: str) -> Check:
        """Count the sections."""
        start = rf"^(?:[^\S\n]|[#*_])*{re.escape(self.word)}\s+(?:\d+|[IVX]+)\b"
        return self.counted(len(re.findall(start, text, re.MULTILINE | re.IGNORECASE)), "sections")


class Separator(Checkable):
    """The text is so many answers set apart by a mark; none is empty and no two are the same."""

    kind: Literal["separator"] = "separator"
    mark: Mark = "******"
    """The line or sign that separates."""
    parts: Annotated[int, Field(ge=2)] = 2
    """How many parts there must be."""

    def check(self, text: str) -> Check:
        """Count the answers; case and white space make no difference between them."""
        answers = [" ".join(part.split()).casefold() for part in text.split(self.mark)]
        different = len(set(answers) - {""})
        passed = len(answers) == self.parts == different
        empty = "; one part is empty" if "" in answers else ""
        return Check(passed, f"{different} different answers set apart by {self.mark}; {self.parts} wanted{empty}")
