"""ROUGE-L: how alike two texts are, by the longest sequence of words that both have in the same order."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+")


def rouge_l(one: str, other: str) -> float:
    """The F-measure of ROUGE-L, in [0, 1]; 0 where a text has no words (C.-Y. Lin, 2004, aclanthology.org/W04-1013).

    Words are runs of letters and digits in lower case, without stemming: of English text the same as those of the
    package rouge-score.
    """
    words, others = words_of(one), words_of(other)
    if not words or not others:
        return 0.0
    return 2 * longest_common_subsequence(words, others) / (len(words) + len(others))


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORD.findall(text.lower())


def longest_common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest sequence that both hold in the same order, not necessarily in one piece.

    A row of the usual table is the bits of one whole number (H. Hyyro, 2004), so that a step of it is one addition.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    whole = row = (1 << len(one)) - 1
    for word in other:
        met = row & places.get(word, 0)
        row = ((row + met) | (row - met)) & whole
    return len(one) - row.bit_count()
