"""The recipe: three panels, prompts, models, objective and budget, as one value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from triptych.models.budget import Budget
from triptych.models.spec import Model, ModelSpec
from triptych.operators import (
    Evaluator,
    Evolver,
    Generator,
    Instantiator,
    Operator,
    PromptSource,
    any_of,
    suggestion,
    with_inner,
)
from triptych.recipes.compatibility import ill_posed, misplaced
from triptych.recipes.loop import Loop
from triptych.recipes.method import Method
from triptych.records import Objective, Prompt, content_id

if TYPE_CHECKING:
    _Prompts = PromptSource
    _Evolution = Evolver
    _Synthesis = Generator
    _Evaluation = Evaluator
    _Instantiation = Instantiator
else:  # which operators there are is known only when running: installed packages add theirs
    _Prompts, _Evolution, _Synthesis = any_of("prompts"), any_of("evolution"), any_of("synthesis")
    _Evaluation, _Instantiation = any_of("evaluation"), any_of("instantiation")


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _not_empty(operators: tuple[Any, ...]) -> tuple[Any, ...]:
    if not operators:
        raise ValueError("is empty; name at least one operator")
    return operators


class Recipe(BaseModel):
    """A pipeline as a value: equal whether it was written in YAML or in Python.

    Raises `pydantic.ValidationError` where a field is wrong, or a model or criterion is used that is not declared;
    `triptych.load_recipe` turns that into a `RecipeError` with lines.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)
    """Names the pipeline; a run folder belongs to the recipe of this name."""
    description: str = ""
    """For people; not part of the recipe's identity."""
    method: Method | None = None
    """The published method that it runs; not part of the recipe's identity."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """All random draws follow from it."""
    models: dict[str, Model] = Field(default_factory=dict)
    """The models by their names in this recipe."""
    prompts: _Prompts
    """Where the prompts come from."""
    evolution: Annotated[
        tuple[_Evolution, ...], BeforeValidator(_as_list, json_schema_input_type=_Evolution | list[_Evolution])
    ] = ()
    """What makes prompts of each prompt, before panel 1, one after the other."""
    synthesis: Annotated[
        tuple[_Synthesis, ...],
        BeforeValidator(_as_list, json_schema_input_type=_Synthesis | list[_Synthesis]),
        AfterValidator(_not_empty),
    ]
    """Panel 1: who answers."""
    objective: Objective = Objective()
    """What responses are judged on: an `Objective`."""
    evaluation: Annotated[
        tuple[_Evaluation, ...], BeforeValidator(_as_list, json_schema_input_type=_Evaluation | list[_Evaluation])
    ] = ()
    """Panel 2: who judges."""
    instantiation: Annotated[
        tuple[_Instantiation, ...],
        BeforeValidator(_as_list, json_schema_input_type=_Instantiation | list[_Instantiation]),
    ] = ()
    """Panel 3: from verdicts to training examples."""
    budget: Budget = Budget()
    """What the run may spend: a `Budget`."""
    loop: Loop | None = None
    """Rounds with a policy that is refreshed in between: a `Loop`."""

    @property
    def id(self) -> str:
        """Hash of all that the recipe says, apart from its description, its method and its budget."""
        return content_id(
            "recipe", self.model_dump(mode="json", exclude_defaults=True, exclude={"description", "method", "budget"})
        )

    @property
    def judges(self) -> dict[str, Any]:
        """The evaluators that can say again what they asked and answered, by the `evaluator_id` of their judgements."""
        asking = [judge for judge in self.evaluation if hasattr(judge, "asked") and hasattr(judge, "known_as")]
        return {judge.known_as(self.models): judge for judge in asking}

    @model_validator(mode="after")
    def _holds_together(self) -> Recipe:
        problems = list(self._problems())
        if problems:
            said = "; ".join(f"{field}: {message}" for field, message in problems)
            raise PydanticCustomError("recipe", "{said}", {"said": said, "problems": problems})
        return self

    def _problems(self) -> Iterator[tuple[str, str]]:
        """Whatever is used and not declared, field by field."""
        if self.budget.usd is not None:
            for name, spec in self.models.items():
                if spec.price is None:
                    said = "has no price, so the budget could not hold; declare one (0 for a server of your own)"
                    yield f"models.{name}.price", said
        if self.loop is not None:
            yield from ((f"loop.{field}", said) for field, said in self.loop.problems(self.models))
            for place, operator in enumerate(self.loop.evolution or ()):
                yield from self._problems_of(f"loop.evolution.{place}", operator)
        yield from self._mistaken_for_another()
        for panel in ("evolution", "synthesis", "evaluation", "instantiation"):
            for place, operator in enumerate(getattr(self, panel)):
                yield from self._problems_of(f"{panel}.{place}", operator)
        yield from misplaced(self)
        yield from ill_posed(self)

    def _problems_of(self, field: str, operator: Any) -> Iterator[tuple[str, str]]:
        for name in ("criteria", "model"):
            given = getattr(operator, name, None)
            meant = self._identities if name == "model" else {}
            if isinstance(given, tuple) and len({meant.get(each, each) for each in given}) < len(given):
                yield f"{field}.{name}", "names the same one twice"
        missing = list(_undeclared_models(operator, self.models))
        yield from ((f"{field}.model", message) for message in missing)
        if not missing:
            yield from ((f"{field}.model", message) for message in _unfit_models(operator, self.models))
        check = getattr(operator, "problems", None)
        if check is not None and not missing:
            yield from ((f"{field}.{place}", said) for place, said in check(self.models, self.objective))
        for name, inner in getattr(operator, "inner", {}).items():
            yield from self._problems_of(f"{field}.{name}", inner)

    @property
    def _identities(self) -> dict[str, bytes]:
        """What the names of the models stand for: two may stand for one."""
        return {name: spec.identity for name, spec in self.models.items()}

    def prepare(self, folder: Path) -> None:
        """Have each operator look at the files that it reads. Raises `PromptError` where one can't be used."""
        for _, operator in self._working:
            if hasattr(operator, "prepare"):
                operator.prepare(folder)

    def lacking(self, prompt: Prompt) -> str | None:
        """Say what a prompt lacks that an operator can't do without, and which."""
        for field, lacking in self._particular:
            if (said := lacking(prompt)) is not None:
                return f"{field}: {said}"
        return None

    @cached_property
    def _particular(self) -> list[tuple[str, Callable[[Prompt], str | None]]]:
        """How the operators look at a prompt that don't take every one; those of others need not say."""
        return [
            (field, operator.lacking)
            for field, operator in self._working
            if getattr(type(operator), "lacking", Operator.lacking) is not Operator.lacking
        ]

    @property
    def _working(self) -> Iterator[tuple[str, Any]]:
        """The operators that work on prompts, and those that they hold, each with its place in the recipe."""
        for panel in ("evolution", "synthesis", "evaluation"):
            for place, operator in enumerate(getattr(self, panel)):
                yield from with_inner(f"{panel}.{place}", operator)

    def _mistaken_for_another(self) -> Iterator[tuple[str, str]]:
        """Whatever has the identity of something before it: its rows would have the same ids."""
        for one, other in combinations(self.objective.criteria, 2):
            if self.objective.criteria[one].id == self.objective.criteria[other].id:
                yield f"objective.criteria.{other}", f"says the same as the criterion {one!r}"
        for one, other in combinations(self.models, 2):
            first, second = self.models[one], self.models[other]
            if _address(first) != _address(second) and first.identity == second.identity:
                yield (
                    f"models.{other}",
                    f"has the name of model {one!r} at another address, so that the answers of one would count for "
                    "both; if their weights differ, declare a version for each",
                )
        for panel in ("synthesis", "evaluation", "instantiation"):
            for (place, first), (later, second) in combinations(enumerate(getattr(self, panel)), 2):
                if _repeats(first, second, self.models, self.objective):
                    yield f"{panel}.{later}", f"makes the same rows as {panel}.{place}; leave one of them out"


