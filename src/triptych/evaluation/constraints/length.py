"""Constraints on length: words, sentences, paragraphs, lines, characters."""

from __future__ import annotations

import re
from typing import Literal

from triptych.evaluation.constraints.check import Check, Counted

WORD = re.compile(r"\w+(?:[-'’.,]\w+)*")
"""A word: letters or digits, with hyphens, apostrophes, points and commas inside (`well-known`, `don't`, `1,200`)."""
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|a\.m|p\.m|No|Jr|Sr)\.", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s|$)|[。！？]+|\n+")


class Words(Counted):
    """So many words."""

    kind: Literal["words"] = "words"

    def check(self, text: str) -> Check:
        """Count the words."""
        return self.counted(len(WORD.findall(text)), "words")


class Sentences(Counted):
    """So many sentences. They end at `.`, `!` or `?` before a space, at their CJK forms, or at a line's end."""

    kind: Literal["sentences"] = "sentences"

    def check(self, text: str) -> Check:
        """Count the sentences; points in decimals and common abbreviations end none."""
        plain = _ABBREVIATION.sub("abbr", text)
        return self.counted(sum(1 for part in _SENTENCE_END.split(plain) if WORD.search(part)), "sentences")


class Paragraphs(Counted):
    """So many paragraphs, set apart by empty lines."""

    kind: Literal["paragraphs"] = "paragraphs"

    def check(self, text: str) -> Check:
        """Count the paragraphs that are not empty."""
        return self.counted(sum(1 for part in re.split(r"\n\s*\n", text) if part.strip()), "paragraphs")


class Lines(Counted):
    """So many lines that are not empty."""

    kind: Literal["lines"] = "lines"

    def check(self, text: str) -> Check:
        """Count the lines that are not empty."""
        return self.counted(sum(1 for line in text.splitlines() if line.strip()), "lines")


class Characters(Counted):
    """So many characters, without the white space around the text."""

    kind: Literal["characters"] = "characters"

    def check(self, text: str) -> Check:
        """Count the characters (Unicode code points)."""
        return self.counted(len(text.strip()), "characters")
