"""What texts are counted in: words, sentences, paragraphs, lines. Definitions for any script, none needs a model."""

from __future__ import annotations

import re

_AROUND_WORDS = "".join(chr(code) for code in range(33, 127) if not chr(code).isalnum()) + "…“”‘’«»"
_UNSPACED = "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Kana and Han characters: scripts that put no space between words."""

_TOKEN = re.compile(rf"[{_UNSPACED}]|(?:(?!--)[^\s—{_UNSPACED}])+")
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
_ONE_UNSPACED = re.compile(f"[{_UNSPACED}]")
_LIST_MARK = re.compile(r"\s*(?:[-*•]|\d+[.)])\s+")
_SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]*_]*+(?=\s|$)|[。！？]+[”’」』）]*")
_NOT_BLANK = re.compile(r"\S")
_LONGEST_ABBREVIATION = 40
"""In characters, with the brackets and quotes before it."""
_ABBREVIATIONS = frozenset(
    {"mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "e.g", "i.e", "cf", "approx", "no", "fig", "vol"}
    | {"dept", "inc", "ltd", "a.m", "p.m", "u.s", "u.k", "etc"}
)
_MAY_END_A_SENTENCE = frozenset({"inc", "ltd", "a.m", "p.m", "u.s", "u.k", "jr", "sr", "no", "etc"})


def words(text: str) -> list[str]:
    """Split a text into words.

    A word is a run of characters without white space or dash (— or --) that holds a letter or a digit: "well-known",
    "don't" and "12.5" are one word each, a lone "-", "&" or emoji is none. Each kana or Han character is a word of
    its own. Runs of Thai, Lao, Khmer and Burmese, which have no spaces either, count as one word.
    """
    return list(filter(_LETTER_OR_DIGIT.search, _TOKEN.findall(text)))


def bare_words(text: str) -> list[str]:
    """The words of a text in lower case, without the marks around them."""
    return [word.casefold().strip(_AROUND_WORDS) for word in words(text)]


def lines(text: str) -> list[str]:
    """The lines of a text that are not blank."""
    return [line for line in text.splitlines() if line.strip()]


def paragraphs(text: str) -> list[str]:
    """The blocks of a text between blank lines."""
    return [block for block in re.split(r"\n[^\S\n]*(?:\n[^\S\n]*)+", "\n".join(text.splitlines())) if block.strip()]


def sentences(text: str) -> list[str]:
    """Split a text into sentences.

    A sentence ends at . ! ? … or their Chinese and Japanese forms before white space, at a blank line, and before
    the next item of a list. Decimals, initials ("J. Smith"), common English abbreviations ("Dr.", "e.g.") and three
    dots before a small letter end none. A sentence holds at least one letter or digit.
    """
    return [sentence for item in _items(text) for sentence in _split(item) if any(map(str.isalnum, sentence))]


def _items(text: str) -> list[str]:
    """Blocks and list items of a text, without the marks of the lists."""
    items: list[list[str]] = []
    for paragraph in paragraphs(text):
        starts_anew = True
        for line in paragraph.split("\n"):
            mark = _LIST_MARK.match(line)
            if starts_anew or mark:
                items.append([line[mark.end() :] if mark else line])
            else:
                items[-1].append(line)
            starts_anew = False
    return ["\n".join(lines) for lines in items]


def _split(item: str) -> list[str]:
    found, start = [], 0
    for end in _SENTENCE_END.finditer(item):
        before = item[max(start, end.start() - _LONGEST_ABBREVIATION) : end.start()]
        after = _NOT_BLANK.search(item, end.end())
        if not _goes_on(before, end.group(), after[0] if after else ""):
            found.append(item[start : end.end()])
            start = end.end()
    return [*found, item[start:]]


def _goes_on(before: str, mark: str, after: str) -> bool:
    """Whether a sentence goes on between two pieces of text, after a mark that could end it."""
    if not after:
        return False
    if mark.startswith(("...", "…")) or mark[-1] in "\"'”’»":
        return after[0].islower()
    if not mark.startswith("."):
        return False
    last = "".join(before.rsplit(None, 1)[-1:]).lstrip("(\"'“‘*_").lower()
    if last in _MAY_END_A_SENTENCE:
        return not after[0].isupper()
    return last in _ABBREVIATIONS or (len(last) == 1 and last.isalpha() and last not in "i")


def occurrences(phrase: str, text: str) -> int:
    """How often a word or phrase occurs in a text as whole words, without overlap, in whatever case.

    Curly apostrophes equal straight ones, and white space inside the phrase matches any white space. Next to kana
    and Han characters no word boundary is asked for.
    """
    body = r"\s+".join(re.escape(part) for part in _folded(phrase).split())
    return len(
        re.findall(f"{_boundary(phrase.strip()[:1], '<!')}{body}{_boundary(phrase.strip()[-1:], '!')}", _folded(text))
    )


def _folded(text: str) -> str:
    return text.replace("’", "'").casefold()


def _boundary(edge: str, look: str) -> str:
    """A pattern that refuses a letter or digit beside a phrase that begins or ends with one."""
    if not edge.isalnum() or _ONE_UNSPACED.match(edge):
        return ""
    return f"(?{look}[^\\W{_UNSPACED}])"
