"""Pricing a recipe: the calls, tokens, money and time it will take, before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

from triptych.errors import TriptychError
from triptych.models.endpoint import Endpoint
from triptych.models.spec import ModelSpec
from triptych.operators import BadRow, Load, Outlook, PromptRow, estimate_tokens
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


def plan(recipe: Recipe, *, limit: int | None = None, folder: str | Path = ".") -> Plan:
    """Price a recipe without calling anybody. Raises `PromptError` where its prompts can't be read."""
    total = recipe.prompts.count(Path(folder))
    good, bad = _look_at(recipe, Path(folder)) if total is not None else ([], [])
    prompts = None if total is None else _prompts(total, good, bad, limit)
    passes = 1 if total is None else _passes(recipe, _prompts(total, good, bad, None), limit)
    stages = tuple(_stages(recipe, _outlook(good), passes))
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
        not_ready=tuple(_not_ready(recipe, good, Path(folder))),
        notes=tuple(_notes(recipe, prompts, sum(most) if complete else None)),
    )


def _passes(recipe: Recipe, prompts: int, limit: int | None) -> int:
    """How many prompts are worked on, where a loop counts each round: it takes them all, or new ones, every time."""
    loop, most = recipe.loop, prompts if limit is None else limit
    if loop is None:
        return min(prompts, most)
    if loop.prompts_per_round is None:
        return min(prompts, most) * loop.rounds
    starts = range(0, loop.prompts_per_round * loop.rounds, loop.prompts_per_round)
    return sum(max(min(prompts - start, loop.prompts_per_round, most), 0) for start in starts)


def _look_at(recipe: Recipe, folder: Path) -> tuple[list[PromptRow], list[BadRow]]:
    rows = list(islice(recipe.prompts.rows(folder), _LOOKED_AT))
    return [row for row in rows if isinstance(row, PromptRow)], [row for row in rows if isinstance(row, BadRow)]


def _prompts(total: int, good: list[PromptRow], bad: list[BadRow], limit: int | None) -> int:
    """Prompts to expect: bad rows among those looked at stand for the rest."""
    seen = len(good) + len(bad)
    expected = len(good) if total <= seen else round(total * len(good) / seen)
    return expected if limit is None else min(expected, limit)


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


def _stages(recipe: Recipe, outlook: Outlook, prompts: int) -> list[ModelPlan]:
    stages = []
    for place, generator in enumerate(recipe.synthesis):
        loads, outlook = generator.forecast(outlook)
        stages += [_stage(f"synthesis.{place} {generator.kind}", load, recipe, prompts) for load in loads]
    for place, evaluator in enumerate(recipe.evaluation):
        loads = evaluator.forecast(outlook)
        stages += [_stage(f"evaluation.{place} {evaluator.kind}", load, recipe, prompts) for load in loads]
    return stages


def _stage(stage: str, load: Load, recipe: Recipe, prompts: int) -> ModelPlan:
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
    if loop.train is not None:
        yield f"after each round but the last this command is run: {loop.train}"
    elif len(loop.next) < loop.rounds - 1:
        yield (
            f"loop.next declares {len(loop.next)} of the {loop.rounds - 1} later policies: the loop ends in order after "
            f"round {len(loop.next) + 1}, and goes on when it is run again with the next one"
        )
