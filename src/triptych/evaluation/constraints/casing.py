"""Constraints on upper and lower case."""

from __future__ import annotations

from typing import Literal

from triptych.evaluation.constraints.check import Check, Checkable, Counted
from triptych.units import words


class AllLowercase(Checkable):
    """Has letters, and no capital one."""

    kind: Literal["all_lowercase"] = "all_lowercase"

    def check(self, text: str) -> Check:
        """Count capital letters."""
        capitals = sum(1 for letter in text if letter.isupper())
        letters = any(letter.isupper() or letter.islower() for letter in text)
        return Check(letters and capitals == 0, f"{capitals} capital letters" if letters else "no letter at all")


class AllUppercase(Checkable):
    """Has letters, and no small one."""

    kind: Literal["all_uppercase"] = "all_uppercase"

    def check(self, text: str) -> Check:
        """Count small letters."""
        small = sum(1 for letter in text if letter.islower())
        letters = any(letter.isupper() or letter.islower() for letter in text)
        return Check(letters and small == 0, f"{small} small letters" if letters else "no letter at all")


class CapitalWords(Counted):
    """So many words in capitals throughout; single letters do not count."""

    kind: Literal["capital_words"] = "capital_words"

    def check(self, text: str) -> Check:
        """Count words of two letters and more that are all capitals."""
        capital = [word for word in words(text) if word.isupper() and sum(map(str.isalpha, word)) > 1]
        return self.counted(len(capital), "words in capitals")
