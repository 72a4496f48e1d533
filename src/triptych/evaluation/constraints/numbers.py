"""How numbers are written in a text: 12, -3.5, 1,200, 3/4, 1 1/2, 12%, 1e3, 2 million. Read exactly; nothing is evaluated."""

from __future__ import annotations

import re
from fractions import Fraction

import msgspec

_GROUP = ",\u00a0\u202f\u2009"
"""What may stand between thousands: a comma or one of the spaces that don't break a line."""
_WHOLE = rf"(?:\d{{1,3}}(?:[{_GROUP}]\d{{3}})++(?!\d)|\d++)"
_EXPONENT = r"[eE][-+]?\d++(?![^\W_])"
# An exponent that is there is not given up again. A possessive group would say so, but Python before 3.11.5 gets it wrong.
_DECIMAL = rf"(?:{_WHOLE}(?:\.\d++)?|\.\d++)(?:{_EXPONENT})?(?!{_EXPONENT})"
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SCALE = (
    r"(?:(?:[^\S\n]|-|\\[,; ])?(?P<text>\\text\{\s*)?"
    rf"(?P<scale>(?i:{'|'.join(_SCALES)}))\b(?(text)\s*\}}))?"
)
_CURRENCY = "$€£¥₹"
_VULGAR = {
    "½": "1/2",
    "⅓": "1/3",
    "⅔": "2/3",
    "¼": "1/4",
    "¾": "3/4",
    "⅕": "1/5",
    "⅖": "2/5",
    "⅗": "3/5",
    "⅘": "4/5",
    "⅙": "1/6",
    "⅚": "5/6",
    "⅛": "1/8",
    "⅜": "3/8",
    "⅝": "5/8",
    "⅞": "7/8",
}

NUMBER = re.compile(
    rf"(?<![\w.^])(?<!\d:)(?P<minus>(?<![\w)\]])[-\u2212](?:\\?[{_CURRENCY}])?)?(?<![^\W_])"
    rf"(?:(?P<mixed>\d{{1,9}})[ -](?=\d{{1,9}}/\d))?"
    rf"(?P<top>{_DECIMAL})(?:\s?/\s?(?P<bottom>{_DECIMAL}))?(?![²³¹⁰-⁹^])(?!:\d){_SCALE}"
    r"(?P<percent>\s?\\?%|\s?percent\b)?"
)
"""A number in running text. Digits after a letter ("H2O"), with an exponent ("10²") or in one ("10^2"), and in a time
or ratio ("3:30") are none; a minus counts as a sign only where nothing that it could be taken from stands before it."""

_LONGEST = 100
_HUGE = re.compile(r"[eE][-+]?\d{4}")
_AROUND = re.compile(rf"(?:\\text\{{[^{{}}]*\}}|\\?[{_CURRENCY}]|°|[^\W\d_]+|\\[,;! ]|[\s.,;:!?*_`\"'()])*")


class Number(msgspec.Struct, frozen=True):
    """A number as it was written."""

    value: Fraction
    """The number before the percent sign: 12 for "12%"."""
    percent: bool

    def equals(self, other: Number) -> bool:
        """Whether the two are the same number.

        Exactly; only a fraction whose decimals never end is met by its first six digits: 1/3 by 0.333333. A
        percentage equals its number as well as its hundredth where the other has no percent sign: a question
        in percent leaves open which of the two is written.
        """
        if self.percent == other.percent:
            return _same(self.value, other.value)
        bare, percentage = (other, self) if self.percent else (self, other)
        return _same(bare.value, percentage.value) or _same(bare.value, percentage.value / 100)


_MINUS_IN_WORDS = re.compile(r"(?<![\w)\]}])(?<!\d )(?:minus|negative)\s+(?=\d)", re.IGNORECASE)
"""Not between two numbers, where it takes one from the other."""


def spelled_out(text: str) -> str:
    """Write ½ as 1/2, 1½ as 1 1/2, and minus or negative before a number as a sign."""
    text = _MINUS_IN_WORDS.sub(" -", text)
    for character, fraction in _VULGAR.items():
        if character in text:
            text = re.sub(rf"(?<=\d){character}", f" {fraction}", text).replace(character, fraction)
    return text


def read_number(found: re.Match[str]) -> Number | None:
    """Read what `NUMBER` found. None where it is longer than 100 characters, above 1e999, or divided by nought."""
    if len(found[0]) > _LONGEST or _HUGE.search(found[0]):
        return None
    top, bottom = _decimal(found["top"]), _decimal(found["bottom"] or "1")
    if not bottom:
        return None
    value = (int(found["mixed"] or 0) + top / bottom) * _SCALES.get((found["scale"] or "").lower(), 1)
    return Number(-value if found["minus"] else value, bool(found["percent"]))


def lone_number(text: str) -> Number | None:
    r"""Read a text that is one number, apart from a currency before it, a unit in words after it, and punctuation.

    "12", "$1,200.", "12 apples" and "12\text{ cm}" are such; "12x", "x = 12", "10 to 12" and "\sqrt{2}" are not.
    """
    text = spelled_out(text.strip().replace("{,}", ","))
    found = list(NUMBER.finditer(text))
    if len(found) != 1:
        return None
    before, after = text[: found[0].start()], text[found[0].end() :]
    if re.search(r"[^\W_]", before) or after[:1].isalpha():
        return None
    return read_number(found[0]) if _AROUND.fullmatch(before) and _AROUND.fullmatch(after) else None


def _decimal(text: str) -> Fraction:
    return Fraction(re.sub(f"[{_GROUP}]", "", text))


def _same(one: Fraction, other: Fraction) -> bool:
    if one == other or (_ends(one) and _ends(other)):
        return one == other
    return abs(one - other) <= max(abs(one), abs(other)) * Fraction(1, 1_000_000)


def _ends(value: Fraction) -> bool:
    """Whether the decimals of a number end: whether its denominator has no prime factors but 2 and 5."""
    bottom = value.denominator
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    return bottom == 1
