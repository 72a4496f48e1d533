"""Constraints on a text's form: lists, titles, marks, quotes, and answers out of a given set."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from triptych.evaluation.constraints.check import Check, Checkable, Counted

_BULLET = re.compile(r"^[^\S\n]*[-*•][^\S\n]+(?=.*\w)", re.MULTILINE)
_NUMBERED = re.compile(r"^[^\S\n]*\d+[.)][^\S\n]+(?=.*\w)", re.MULTILINE)
_TITLE = re.compile(r"<<(?=[^<>\n]*\w)[^<>\n]+>>")
_HIGHLIGHT = re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])[^*\n]*(?<=[^\s*])\1(?![\w*])")
_PLACEHOLDER = re.compile(r"\[(?![xX ]\])(?=[^\[\]\n]*\w)[^\[\]\n]+\](?!\()")
_POSTSCRIPT = re.compile(r"\n[\s*_]*(?:p\.\s?s\.?|ps[.:])(?=.*\w)", re.IGNORECASE)


class Bullets(Counted):
    """So many bullet points: lines that begin with `-`, `*` or `•`."""

    kind: Literal["bullets"] = "bullets"

    def check(self, text: str) -> Check:
        """Count the lines that are bullet points."""
        return self.counted(len(_BULLET.findall(text)), "bullet points")


class NumberedList(Counted):
    """So many numbered points: lines that begin with `1.` or `1)`."""

    kind: Literal["numbered_list"] = "numbered_list"

    def check(self, text: str) -> Check:
        """Count the lines that are numbered points."""
        return self.counted(len(_NUMBERED.findall(text)), "numbered points")


class Title(Checkable):
    """Holds a title in double angle brackets, such as <<A day out>>."""

    kind: Literal["title"] = "title"

    def check(self, text: str) -> Check:
        """Look for the brackets with something between them."""
        found = _TITLE.search(text)
        return Check(found is not None, f"title {found.group()}" if found else "no title in << >>")


class Highlights(Counted):
    """So many parts in *asterisks* or **double asterisks**."""

    kind: Literal["highlights"] = "highlights"

    def check(self, text: str) -> Check:
        """Count the highlighted parts."""
        return self.counted(len(_HIGHLIGHT.findall(text)), "highlighted parts")


class Placeholders(Counted):
    """So many placeholders in square brackets, such as [name]."""

    kind: Literal["placeholders"] = "placeholders"

    def check(self, text: str) -> Check:
        """Count the placeholders."""
        return self.counted(len(_PLACEHOLDER.findall(text)), "placeholders")


class Postscript(Checkable):
    """Has a postscript: a line after the first that begins with P.S. and says something."""

    kind: Literal["postscript"] = "postscript"

    def check(self, text: str) -> Check:
        """Look for the line."""
        found = _POSTSCRIPT.search(text) is not None
        return Check(found, "has a postscript" if found else "no line begins with P.S.")


class NoCommas(Checkable):
    """Holds no comma; an empty text does not pass."""

    kind: Literal["no_commas"] = "no_commas"

    def check(self, text: str) -> Check:
        """Count commas, those of other scripts too."""
        commas = sum(text.count(comma) for comma in ",，、،")
        return Check(commas == 0 and bool(text.strip()), f"{commas} commas" if text.strip() else "an empty text")


class Quoted(Checkable):
    """Stands as a whole in double quotation marks."""

    kind: Literal["quoted"] = "quoted"

    def check(self, text: str) -> Check:
        """Look at the first and the last character."""
        plain = text.strip()
        passed = len(plain) > 2 and plain[0] in '"“' and plain[-1] in '"”'
        return Check(passed, f"goes from {plain[:1]!r} to {plain[-1:]!r}")


class OneOf(Checkable):
    """Is one of these answers and nothing else; case, quotes and a final point apart."""

    kind: Literal["one_of"] = "one_of"
    options: tuple[str, ...] = Field(min_length=1)
    """The allowed answers."""

    def check(self, text: str) -> Check:
        """Compare the whole answer with each option."""
        said = _bare(text)
        passed = any(said == _bare(option) for option in self.options)
        return Check(passed, f"says {text.strip()[:60]!r}")


def _bare(text: str) -> str:
    return text.strip().strip("\"'“”‘’*").rstrip(".!").strip().lower()
