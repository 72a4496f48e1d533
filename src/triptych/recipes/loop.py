"""The loop of a method with rounds: the policy that comes out of one round answers in the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator

from triptych.models.spec import Model, ModelSpec
from triptych.operators import Evolver, PromptSource, any_of, nested, suggestion

if TYPE_CHECKING:
    _Prompts = PromptSource
    _Evolution = Evolver
else:
    _Prompts, _Evolution = nested("prompts"), nested("evolution")
_SOURCES: TypeAdapter[PromptSource] = TypeAdapter(any_of("prompts"))
_MODEL: TypeAdapter[ModelSpec] = TypeAdapter(Model)
PLACES = ("round", "run", "export", "trained")
"""What texts of a loop may name in braces."""


def _as_tuple(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


def _as_tuple_or_none(value: Any) -> Any:
    return None if value is None else _as_tuple(value)


def _known_places(text: str | None) -> str | None:
    for left in (text or "").split("{")[1:]:
        name, closed, _ = left.partition("}")
        if closed and name not in PLACES:
            raise ValueError(f"{{{name}}} is not one of {', '.join(f'{{{place}}}' for place in PLACES)}")
    return text


class Loop(BaseModel):
    """Rounds of one recipe, each a run of its own in the folders `round-1`, `round-2` ... of the output folder.

    Between two rounds the policy is refreshed: by the command `train`, or by an endpoint that `next` declares for the
    round. Where neither is there the loop ends in order, and goes on when it is run again with one. In `train` and in
    texts of `next` and `prompts`, `{run}` stands for the folder of the round that is over, `{export}` for its training files,
    `{trained}` for the folder where training leaves the new policy, and `{round}` for the number of the round to come.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rounds: int = Field(ge=2, le=1000)
    """Rounds in all."""
    refresh: str = "policy"
    """The model that is another one in each round: a name under `models`."""
    train: Annotated[str | None, AfterValidator(_known_places)] = None
    """A command that trains the policy, run without a shell after each round but the last."""
    next: Annotated[tuple[Model, ...], BeforeValidator(_as_tuple, json_schema_input_type=Model | list[Model])] = ()
    """The policy of each later round: one for each, or with `train` a single one for all. Where `train` is given and
    this is not, the policy is at the same address as before, under the version `round-2`, `round-3` ..."""
    prompts_per_round: int | None = Field(default=None, ge=1)
    """Prompts of a round, which follow those of the round before; None takes all in every round. Where later rounds
    have `prompts` of their own, the first so many of them."""
    prompts: Annotated[
        tuple[_Prompts, ...], BeforeValidator(_as_tuple, json_schema_input_type=_Prompts | list[_Prompts])
    ] = ()
    """Where the prompts of later rounds come from: one source for all, or one for each round after the first, of which
    the last goes on. `{kind: run, path: "{run}"}` takes those of the round before. Empty takes the recipe's own."""
    evolution: Annotated[
        tuple[_Evolution, ...] | None,
        BeforeValidator(_as_tuple_or_none, json_schema_input_type=_Evolution | list[_Evolution] | None),
    ] = None
    """What makes prompts of prompts in later rounds; None does what the first does."""
    replay: float = Field(default=0.0, ge=0, le=1)
    """The share of the examples of each earlier round, drawn by the recipe's seed, that a later round's training files
    hold as well, so that what was learnt is not forgotten."""

    @model_validator(mode="after")
    def _as_many_as_rounds(self) -> Loop:
        for name, given, what in (("next", self.next, "policies"), ("prompts", self.prompts, "sources")):
            if len(given) >= self.rounds:
                raise ValueError(f"{name} has {len(given)} {what} for the {self.rounds - 1} rounds after the first")
        return self

    def problems(self, models: Mapping[str, ModelSpec]) -> Iterator[tuple[str, str]]:
        """Say what does not fit the recipe: (field, message)."""
        if self.refresh not in models:
            yield "refresh", f"model {self.refresh!r} is not declared under models{suggestion(self.refresh, models)}"

    def policy(self, number: int, before: ModelSpec, places: Mapping[str, str]) -> ModelSpec | None:
        """The policy of round `number`, from 2; None where the loop does not know it yet.

        Its version is `round-N` unless it declares one, so that nothing that an earlier policy said counts as its own.
        """
        if self.train is None:
            if len(self.next) < number - 1:
                return None
            declared: ModelSpec = self.next[number - 2]
        else:
            declared = before if not self.next else self.next[min(number - 2, len(self.next) - 1)]
        written = declared.model_dump(mode="json", exclude_defaults=True)
        if declared is before or not declared.version:
            written["version"] = f"round-{number}"
        return _MODEL.validate_python({name: filled_in(value, places) for name, value in written.items()})

    def source(self, number: int, places: Mapping[str, str]) -> PromptSource | None:
        """Where the prompts of round `number`, from 2, come from; None for where the recipe's come from."""
        if not self.prompts:
            return None
        declared: Any = self.prompts[min(number - 2, len(self.prompts) - 1)]
        return _SOURCES.validate_python(filled_in(declared.model_dump(mode="json", exclude_defaults=True), places))


def filled_in(value: Any, places: Mapping[str, str]) -> Any:
    """Put what they stand for in place of names in braces, in texts and in all that holds some."""
    if isinstance(value, dict):
        return {name: filled_in(inner, places) for name, inner in value.items()}
    if isinstance(value, list):
        return [filled_in(inner, places) for inner in value]
    if isinstance(value, str):
        for name, text in places.items():
            value = value.replace(f"{{{name}}}", text)
    return value


def places_of(out: Path, number: int) -> dict[str, str]:
    """What the names in braces stand for between round `number` and the one after it."""
    run = (out / f"round-{number}").resolve()
    return {
        "round": str(number + 1),
        "run": str(run),
        "export": str(run / "export" / "trl"),
        "trained": str(run / "trained"),
    }
