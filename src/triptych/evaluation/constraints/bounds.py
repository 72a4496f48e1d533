"""The bounds of a constraint that counts something."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from triptych.evaluation.constraints.check import Check

Count = Annotated[int, Field(ge=0)]


class Bounds(BaseModel):
    """How many there may be of what a constraint counts. One of the bounds is needed; equal bounds say exactly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: Count | None = None
    """At least so many."""
    max: Count | None = None
    """At most so many."""

    @model_validator(mode="after")
    def _allow_something(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min == 0 and self.max is None:
            raise ValueError("min: 0 demands nothing; give max, or a min of 1 or more")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max}): no text can satisfy this")
        return self

    def _judge(self, count: int, one: str, many: str | None = None) -> Check:
        """Say whether a count is within the bounds: "14 words; at most 12 allowed"."""
        passed = (self.min is None or count >= self.min) and (self.max is None or count <= self.max)
        return Check(passed, f"{count:,} {one if count == 1 else many or one + 's'}; {self._allowed()}")

    def _allowed(self) -> str:
        if self.min == self.max:
            return f"exactly {self.min:,} wanted"
        if self.max is None:
            return f"at least {self.min:,} wanted"
        return f"at most {self.max:,} allowed" if not self.min else f"{self.min:,} to {self.max:,} wanted"
