"""Constraints on length: words, sentences, paragraphs, lines, characters."""

from __future__ import annotations

from typing import Literal

from triptych.evaluation.constraints.check import Check, Counted
from triptych.units import lines, paragraphs, sentences, words


class Words(Counted):
    """So many words, as `units.words` counts them."""

    kind: Literal["words"] = "words"

    def check(self, text: str) -> Check:
        """Count the words."""
        return self.counted(len(words(text)), "words")


class Sentences(Counted):
    """So many sentences, as `units.sentences` counts them."""

    kind: Literal["sentences"] = "sentences"

    def check(self, text: str) -> Check:
        """Count the sentences."""
        return self.counted(len(sentences(text)), "sentences")


class Paragraphs(Counted):
    """So many paragraphs, set apart by empty lines."""

    kind: Literal["paragraphs"] = "paragraphs"

    def check(self, text: str) -> Check:
        """Count the paragraphs that are not empty."""
        return self.counted(len(paragraphs(text)), "paragraphs")


class Lines(Counted):
    """So many lines that are not empty."""

    kind: Literal["lines"] = "lines"

    def check(self, text: str) -> Check:
        """Count the lines that are not empty."""
        return self.counted(len(lines(text)), "lines")


class Characters(Counted):
    """So many characters, without the white space around the text."""

    kind: Literal["characters"] = "characters"

    def check(self, text: str) -> Check:
        """Count the characters (Unicode code points)."""
        return self.counted(len(text.strip()), "characters")
