"""The kinds of operators, what they are given, and how they are found by their `kind`.

An operator is a frozen pydantic model with one method. Per-prompt operators (`Evolver`, `Generator`, `Evaluator`) are
async functions of one prompt and what is known of it; table operators (`Instantiator`) are functions over whole tables.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache, cached_property, lru_cache, reduce
from importlib import import_module
from importlib.metadata import entry_points
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Protocol

import msgspec
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
)
from pydantic_core import CoreSchema, PydanticCustomError

from triptych.outlook import Load as Load  # its public name is here
from triptych.outlook import Outlook as Outlook
from triptych.records import Judgement, Objective, Prompt, Response, canonical_json, content_id

if TYPE_CHECKING:
    import polars as pl

    from triptych.models.chat import Ask
    from triptych.models.spec import ModelSpec

BUILT_IN = {
    "prompts": {
        "file": "triptych.prompts.file:PromptFile",
        "inline": "triptych.prompts.inline:InlinePrompts",
        "examples": "triptych.prompts.examples:ExamplePrompts",
        "imported": "triptych.imports.prompts:ImportedPrompts",
        "run": "triptych.prompts.run:RunPrompts",
    },
    "evolution": {
        "evolve": "triptych.prompts.evolve:Evolve",
        "self_instruct": "triptych.prompts.self_instruct:SelfInstruct",
        "magpie": "triptych.prompts.magpie:Magpie",
    },
    "synthesis": {
        "sample": "triptych.synthesis.sample:Sample",
        "given": "triptych.synthesis.given:Given",
        "revise": "triptych.synthesis.revise:Revise",
        "verbalized": "triptych.synthesis.verbalized:Verbalized",
        "until_contrast": "triptych.synthesis.until_contrast:UntilContrast",
        "branch": "triptych.synthesis.branch:Branch",
        "search": "triptych.synthesis.search:Search",
        "corrupt": "triptych.synthesis.corrupt:Corrupt",
        "best_of_n": "triptych.synthesis.best_of_n:BestOfN",
        "rejection": "triptych.synthesis.rejection:Rejection",
        "optimise": "triptych.synthesis.optimise:Optimise",
    },
    "evaluation": {
        "rubric": "triptych.evaluation.rubric:Rubric",
        "pairwise": "triptych.evaluation.pairwise:Pairwise",
        "listwise": "triptych.evaluation.listwise:Listwise",
        "debate": "triptych.evaluation.debate:Debate",
        "meta_judge": "triptych.evaluation.meta_judge:MetaJudge",
        "compare_judgements": "triptych.evaluation.compare_judgements:CompareJudgements",
        "verify": "triptych.evaluation.verify:Verify",
        "assumed": "triptych.evaluation.assumed:Assumed",
        "rollouts": "triptych.evaluation.rollouts:Rollouts",
        "checklist": "triptych.evaluation.checklist:Checklist",
        "verdicts": "triptych.evaluation.verdicts:Verdicts",
        "diversity": "triptych.evaluation.diversity:Diversity",
        "consistency": "triptych.evaluation.consistency:Consistency",
        "acquire": "triptych.evaluation.acquire:Acquire",
        "annotators": "triptych.evaluation.annotators:Annotators",
        "atomic_consistency": "triptych.evaluation.atomic_consistency:AtomicConsistency",
        "contrastive_checklist": "triptych.evaluation.contrastive_checklist:ContrastiveChecklist",
        "uncertainty": "triptych.evaluation.uncertainty:Uncertainty",
        "reward_model": "triptych.evaluation.reward_model:RewardScores",
        "pair_reward_model": "triptych.evaluation.pair_reward_model:PairRewardModel",
        "implicit_reward": "triptych.evaluation.implicit_reward:ImplicitReward",
    },
    "instantiation": {
        "pairs": "triptych.instantiation.pairs:Pairs",
        "diverse_pairs": "triptych.instantiation.diverse_pairs:DiversePairs",
        "compared_pairs": "triptych.instantiation.compared_pairs:ComparedPairs",
        "unpaired": "triptych.instantiation.unpaired:Unpaired",
        "groups": "triptych.instantiation.groups:Groups",
        "rankings": "triptych.instantiation.rankings:Rankings",
        "stepwise": "triptych.instantiation.stepwise:Stepwise",
        "sft": "triptych.instantiation.sft:Sft",
        "conditioned": "triptych.instantiation.conditioned:Conditioned",
        "many_outputs": "triptych.instantiation.many_outputs:ManyOutputs",
        "judge_rows": "triptych.instantiation.judge_rows:JudgeRows",
    },
}
"""Each panel's own operators. Packages add theirs through entry points of the group `triptych.<panel>`."""


