"""The constraint of being written in a given language."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from triptych.errors import MissingExtra
from triptych.evaluation.constraints.check import Check, Checkable


class Language(Checkable):
    """The text is in a language, by py3langid's guess among the ISO 639-1 languages. Needs the extra `verify`.

    The guess is poor on texts of a few words ("Hola amigo" passes for Zulu) and between close relatives (hr
    and sr, id and ms), and it depends on the version of py3langid. Source: Lui and Baldwin, "langid.py", ACL
    2012.
    """

    kind: Literal["language"] = "language"
    language: Annotated[str, StringConstraints(pattern="^[a-z]{2}$")]
    """Its ISO 639-1 code, such as `de`."""

    def check(self, text: str) -> Check:
        """Guess the language.

        Raises `MissingExtra` where py3langid is not installed, `ValueError` where it does not know the language.
        """
        try:
            import py3langid
        except ImportError as error:
            raise MissingExtra("the constraint language needs: pip install 'triptych[verify]'") from error
        guesses = [str(code) for code, _ in py3langid.rank(text) if len(code) == 2]
        if self.language not in guesses:
            known = " ".join(sorted(guesses))
            raise ValueError(f"{self.language!r} is none of the languages that py3langid can tell: {known}")
        if not any(map(str.isalpha, text)):
            return Check(False, "no letters to tell a language by")
        return Check(guesses[0] == self.language, f"written in {guesses[0]}; {self.language} wanted")
