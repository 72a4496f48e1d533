"""What a checkable constraint is: settings with one method, and what that method says of a text."""

from __future__ import annotations

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

_LONG = 100_000


class Check(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """The outcome of one checkable constraint on one text."""

    passed: bool
    """Whether the text satisfies the constraint."""
    found: str
    """What was found, for a person: "14 words; at most 12 wanted"."""
    share: float | None = None
    """How much of it is satisfied, from 0 to 1, where that is asked for."""


class Checkable(BaseModel):
    """A demand on a text that a program can check, in the manner of IFEval (arXiv:2311.07911)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def check(self, text: str) -> Check:
        """Check one text."""
        raise TypeError(f"{type(self).__name__} is no constraint by itself")

    def may_be_slow(self, text: str) -> bool:
        """Whether checking this text may take so long that the caller does better to wait for it in a thread."""
        return len(text) > _LONG


class Counted(Checkable):
    """A constraint on how many there are of something: at least `min`, at most `max`, both inclusive."""

    min: int | None = Field(default=None, ge=0)
    """The least, inclusive."""
    max: int | None = Field(default=None, ge=0)
    """The most, inclusive."""

    @model_validator(mode="after")
    def _bounded(self) -> Counted:
        if self.min is None and self.max is None:
            raise ValueError("needs min, max, or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self

    def counted(self, count: int, noun: str) -> Check:
        """Hold a count against the bounds."""
        passed = (self.min is None or count >= self.min) and (self.max is None or count <= self.max)
        if self.min == self.max:
            wanted = f"{self.min}"
        else:
            ends = (f"at least {self.min}" * (self.min is not None), f"at most {self.max}" * (self.max is not None))
            wanted = " and ".join(end for end in ends if end)
        return Check(passed, f"{count} {noun}; {wanted} wanted")
