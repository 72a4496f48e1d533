"""The constraint of answering with one of given options."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from triptych.evaluation.constraints.check import Check

Option = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class OneOf(BaseModel):
    """The whole answer is one of the options, in whatever case.

    Quotation marks and markup around it, and a final `.` or `!`, are overlooked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["one_of"] = "one_of"
    options: Annotated[tuple[Option, ...], Field(min_length=1)]

    def check(self, text: str) -> Check:
        """Compare the answer with each option."""
        answer = _bare(text)
        chosen = next((option for option in self.options if _bare(option) == answer), None)
        if chosen is not None:
            return Check(True, f"the answer is “{chosen}”")
        shown = " ".join(text.split())
        return Check(False, f"“{shown[:60]}{'…' if len(shown) > 60 else ''}” is not one of: {', '.join(self.options)}")


def _bare(answer: str) -> str:
    return " ".join(answer.replace("’", "'").casefold().split()).strip("\"'“”‘*_`").rstrip(".!").strip("\"'“”‘*_` ")
