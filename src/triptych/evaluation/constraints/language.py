"""The constraint of being written in a given language."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from triptych.errors import MissingExtra
from triptych.evaluation.constraints.check import Check


class Language(BaseModel):
    """The text is written in a language, by the guess of py3langid among the ISO 639-1 languages that it knows.

    The guess is poor on texts of a few words ("Hola amigo" passes for Zulu) and between close relatives (hr and sr,
    id and ms), and it depends on the version of py3langid. Source: Lui and Baldwin, "langid.py", ACL 2012.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["language"] = "language"
    language: Annotated[str, StringConstraints(pattern="^[a-z]{2}$")]
    """Its ISO 639-1 code, such as `de`."""

    def check(self, text: str) -> Check:
        """Guess the language.

        Raises `MissingExtra` where py3langid is not installed, and `ValueError` where it does not know the language.
        """
        try:
            import py3langid
        except ImportError as error:
            raise MissingExtra("language needs py3langid: pip install 'triptych[verify]'") from error
        guesses = [str(code) for code, _ in py3langid.rank(text) if len(code) == 2]
        if self.language not in guesses:
            raise ValueError(f"{self.language!r} is none of the languages that can be told: {' '.join(sorted(guesses))}")
        if not any(map(str.isalpha, text)):
            return Check(False, "no letters to tell a language by")
        return Check(guesses[0] == self.language, f"written in {guesses[0]}; {self.language} wanted")
