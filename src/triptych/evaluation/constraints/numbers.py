"""How a number is written in a text: 12, -3.5, 1,200, 3/4, 1 1/2, 12%. Exact, and nothing is evaluated."""

from __future__ import annotations

import re
from fractions import Fraction

import msgspec

_WHOLE = r"(?:\d{1,3}(?:[,\u00a0\u202f\u2009]\d{3})++(?!\d)|\d++)"
_DECIMAL = rf"(?:{_WHOLE}(?:\.\d++)?|\.\d++)"
_VULGAR = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_TOP_AND_BOTTOM = dict(
    zip(_VULGAR, "1/4 1/2 3/4 1/7 1/9 1/10 1/3 2/3 1/5 2/5 3/5 4/5 1/6 5/6 1/8 3/8 5/8 7/8".split(), strict=True)
)
_CURRENCY = "$€£¥₹"

NUMBER = re.compile(
    rf"(?<![\w.])(?:(?P<minus>(?<![\w)\]])[-−–](?:\\?[{_CURRENCY}])?)|(?<=[-−–]))?"
    rf"(?:(?P<mixed>\d{{1,9}})[ -](?=\d{{1,9}}/\d))?(?P<top>{_DECIMAL})(?![²³¹⁰-⁹^])(?:\s?/\s?(?P<bottom>{_DECIMAL}))?"
    r"(?P<percent>\s?\\?%|\s?percent\b)?"
)
"""A number in running text. Digits after a letter ("H2O", "x2") or before an exponent ("10²") are none; a minus
counts as a sign only where nothing that it could be taken from stands before it."""

_LONGEST = 100
_AROUND = re.compile(rf"(?:\\text\{{[^{{}}]*\}}|\\?[{_CURRENCY}]|°[CF]?|[^\W\d_]+|\\[,;! ]|[\s.,;:!?*_`\"'()])*")


class Number(msgspec.Struct, frozen=True):
    """A number as it was written."""

    value: Fraction
    """The number before the percent sign: 12 for "12%"."""
    percent: bool
    text: str

    def equals(self, other: Number) -> bool:
        """Whether the two are the same number.

        Exactly; only a fraction whose decimals never end is met by six right digits: 1/3 by 0.333333. A percentage
        equals both its number and its hundredth where the other has no percent sign, as a question in percent leaves
        open which of the two is written.
        """
        if self.percent == other.percent:
            return _same(self.value, other.value)
        whole, share = (other, self) if self.percent else (self, other)
        return _same(whole.value, share.value) or _same(whole.value, share.value / 100)


def spelled_out(text: str) -> str:
    """Write ½ as 1/2, and 1½ as 1 1/2."""
    return re.sub(rf"(\d?)([{_VULGAR}])", lambda m: f"{m[1]} {_TOP_AND_BOTTOM[m[2]]}".lstrip() if m[1] else _TOP_AND_BOTTOM[m[2]], text)


def read_number(found: re.Match[str]) -> Number | None:
    """Read what `NUMBER` found; None where that is longer than 100 characters, or a fraction with nothing below."""
    if len(found[0]) > _LONGEST:
        return None
    value, bottom = _decimal(found["top"]), _decimal(found["bottom"] or "1")
    if not bottom:
        return None
    value = value / bottom + int(found["mixed"] or 0)
    return Number(-value if found["minus"] else value, bool(found["percent"]), found[0].strip())


def lone_number(text: str) -> Number | None:
    r"""The number that a text consists of, apart from a currency, a unit in words and punctuation.

    "12", "$1,200.", "12 apples" and "12\text{ cm}" are such; "12x", "x = 12", "10 to 12" and "\sqrt{2}" are not.
    """
    text = spelled_out(text.strip().strip("$").replace("{,}", ","))
    found = list(NUMBER.finditer(text))
    if len(found) != 1:
        return None
    before, after = text[: found[0].start()], text[found[0].end() :]
    is_alone = _AROUND.fullmatch(before) and _AROUND.fullmatch(after) and not after[:1].isalpha()
    return read_number(found[0]) if is_alone and not re.search(r"\w", before.replace("_", "")) else None


def _decimal(text: str) -> Fraction:
    return Fraction(re.sub(r"[,\u00a0\u202f\u2009]", "", text))


def _same(one: Fraction, other: Fraction) -> bool:
    if one == other:
        return True
    if _ends(one) and _ends(other):
        return False
    return abs(one - other) <= max(abs(one), abs(other)) * Fraction(1, 1_000_000)


def _ends(value: Fraction) -> bool:
    """Whether the decimals of a fraction end: whether its denominator has no prime factor but 2 and 5."""
    bottom = value.denominator
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    return bottom == 1
