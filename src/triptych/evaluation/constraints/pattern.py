"""The constraint of matching a regular expression."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError, model_validator
from pydantic_core import SchemaError

from triptych.evaluation.constraints.check import Check


class Regex(BaseModel):
    r"""The text matches a regular expression in the syntax of Rust's `regex` crate, which pydantic brings with it.

    That engine takes time in proportion to pattern times text and refuses patterns that compile to more than 10 MiB,
    so a pattern from a data set can't hang a run, and a verdict does not depend on how fast the machine is. The price:
    look-around and back-references are refused. Letters and digits are Unicode's; `(?i)`, `(?s)`, `(?m)`
    and `(?x)` work; `$` matches at the very end only, and Python's `\Z` is `\z`. Source: docs.rs/regex.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["regex"] = "regex"
    pattern: Annotated[str, StringConstraints(min_length=1)]
    mode: Literal["search", "fullmatch"] = "search"
    """Whether a match anywhere will do, or the whole text, without white space at its ends, must match."""

    @model_validator(mode="after")
    def _compile(self) -> Self:
        # The bare pattern first: "a)(?:b" is no pattern, though it would be one inside the brackets of fullmatch.
        for pattern in (self.pattern, self._anchored):
            _matcher(pattern)
        return self

    @property
    def _anchored(self) -> str:
        return self.pattern if self.mode == "search" else rf"\A(?:{self.pattern})\z"

    def check(self, text: str) -> Check:
        """Look for a match."""
        try:
            _matcher(self._anchored).validate_python(text.strip() if self.mode == "fullmatch" else text)
        except ValidationError:
            return Check(False, f"no {'full ' if self.mode == 'fullmatch' else ''}match of {self.pattern}")
        return Check(True, f"matches {self.pattern}")


@lru_cache(maxsize=1024)
def _matcher(pattern: str) -> TypeAdapter[str]:
    """Compile a pattern. Raises `ValueError`, with the place, where it can't be used."""
    try:
        return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])
    except SchemaError as error:
        reason = str(error).partition("SchemaError: ")[2].strip()
        raise ValueError(f"the pattern can't be used: {reason}") from error
