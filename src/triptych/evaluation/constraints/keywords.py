"""Constraints on what words a text holds, and how it begins and ends. Case never matters."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from triptych.evaluation.constraints.check import Check, Checkable, Counted

Phrase = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class Includes(Checkable):
    """Holds each of these words or phrases."""

    kind: Literal["includes"] = "includes"
    words: tuple[Phrase, ...] = Field(min_length=1)

    def check(self, text: str) -> Check:
        """Look for each as a whole word or phrase."""
        missing = [word for word in self.words if not occurrences(word, text)]
        return Check(not missing, f"lacks {', '.join(missing)}" if missing else "holds all wanted words")


class Excludes(Checkable):
    """Holds none of these words or phrases."""

    kind: Literal["excludes"] = "excludes"
    words: tuple[Phrase, ...] = Field(min_length=1)

    def check(self, text: str) -> Check:
        """Look for each as a whole word or phrase."""
        present = [word for word in self.words if occurrences(word, text)]
        return Check(not present, f"holds {', '.join(present)}" if present else "holds no unwanted word")


class KeywordCount(Counted):
    """Holds a word or phrase so many times."""

    kind: Literal["keyword_count"] = "keyword_count"
    word: Phrase

    def check(self, text: str) -> Check:
        """Count its occurrences as a whole word or phrase."""
        return self.counted(occurrences(self.word, text), f"times {self.word!r}")


class LetterCount(Counted):
    """Holds a letter so many times."""

    kind: Literal["letter_count"] = "letter_count"
    letter: Annotated[str, StringConstraints(min_length=1, max_length=1)]

    def check(self, text: str) -> Check:
        """Count the letter in either case."""
        return self.counted(text.lower().count(self.letter.lower()), f"times the letter {self.letter!r}")


class StartsWith(Checkable):
    """Begins with these words."""

    kind: Literal["starts_with"] = "starts_with"
    text: Phrase

    def check(self, text: str) -> Check:
        """Compare the beginning, white space and opening quotes apart."""
        begins = text.lstrip().lstrip("\"'“‘*").lower()
        return Check(begins.startswith(self.text.lower()), f"begins with {begins[: len(self.text) + 10]!r}")


class EndsWith(Checkable):
    """Ends with these words."""

    kind: Literal["ends_with"] = "ends_with"
    text: Phrase

    def check(self, text: str) -> Check:
        """Compare the end, white space and closing quotes apart."""
        ends = text.rstrip().rstrip("\"'”’*").lower()
        return Check(ends.endswith(self.text.lower()), f"ends with {ends[-len(self.text) - 10 :]!r}")


def occurrences(phrase: str, text: str) -> int:
    """Count a word or phrase, as whole words, in either case; runs of white space are as one space."""
    pattern = r"\s+".join(re.escape(part) for part in phrase.split())
    before = r"(?<!\w)" if re.match(r"\w", phrase) else ""
    after = r"(?!\w)" if re.search(r"\w$", phrase) else ""
    return len(re.findall(f"{before}{pattern}{after}", text, re.IGNORECASE))
