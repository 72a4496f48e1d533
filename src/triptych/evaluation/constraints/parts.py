"""Constraints on the parts of a text: title, sections, postscript, answers set apart by a mark."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from triptych.evaluation.constraints.bounds import Bounds
from triptych.evaluation.constraints.check import Check

Mark = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Title(BaseModel):
    """There is a title in double angle brackets, on one line: `<<poem of joy>>`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["title"] = "title"

    def check(self, text: str) -> Check:
        """Look for the title."""
        titles = [title for title in re.findall(r"<<([^<>\n]*)>>", text) if re.search(r"\w", title)]
        return Check(bool(titles), f"title <<{titles[0]}>>" if titles else "no title in << >>")


class Sections(Bounds):
    """So many numbered sections: lines that start with the section's word and a number, such as `Section 1`.

    Roman numerals count, and so do headings: `## SECTION 2: Costs`.
    """

    kind: Literal["sections"] = "sections"
    word: Mark = "Section"
    """The word before the number, in whatever case."""

    def check(self, text: str) -> Check:
        """Count the sections."""
        start = rf"^[\s#*_]*{re.escape(self.word)}\s+(?:\d+|[IVX]+)\b"
        return self._judge(len(re.findall(start, text, re.MULTILINE | re.IGNORECASE)), "section")


class Postscript(BaseModel):
    """A line after the first starts with the mark of a postscript, and says something."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["postscript"] = "postscript"
    mark: Mark = "P.S."
    """In whatever case. Written with dots, it is also found without them (PS) or with spaces (P. S.)."""

    def check(self, text: str) -> Check:
        """Look for the postscript."""
        mark = r"\.?\s?".join(map(re.escape, self.mark.replace(".", ""))) if "." in self.mark else re.escape(self.mark)
        found = re.search(rf"\n[\s*_]*({mark}\.?(?!\w).*\w.*)$", text, re.MULTILINE | re.IGNORECASE)
        return Check(bool(found), f"postscript “{found[1].strip()}”" if found else f"no postscript after {self.mark}")


class Separator(BaseModel):
    """The text is so many answers set apart by a mark; none is empty and no two are the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["separator"] = "separator"
    mark: Mark = "******"
    parts: Annotated[int, Field(ge=2)] = 2

    def check(self, text: str) -> Check:
        """Count the answers."""
        answers = [" ".join(part.split()).casefold() for part in text.split(self.mark)]
        passed = len(answers) == self.parts == len(set(answers)) and all(answers)
        said = f"{len(set(answers) - {''})} different answers set apart by {self.mark}; exactly {self.parts} wanted"
        return Check(passed, said + ("; one part is empty" if "" in answers else ""))
