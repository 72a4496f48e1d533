"""Where a recipe's method comes from, its place in the taxonomy, and what of it is left to the trainer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Text = Annotated[str, Field(min_length=1)]
Adjudicator = Literal["human", "judge", "self", "reward_model", "implicit", "verifier", "given"]


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class Place(BaseModel):
    """A method's place on the axes of the survey (arXiv:2605.26442)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Literal["offline", "online", "mixed"]
    """Where the method's own data come from, by its paper: given responses or another model's, the policy's own, or both.
    Which responses this recipe samples is in its synthesis."""
    selection: Literal["random", "margin", "uncertainty"] = "random"
    """How responses or pairs are chosen among those that there are."""
    exploration: Literal["none", "verbalized", "spanning", "diversity", "multi_signal"] = "none"
    """What is done against responses that are all alike."""
    granularity: Literal["outcome", "step", "atomic"] = "outcome"
    """What is judged: whole responses, steps, or sentences, facts and tokens."""
    dimensions: Literal["one", "several"] = "one"
    """Criteria that are kept apart."""
    form: Literal["point", "pair", "group"]
    """How many responses one training example relates."""
    adjudicator: Annotated[
        tuple[Adjudicator, ...],
        Field(min_length=1),
        BeforeValidator(_as_tuple, json_schema_input_type=Adjudicator | list[Adjudicator]),
    ] = ()
    """Who judges, by its paper, one or several, or none where it is not said: people; another language model, as it is or tuned; the policy itself; a
    reward model of scores or pairs; log-probabilities of the policy or a reference; a rule, test or statistic that a program
    works out; or nobody, where the labels come with the data or with how they were made. Who judges in this recipe is in its
    evaluation."""

    def options(self) -> dict[str, tuple[str, ...]]:
        """The options on each axis; several on `adjudicator` alone."""
        return {axis: value if isinstance(value, tuple) else (value,) for axis, value in self}


AXES = tuple(Place.model_fields)


class Method(BaseModel):
    """A published method as this recipe runs it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Text
    """Of the paper, or what the method is called where it has none."""
    year: int = Field(ge=2000, le=2100)
    """When it was first published."""
    arxiv: str | None = Field(default=None, pattern=r"^\d{4}\.\d{4,5}$")
    """Its arXiv id, if it has one."""
    place: Place
    """Its place in the taxonomy."""
    survey: dict[str, str] | None = None
    """Axes on which the survey's own table of 41 methods says something else, and what it says; None where the method is
    not in that table."""
    also: tuple[Text, ...] = ()
    """Other methods whose flow of data is the same."""
    data: Text
    """What of the method is data: what this recipe makes."""
    loss: str = ""
    """What of the method is its loss, and left to the trainer."""
    approximated: str = ""
    """What this recipe does otherwise than the paper."""
    trl: dict[str, Any] = Field(default_factory=dict)
    """Settings of TRL: `trainer`, the trainer's class, and what its configuration is given."""
