"""Pricing a recipe: the calls, tokens, money and time it will take, before anything is spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

from triptych.audit.principles import Ruling, broken_by
from triptych.errors import TriptychError
from triptych.models.endpoint import Endpoint
from triptych.models.spec import ModelSpec
from triptych.operators import BadRow, Load, Outlook, PromptRow, PromptSource, estimate_tokens
from triptych.planning.rounds import Round, rounds_of
from triptych.recipes.compatibility import lossy
from triptych.recipes.loop import Loop
from triptych.recipes.recipe import Recipe
from triptych.records import canonical_json

_LOOKED_AT = 1000


class ModelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What one operator asks of one model over the whole run."""

    stage: str
    """The operator's place in the recipe, such as `evaluation.0 rubric`."""
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    most_calls: int
    """Should every question that may be asked again, such as a judge's, be asked again."""
    most_prompt_tokens: int
    most_completion_tokens: int
    """Should every answer be as long as it may be, too."""
    usd: float | None
    """None where the model has no price."""
    most_usd: float | None
    seconds: float
    """At the model's declared speed and concurrency."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe's price. Token counts are estimates: four bytes to a token, and answers of a usual length."""

    recipe: str
    prompts: int | None
    """None where they come from standard input or a pipe: the figures are then for one prompt."""
    bad_rows: int
    """Rows that can't be prompts, among the first thousand."""
    first_bad: str | None
    stages: tuple[ModelPlan, ...]
    calls: int
    most_calls: int
    tokens: int
    usd: float | None
    most_usd: float | None
    """Should every question be asked again that may be, and every answer be as long as it may be."""
    seconds: float
    budget_usd: float | None
    not_ready: tuple[str, ...]
    """What would stop the run at once on this machine, such as a key that is not set."""
    notes: tuple[str, ...]
    """What the reader should know before running."""
    principles: tuple[Ruling, ...]
    """The rules of the six principles that the recipe breaks; see `triptych.audit.principles`."""


def plan(recipe: Recipe, *, limit: int | None = None, folder: str | Path = ".") -> Plan:
    """Price a recipe without calling anybody. Raises `PromptError` where its prompts can't be read."""
    folder = Path(folder)
    total = recipe.prompts.count(folder)
    good, bad = _look_at(recipe.prompts, folder) if total is not None else ([], [])
    given = None if total is None else _prompts(total, good, bad)
    prompts = given if given is None or limit is None else min(given, limit)
    if given is None:  # what comes through a pipe can't be counted beforehand: the figures are for one prompt
        rounds = iter([Round(1, _outlook(good), recipe.evolution, "evolution")])
    else:
        rounds = rounds_of(recipe, given, _outlook(good), limit, _counted, folder)
    stages = tuple(_stages(recipe, rounds))
    priced = [stage.usd for stage in stages if stage.usd is not None]
    most = [stage.most_usd for stage in stages if stage.most_usd is not None]
    complete = len(priced) == len(stages)
    return Plan(
        recipe=recipe.name,
        prompts=prompts,
        bad_rows=len(bad),
        first_bad=f"row {bad[0].row}: {bad[0].reason}" if bad else None,
        stages=stages,
        calls=sum(stage.calls for stage in stages),
        most_calls=sum(stage.most_calls for stage in stages),
        tokens=sum(stage.prompt_tokens + stage.completion_tokens for stage in stages),
        usd=sum(priced) if complete else None,
        most_usd=sum(most) if complete else None,
        seconds=sum(stage.seconds for stage in stages),
        budget_usd=recipe.budget.usd,
        not_ready=tuple(_not_ready(recipe, good, folder)),
        notes=tuple(_notes(recipe, prompts, sum(most) if complete else None)),
        principles=broken_by(recipe),
    )


def priced_for(recipe: Recipe, rows: int, folder: str | Path = ".") -> tuple[ModelPlan, ...]:
    """What a recipe's operators ask in one round of so many rows like those of its source, which may have fewer.

    Raises `PromptError` where its prompts can't be read.
    """
    good, _ = _look_at(recipe.prompts, Path(folder))
    return tuple(_stages(recipe, iter([Round(rows, _outlook(good), recipe.evolution, "evolution")])))


def _look_at(source: PromptSource, folder: Path) -> tuple[list[PromptRow], list[BadRow]]:
    rows = list(islice(source.rows(folder), _LOOKED_AT))
    return [row for row in rows if isinstance(row, PromptRow)], [row for row in rows if isinstance(row, BadRow)]


def _prompts(total: int, good: list[PromptRow], bad: list[BadRow]) -> int:
    """Prompts to expect: bad rows among those looked at stand for the rest."""
    seen = len(good) + len(bad)
    return len(good) if total <= seen else round(total * len(good) / seen)


def _counted(source: PromptSource, folder: Path) -> tuple[int, Outlook]:
    """How many prompts to expect of a source, and what they are like; of a pipe, one."""
    total = source.count(folder)
    if total is None:
        return 1, Outlook(prompt_tokens=100)
    good, bad = _look_at(source, folder)
    return _prompts(total, good, bad), _outlook(good)


def _outlook(rows: list[PromptRow]) -> Outlook:
    if not rows:
        return Outlook(prompt_tokens=100)
    lengths = [_prompt_tokens(row) for row in rows]
    given = [estimate_tokens(response.text) for row in rows for response in row.given]
    return Outlook(
        prompt_tokens=sum(lengths) / len(rows),
        criteria=sum(len(row.prompt.criteria) for row in rows) / len(rows),
        given=len(given) / len(rows),
        given_tokens=sum(given) / len(given) if given else 0.0,
    )


