"""Types of fields that generators share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from triptych.records import Message


def _as_tuple(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


def _as_written(value: tuple[object, ...]) -> object:
    return value[0] if len(value) == 1 else list(value)


_Serialise = PlainSerializer(_as_written)
_OneOrMoreTexts = BeforeValidator(_as_tuple, json_schema_input_type=str | list[str])
Names = Annotated[tuple[str, ...], Field(min_length=1), _OneOrMoreTexts, _Serialise]
Texts = Annotated[tuple[str, ...], _OneOrMoreTexts, _Serialise]
Temperature = Annotated[float, Field(ge=0, le=2)]
Temperatures = Annotated[
    tuple[Temperature, ...],
    Field(min_length=1),
    BeforeValidator(_as_tuple, json_schema_input_type=Temperature | list[Temperature]),
    _Serialise,
]


Share = Annotated[float, Field(ge=0, le=1)]
Shares = tuple[Share, ...]


class Shot(BaseModel):
    """A prompt with a good response to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(min_length=1)
    """What the user says."""
    response: str = Field(min_length=1)
    """What the assistant answers."""

    def turns(self) -> tuple[Message, Message]:
        """The two as messages."""
        return Message("user", self.prompt), Message("assistant", self.response)
