"""Constraints on what words a text holds, and how it begins and ends. Case never matters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from triptych.evaluation.constraints.check import Check, Checkable, Counted
from triptych.units import occurrences

Phrase = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
_OPENING = "\"'“‘«([*_#> "
_QUOTES = "\"'”’»)]*_"
_CLOSING = "\"'”’»)]*_.!?… "


class Includes(Checkable):
    """Holds each of these words or phrases."""

    kind: Literal["includes"] = "includes"
    words: tuple[Phrase, ...] = Field(min_length=1)
    """Words or phrases that must all occur."""

    def check(self, text: str) -> Check:
        """Look for each as a whole word or phrase."""
        missing = [word for word in self.words if not occurrences(word, text)]
        return Check(not missing, f"lacks {', '.join(missing)}" if missing else "holds all wanted words")


class Excludes(Checkable):
    """Holds none of these words or phrases."""

    kind: Literal["excludes"] = "excludes"
    words: tuple[Phrase, ...] = Field(min_length=1)
    """Words or phrases that must not occur."""

    def check(self, text: str) -> Check:
        """Look for each as a whole word or phrase."""
        present = [word for word in self.words if occurrences(word, text)]
        return Check(not present, f"holds {', '.join(present)}" if present else "holds no unwanted word")


class KeywordCount(Counted):
    """Holds a word or phrase so many times."""

    kind: Literal["keyword_count"] = "keyword_count"
    word: Phrase
    """The word or phrase to count."""

    def check(self, text: str) -> Check:
        """Count its occurrences as a whole word or phrase."""
        return self.counted(occurrences(self.word, text), f"times {self.word!r}")


class LetterCount(Counted):
    """Holds a letter so many times."""

    kind: Literal["letter_count"] = "letter_count"
    letter: Annotated[str, StringConstraints(min_length=1, max_length=1)]
    """The letter to count, whatever its case."""

    def check(self, text: str) -> Check:
        """Count the letter in either case."""
        return self.counted(text.lower().count(self.letter.lower()), f"times the letter {self.letter!r}")


class StartsWith(Checkable):
    """Begins with these words."""

    kind: Literal["starts_with"] = "starts_with"
    text: Phrase
    """What must stand at the beginning."""

    def check(self, text: str) -> Check:
        """Compare the beginning, opening quotes and markup apart."""
        begins = " ".join(text.split())
        passed = any(_begins(each, self.text) for each in (begins, begins.lstrip(_OPENING)))
        return Check(passed, f"begins with {begins[: len(self.text) + 10]!r}")


class EndsWith(Checkable):
    """Ends with these words; quotes, and `.`, `!` and `?` after them, make no difference unless they were asked for."""

    kind: Literal["ends_with"] = "ends_with"
    text: Phrase
    """What must stand at the end."""

    def check(self, text: str) -> Check:
        """Compare the end, closing quotes and markup apart."""
        ends = " ".join(text.split())
        passed = any(
            _begins(each[::-1], self.text[::-1]) for each in (ends, ends.rstrip(_QUOTES), ends.rstrip(_CLOSING))
        )
        return Check(passed, f"ends with {ends[-len(self.text) - 10 :]!r}")


def _begins(text: str, start: str) -> bool:
    """Whether a text begins with these whole words, in either case; read backwards, whether it ends with them."""
    wanted = " ".join(start.split())
    head, rest = text[: len(wanted)], text[len(wanted) :]
    cut_off = rest[:1].isalnum() and wanted[-1].isascii() and wanted[-1].isalnum()
    return head.replace("’", "'").lower() == wanted.replace("’", "'").lower() and not cut_off
