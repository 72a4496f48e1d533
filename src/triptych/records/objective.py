"""The objective: the criteria that responses are judged on, and what each is worth."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from triptych.records.ids import content_id


class Criterion(BaseModel):
    """One thing that makes a response better or worse."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    text: str = Field(min_length=1)
    """What to look for, in words that a judge is shown."""
    weight: float = Field(default=1.0, ge=0)
    """Its share when scores of several criteria are joined; applied when instantiating, so changing it costs no call."""
    kind: Literal["soft", "hard"] = "soft"
    """`hard` criteria are constraints: meant to be met, not traded."""

    @cached_property
    def id(self) -> str:
        """The criterion's identity: its text and kind. Its weight and its name are not part of it."""
        return content_id("c", [self.text, self.kind])


class Objective(BaseModel):
    """What the data is meant to teach: named criteria, under a version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = "v1"
    """Declared version, written into every judgement and example."""
    criteria: dict[str, Criterion] = Field(default_factory=dict)
    """Criteria by their names."""
