"""`triptych plan`: a recipe's price as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from triptych.app.gate import fail
from triptych.app.text import count, duration, json_text, many, one_line, say, usd
from triptych.audit.principles import PRINCIPLES, Ruling
from triptych.planning.plan import ModelPlan, Plan, plan
from triptych.recipes.load import find_recipe, load_recipe

_NOTED = frozenset({"R2.1", "R4.3"})
"""Rules of which the notes on what is lost tell as well."""


def plan_command(source: str, changes: Sequence[str], limit: int | None, *, fail_on: str, as_json: bool) -> None:
    """Check a recipe and show what it will cost."""
    recipe = load_recipe(source, changes)
    planned = plan(recipe, limit=limit, folder=recipe_folder(source))
    if as_json:
        click.echo(json_text(planned))
    else:
        say(plan_text(planned))
    severities = [each.severity for each in planned.principles]
    fail(planned.recipe, severities.count("error"), severities.count("warn"), fail_on)


def recipe_folder(source: str) -> Path:
    """Where relative paths in a recipe start: the folder that the recipe's file is in."""
    return find_recipe(source).parent


def plan_text(planned: Plan) -> str:
    """Lay a plan out for people."""
    lines = [
        f"{one_line(planned.recipe)}: {'prompts of unknown number' if planned.prompts is None else many(planned.prompts, 'prompt')}"
    ]
    if planned.first_bad is not None:
        lines.append(f"  {planned.bad_rows} bad rows will be set aside; the first: {one_line(planned.first_bad, 300)}")
    width = max([22, *(len(stage.stage) for stage in planned.stages)])
    lines += ["", _row(width, "", "model", "calls", "tokens in", "tokens out", "at most", "cost", "time")]
    lines += [_stage_row(width, stage) for stage in planned.stages]
    if not planned.stages:
        lines.append("  no calls at all")
    cost = "not priced" if planned.usd is None else f"about {usd(planned.usd)}, at most {usd(planned.most_usd or 0)}"
    if not planned.stages:
        cost = "no cost"
    calls = many(planned.calls, "call")
    if planned.most_calls > planned.calls:
        calls += f" (at most {count(planned.most_calls)}, should every verdict be asked for again)"
    lines += [
        "",
        f"In all {calls}, {count(planned.tokens)} tokens, {cost}, {duration(planned.seconds)}.",
    ]
    lines.append("Estimates: four bytes a token, answers of a usual length, the models' declared speed.")
    if planned.budget_usd is not None:
        lines.append(f"Budget: {usd(planned.budget_usd)}.")
    lines += [f"Not ready to run here: {one_line(reason, 300)}." for reason in planned.not_ready]
    lines += [f"Note: {one_line(note, 300)}." for note in planned.notes]
    return "\n".join(
        lines + [_ruled(each, said) for each in planned.principles if _told(each) for said in each.evidence]
    )


def _told(ruling: Ruling) -> bool:
    """Whether a broken rule is worth a line. What a note says already, and what is for one's information, is not."""
    return ruling.severity != "info" and ruling.rule not in _NOTED


def _ruled(ruling: Ruling, said: str) -> str:
    grave = "Error" if ruling.severity == "error" else "Warning"
    return f"{grave}: {one_line(said, 300)} ({ruling.rule}, {PRINCIPLES[ruling.principle]})."


def _stage_row(width: int, stage: ModelPlan) -> str:
    return _row(
        width,
        stage.stage,
        stage.model,
        count(stage.calls),
        count(stage.prompt_tokens),
        count(stage.completion_tokens),
        count(stage.most_completion_tokens),
        "-" if stage.usd is None else usd(stage.usd),
        duration(stage.seconds),
    )


def _row(width: int, stage: str, model: str, *numbers: str) -> str:
    return f"  {stage:<{width}} {model:<12}" + "".join(f" {number:>12}" for number in numbers)