def _address(spec: ModelSpec) -> str:
    return getattr(spec, "base_url", "here")


def _repeats(one: Any, other: Any, models: Mapping[str, ModelSpec], objective: Objective) -> bool:
    """Whether two operators would make rows of the same ids: equal in all that counts, and for the same things."""
    if type(one) is not type(other):
        return False
    first, second = _scope(one), _scope(other)
    if first and second and first.isdisjoint(second):
        return False
    return not _identities(one, models, objective).isdisjoint(_identities(other, models, objective))


def _scope(operator: Any) -> set[str]:
    """The criteria that it judges, or the generators whose responses it takes up; empty for all."""
    return set(getattr(operator, "criteria", None) or getattr(operator, "of", None) or ())


def _identities(operator: Any, models: Mapping[str, ModelSpec], objective: Objective) -> set[str]:
    used = [models[name] for name in _used_models(operator) if name in models]
    more = [models[name] for name in _others(operator) if name in models]
    if not getattr(operator, "inner", None):
        return {operator.identity(spec, *more) for spec in used} or {operator.identity()}
    try:
        held = operator.held(objective, models.__getitem__)
    except KeyError:  # a model that is not declared is told of by itself
        return set()
    return {operator.identity(spec, *more, held=held) for spec in used} or {operator.identity(held=held)}


def _others(operator: Any) -> Sequence[str]:
    """Models that have a say beside the one that it is named for, such as a critic or a reference."""
    named = _used_models(operator)
    return getattr(operator, "used_models", named)[len(named) :]


def _used_models(operator: Any) -> Sequence[str]:
    used = getattr(operator, "model", ())
    return (used,) if isinstance(used, str) else used or ()


_LACKING = {
    "chat": "writes no answers",
    "text": "takes no raw texts",
    "given": "is not declared to give log-probabilities of given texts (given_logprobs: vllm or llamacpp)",
    "score": "is no reward model of single responses (backend: reward or classifier, without pair)",
    "preference": "compares no responses (backend: reward or classifier, with the templates of pair)",
}
"""What is wrong with a model that can't be asked for something."""


def _unfit_models(operator: Any, models: Mapping[str, ModelSpec]) -> Iterator[str]:
    wanted = getattr(operator, "asks_for", "chat")
    for name in getattr(operator, "used_models", None) or _used_models(operator):
        if name in models and wanted not in models[name].answers:
            yield f"{operator.kind} can't use model {name!r}, which {_LACKING[wanted]}"


def _undeclared_models(operator: Any, models: Mapping[str, Any]) -> Iterator[str]:
    for name in _used_models(operator):
        if name not in models:
            yield f"model {name!r} is not declared under models{suggestion(name, models)}"
