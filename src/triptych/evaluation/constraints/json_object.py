"""The constraint that the whole answer is JSON, and how JSON is read from an answer."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict

from triptych.evaluation.constraints.check import Check

_FENCED = re.compile(r"```[\w-]*[^\S\n]*\n(.*)```", re.DOTALL)


class Json(BaseModel):
    """The whole answer is one JSON object or list, in a code fence or bare. A lone number, text or null is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["json"] = "json"
    keys: tuple[str, ...] = ()
    """Keys that must be there; then only an object will do."""

    def check(self, text: str) -> Check:
        """Read the answer as JSON."""
        try:
            value = read_json(text)
        except ValueError as error:
            return Check(False, str(error))
        if not isinstance(value, dict) and (self.keys or not isinstance(value, list)):
            return Check(False, f"JSON, but not an object{'' if self.keys else ' or a list'}")
        missing = [key for key in self.keys if key not in value]
        if missing:
            return Check(False, f"a JSON object without {', '.join(missing)}")
        return Check(True, "a JSON object" if isinstance(value, dict) else "a JSON list")


def read_json(text: str) -> Any:
    """Read an answer that is wholly JSON, as the standard has it (no NaN), bare or in one code fence.

    Raises `ValueError`, saying what is wrong, where it is not.
    """
    fenced = _FENCED.fullmatch(text.strip())
    try:
        return msgspec.json.decode(fenced[1] if fenced else text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
