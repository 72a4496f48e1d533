"""The language that a text is written in."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from pydantic import Field

from triptych.errors import MissingExtra
from triptych.evaluation.constraints.check import Check, Checkable


class Language(Checkable):
    """Is written in a language. Needs the extra `verify`; a few words are too little to tell for sure."""

    kind: Literal["language"] = "language"
    code: str = Field(pattern="^[a-z]{2}$")
    """ISO 639-1 code, such as `en`."""

    def check(self, text: str) -> Check:
        """Identify the language by its letter sequences (langid, Lui and Baldwin 2012)."""
        if not any(letter.isalpha() for letter in text):
            return Check(False, "no letter at all")
        code, _ = _identifier().classify(text)
        return Check(code == self.code, f"looks like {code}")


@cache
def _identifier() -> Any:
    try:
        import py3langid
    except ImportError as error:
        raise MissingExtra("the constraint language needs: pip install 'triptych[verify]'") from error
    return py3langid