class GivenResponse(msgspec.Struct, frozen=True):
    """A response that came with a prompt."""

    text: str
    source: str = "given"
    """Who made it, as the data declares."""


class PromptRow(msgspec.Struct, frozen=True):
    """A good row of a source of prompts."""

    row: int
    """Its number in the source, from 1 (a line in JSONL and CSV files, counting a CSV's header as line 1)."""
    prompt: Prompt
    given: tuple[GivenResponse, ...] = ()


REPEATS = "repeats row "
"""How the reason begins where nothing is wrong with a row but that an earlier one says the same."""


class BadRow(msgspec.Struct, frozen=True):
    """A row that can't be a prompt. It is reported and set aside, never silently dropped."""

    row: int
    reason: str
    """What is wrong and where, for a person."""
    content: str
    """The row as it was read, cut after 2,000 characters."""


class Unmade(msgspec.Struct, frozen=True):
    """A new prompt that did not come about. It is written down beside the bad rows, never silently dropped."""

    reason: str
    """What went wrong or was found wanting, for a person."""
    content: str = ""
    """The new prompt, or what was said instead of one."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt and what is known of it so far: what a per-prompt operator is given."""

    prompt: Prompt
    given: tuple[GivenResponse, ...] = ()
    responses: tuple[Response, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    objective: Objective
    folder: Path = Path()
    """Where relative paths in the recipe start."""
    seed: int
    """The recipe's seed; draw with `triptych.records.draw(seed, ...)`."""
    turn: int = 0
    """Which operator of the evolution's is at work, from 0: what it draws for a prompt that stayed must be new."""


class Operator(BaseModel):
    """Settings of one step of a recipe; the field `kind` names it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    not_in_identity: ClassVar[frozenset[str]] = frozenset()
    """Fields that say what to do but do not change what any single row means."""
    reads_judgements: ClassVar[bool] = False
    """Whether an evaluator judges by what the others said, and so comes after them."""
    asks_for: ClassVar[str] = "chat"
    """What it asks its models for: `chat`, `text` (a raw completion), `given` (log-probabilities of a text that is given)
    `score` (of a reward model) or `preference` (of one that compares two responses)."""

    @property
    def across_prompts(self) -> bool:
        """Whether an instantiation needs the tables of all prompts at once; otherwise any whole prompts will do."""
        return False

    @property
    def wants(self) -> tuple[Literal["prompts", "judges"], ...]:
        """What an instantiation is given by name, beside the tables that each is given.

        `prompts` is their table; `judges` are the recipe's evaluators that can say again what they asked, by the
        `evaluator_id` of their judgements (see `Recipe.judges`).
        """
        return ()

    @model_serializer(mode="wrap")
    def _with_kind(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Always write the kind, even where defaults are left out: without it nobody could read the settings back."""
        return {"kind": getattr(self, "kind", ""), **write(self)}

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs of prompts or models, in words."""
        return ()

    @property
    def inner(self) -> dict[str, Operator]:
        """Operators among its settings, which it runs itself, by their fields."""
        return {}

    def prepare(self, folder: Path) -> None:
        """Look at the files that it reads, before anything is asked; relative paths start at `folder`.

        Raises `PromptError` where one can't be used.
        """

    def lacking(self, prompt: Prompt) -> str | None:
        """Say what a prompt lacks without which the operator can't work on it."""
        return None

    @property
    def used_models(self) -> tuple[str, ...]:
        """The names of the models that it asks itself; those of the operators that it holds are theirs."""
        named = getattr(self, "model", ())
        return (named,) if isinstance(named, str) else tuple(named)

    def identity(self, *models: ModelSpec, held: Sequence[bytes] = ()) -> str:
        """Hash of the operator's settings and of the models it uses. Settings left at their default do not count.

        An operator that holds others gives what they rest on as well (see `held`).
        """
        return _identified(self._settings, *(model.identity for model in models), *held)

    def held(self, objective: Objective, model: Callable[[str], ModelSpec]) -> tuple[bytes, ...]:
        """What the evaluators that it holds rest on beside their settings, as JSON: their models and criteria."""
        found: list[bytes] = []
        for inner in self._held.values():
            names = [name for name in getattr(inner, "criteria", None) or () if name in objective.criteria]
            weights = [objective.criteria[name].weight for name in names] if len(names) > 1 else []
            found.append(canonical_json([[objective.criteria[name].id for name in names], weights]))
            found += [model(name).identity for name in inner.used_models]
            found += inner.held(objective, model)
        return tuple(found)

    @property
    def _held(self) -> dict[str, Operator]:
        """The evaluators among its settings that bear on what its rows mean, by their fields."""
        return {
            field: inner
            for field, inner in self.inner.items()
            if field not in self.not_in_identity and hasattr(inner, "judge")
        }

    @cached_property
    def _settings(self) -> bytes:
        model_fields = {name for name in type(self).model_fields if name.startswith("model")}
        left_out = set(self.not_in_identity | model_fields)
        written = self.model_dump(mode="json", exclude_defaults=True, exclude=left_out)
        return canonical_json(written | {field: inner._meant for field, inner in self._held.items()})

    @cached_property
    def _meant(self) -> dict[str, Any]:
        """Its settings inside of another operator's, without names: those of models are for `held` to resolve."""
        names = {"name", *(name for name in type(self).model_fields if name.startswith("model"))}
        written = self.model_dump(mode="json", exclude_defaults=True, exclude=names)
        return written | {field: inner._meant for field, inner in self._held.items()}


@lru_cache(maxsize=1024)
def _identified(settings: bytes, *models: bytes) -> str:
    return content_id("o", [msgspec.Raw(settings), [msgspec.Raw(model) for model in models]])


def with_inner(field: str, operator: Any) -> Iterator[tuple[str, Any]]:
    """An operator and all that it holds, each with its place in the recipe."""
    yield field, operator
    for name, inner in getattr(operator, "inner", {}).items():
        yield from with_inner(f"{field}.{name}", inner)


class PromptSource(Protocol):
    """Where a recipe's prompts come from."""

    def rows(self, folder: Path) -> Iterator[PromptRow | BadRow]:
        """Read the prompts in their order, one at a time; relative paths start at `folder`.

        Raises `PromptError` where the source can't be read at all.
        """
        ...

    def count(self, folder: Path) -> int | None:
        """Say quickly how many rows there are, about; None where reading would use the source up."""
        ...


class Evolver(Protocol):
    """Before panel 1: makes prompts of one prompt."""

    @property
    def kind(self) -> str:
        """What a recipe calls the operator."""
        ...

    async def evolve(self, case: Case, ask: Ask) -> list[Prompt | Unmade]:
        """Make prompts, each with the id of the one that it comes from; that one is among them if it is to stay.

        A call that fails and an answer that can't be read give an `Unmade`, never nothing.
        """
        ...

    def forecast(self, outlook: Outlook) -> tuple[list[Load], Outlook]:
        """Say what calls to expect for one prompt, and what the next operator will find."""
        ...


class Generator(Protocol):
    """Panel 1, synthesis: makes responses to one prompt."""

    @property
    def kind(self) -> str:
        """What a recipe calls the operator."""
        ...

    async def respond(self, case: Case, ask: Ask) -> list[Response]:
        """Make responses. A call that fails gives a response of status `failed`, never none."""
        ...

    def forecast(self, outlook: Outlook) -> tuple[list[Load], Outlook]:
        """Say what calls to expect for one prompt, and what the next operator will find."""
        ...


class Evaluator(Protocol):
    """Panel 2, evaluation: judges the responses to one prompt."""

    @property
    def kind(self) -> str:
        """What a recipe calls the operator."""
        ...

    async def judge(self, case: Case, ask: Ask) -> list[Judgement]:
        """Judge the responses whose status is ok. What can't be parsed gives a judgement of status `unparsed`."""
        ...

    def forecast(self, outlook: Outlook) -> list[Load]:
        """Say what calls to expect for one prompt."""
        ...


class Instantiator(Protocol):
    """Panel 3, instantiation: turns judgements into training examples, and calls nobody."""

    def instantiate(
        self, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective, seed: int
    ) -> pl.LazyFrame:
        """Make the examples of whole prompts, with the columns of the table of examples.

        One that `wants` more than these tables is given it by name.
        """
        ...


def undefined_criteria(names: Sequence[str], objective: Objective) -> Iterator[tuple[str, str]]:
    """Name the criteria that an operator uses and the objective does not define: (field, message)."""
    for name in names:
        if name not in objective.criteria:
            yield (
                "criteria",
                f"criterion {name!r} is not defined in objective.criteria{suggestion(name, objective.criteria)}",
            )


def suggestion(word: str, known: Iterable[str]) -> str:
    """Name the near one of `known` words, or list them, as the end of a sentence."""
    known = list(known)
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are: {', '.join(known)}" if known else ""


def estimate_tokens(text: str) -> float:
    """Guess the tokens of a text from its length: a token for four bytes, as English text gives in most tokenisers."""
    return len(text.encode()) / 4


def any_of(panel: str) -> Any:
    """The type of a field that holds an operator of a panel, told apart by `kind`."""
    classes = operator_classes(panel)
    return Annotated[reduce(or_, classes), Field(discriminator="kind")] if len(classes) > 1 else classes[0]


class Nested(NamedTuple):
    """Marks the type of a field that holds an operator of a panel."""

    panel: str

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """An object of one of the kinds that there are; what else it may hold is in the schema of its panel."""
        kinds = [each.model_fields["kind"].default for each in operator_classes(self.panel)]
        return {"type": "object", "properties": {"kind": {"enum": kinds}}, "required": ["kind"]}


def nested(panel: str) -> Any:
    """The type of an operator's own field that holds an operator of a panel.

    Which ones there are is looked up when a value is given: an operator may then hold another of its own panel.
    """

    def validated(value: Any) -> Any:
        try:
            return _adapter(panel).validate_python(value)
        except ValidationError as error:
            said = {"said": str(error), "errors": error.errors(include_url=False)}
            raise PydanticCustomError("operator", "{said}", said) from None

    return Annotated[Any, PlainValidator(validated), Nested(panel)]


@cache
def _adapter(panel: str) -> TypeAdapter[Any]:
    return TypeAdapter(any_of(panel))


def operator_classes(panel: str) -> tuple[type[Operator], ...]:
    """All operator classes of a panel: Triptych's own, then those that installed packages add."""
    return tuple(_load(panel))


class _NoOther(BaseModel):
    kind: Literal[""] = ""


@cache
def _load(panel: str) -> tuple[type[Any], ...]:
    own = [_import(target) for target in BUILT_IN[panel].values()]
    return (*own, *_third_party(panel, own))


def _import(target: str) -> type[Any]:
    module, name = target.split(":")
    found: type[Any] = getattr(import_module(module), name)
    return found


def _third_party(panel: str, own: Iterable[type[Any]]) -> Iterator[type[Any]]:
    taken = {each.model_fields["kind"].default for each in own}
    for entry in entry_points(group=f"triptych.{panel}"):
        try:
            found = entry.load()
            kind = found.model_fields["kind"].default
            if not isinstance(kind, str) or kind in taken:
                raise ValueError(f"its kind {kind!r} is taken, or no text")
            beside_others: Any = Annotated[found | _NoOther, Field(discriminator="kind")]
            TypeAdapter(beside_others)
            taken.add(kind)
            yield found
        except (Exception, SystemExit) as error:  # another's broken package must not break every recipe
            warnings.warn(
                f"the {panel} operator {entry.name!r} of an installed package can't be loaded: {error}", stacklevel=2
            )