def _prompt_tokens(row: PromptRow) -> float:
    spoken = (
        f"{message.content}{''.join(call.name + call.arguments for call in message.tool_calls)}"
        for message in row.prompt.messages
    )
    tools = canonical_json(row.prompt.tools).decode() if row.prompt.tools else ""
    return sum(map(estimate_tokens, (*spoken, tools)))


def _stages(recipe: Recipe, rounds: Iterator[Round]) -> list[ModelPlan]:
    """What each operator asks in all rounds together."""
    alike: dict[tuple[str, Outlook], Round] = {}
    for one in rounds:  # rounds that differ in nothing but their number are planned at once
        before = alike.get((one.place, one.outlook))
        alike[one.place, one.outlook] = one if before is None else one._replace(rows=before.rows + one.rows)
    found: dict[tuple[str, str, int], ModelPlan] = {}
    for one in alike.values():
        times: Counter[tuple[str, str]] = Counter()
        for stage in _stages_of(recipe, one):
            times[stage.stage, stage.model] += 1
            key = (stage.stage, stage.model, times[stage.stage, stage.model])
            found[key] = stage if key not in found else _added(found[key], stage)
    return list(found.values())


def _stages_of(recipe: Recipe, one: Round) -> Iterator[ModelPlan]:
    outlook = one.outlook
    for place, evolver in enumerate(one.evolution):
        prompts = one.rows * outlook.prompts
        loads, outlook = evolver.forecast(outlook)
        yield from (_stage(f"{one.place}.{place} {evolver.kind}", load, recipe, prompts) for load in loads)
    prompts = one.rows * outlook.prompts
    for place, generator in enumerate(recipe.synthesis):
        loads, outlook = generator.forecast(outlook)
        yield from (_stage(f"synthesis.{place} {generator.kind}", load, recipe, prompts) for load in loads)
    for place, evaluator in enumerate(recipe.evaluation):
        loads = evaluator.forecast(outlook)
        yield from (_stage(f"evaluation.{place} {evaluator.kind}", load, recipe, prompts) for load in loads)


def _added(one: ModelPlan, other: ModelPlan) -> ModelPlan:
    """What two rounds ask together."""
    figures = msgspec.structs.asdict(other)
    new = {
        name: None if value is None else value + figures[name]
        for name, value in msgspec.structs.asdict(one).items()
        if name not in ("stage", "model")
    }
    return msgspec.structs.replace(one, **new)


def _stage(stage: str, load: Load, recipe: Recipe, prompts: float) -> ModelPlan:
    spec: ModelSpec = recipe.models[load.model]
    usual = round(prompts * load.prompt_tokens), round(prompts * load.completion_tokens)
    most = round(prompts * load.most_prompt_tokens), round(prompts * load.most_completion_tokens)
    return ModelPlan(
        stage=stage,
        model=load.model,
        calls=round(prompts * load.calls),
        prompt_tokens=usual[0],
        completion_tokens=usual[1],
        most_calls=round(prompts * load.most_calls),
        most_prompt_tokens=most[0],
        most_completion_tokens=most[1],
        usd=None if spec.price is None else spec.price.usd(*usual),
        most_usd=None if spec.price is None else spec.price.usd(*most),
        seconds=_seconds(spec, prompts * load.calls, *usual),
    )


def _seconds(spec: ModelSpec, calls: float, prompt_tokens: int, completion_tokens: int) -> float:
    """Streams side by side; reading a prompt is taken as ten times as fast as writing an answer."""
    streams = min(spec.concurrency, getattr(spec, "slots", spec.concurrency), max(calls, 1))
    return (completion_tokens + prompt_tokens / 10) / (spec.tokens_per_s * streams)


def _not_ready(recipe: Recipe, rows: list[PromptRow], folder: Path) -> Iterator[str]:
    try:
        recipe.prepare(folder)
    except TriptychError as error:
        yield str(error)
    for name, spec in recipe.models.items():
        try:
            Endpoint(name, spec).check()
        except TriptychError as error:
            yield str(error)
    if recipe.evolution:  # it is the prompts that come out that have to be worked on
        return
    lacking = ((row.row, said) for row in rows if (said := recipe.lacking(row.prompt)) is not None)
    yield from (f"row {row} can't be worked on: {said}" for row, said in islice(lacking, 1))


def _notes(recipe: Recipe, prompts: int | None, most_usd: float | None) -> list[str]:
    notes = []
    if prompts is None:
        notes.append(
            "how many prompts there are can't be told without using them up, so the figures are for one prompt of 100 tokens"
        )
    unpriced = [name for name, spec in recipe.models.items() if spec.price is None]
    if unpriced:
        notes.append(f"no price is declared for {', '.join(unpriced)}, so money is not counted there")
    if recipe.loop is not None:
        notes += _notes_on(recipe.loop)
    budget = recipe.budget.usd
    if budget is not None and most_usd is not None and most_usd > budget:
        notes.append(f"the run may reach the budget of ${budget:g} before its end; it then stops in order")
    notes += lossy(recipe)
    if not recipe.evaluation:
        notes.append("nothing is evaluated, so there is no preference to learn from")
    if not recipe.instantiation:
        notes.append("no instantiation is given, so there will be no training examples")
    return notes


def _notes_on(loop: Loop) -> Iterator[str]:
    yield f"the figures are of all {loop.rounds} rounds; the time does not hold what training takes"
    if loop.replay:
        yield f"training files of later rounds hold {loop.replay:.0%} of the examples of each earlier round as well"
    if loop.train is not None:
        yield f"after each round but the last this command is run: {loop.train}"
    elif len(loop.next) < loop.rounds - 1:
        yield (
            f"loop.next declares {len(loop.next)} of the {loop.rounds - 1} later policies: the loop ends in order after "
            f"round {len(loop.next) + 1}, and goes on when it is run again with the next one"
        )
