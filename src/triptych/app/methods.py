"""`triptych methods` and `triptych schema`: what there is to build with."""

from __future__ import annotations

import json
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

import click

from triptych.errors import Problem, RecipeError
from triptych.operators import BUILT_IN, operator_classes, suggestion, with_inner
from triptych.planning.plan import priced_for
from triptych.recipes.load import known_recipes, load_recipe, shipped_recipes
from triptych.recipes.method import AXES, Method
from triptych.recipes.recipe import Recipe
from triptych.recipes.schema import recipe_schema

_PANELS = ("synthesis", "evaluation", "instantiation")
_PANEL_WIDTH, _WIDTH = 34, 110
_MANY = 1000
"""Prompts over which calls are counted."""


def methods_command(chosen: Mapping[str, str | None], *, as_json: bool) -> None:
    """List the known recipes, those at the chosen places of the taxonomy only; and each panel's operators."""
    recipes = _recipes()
    wanted = {axis: value for axis, value in chosen.items() if value is not None}
    if wanted:
        recipes = {name: recipe for name, recipe in recipes.items() if _is_at(recipe.method, wanted)}
    operators = {panel: _operators(panel) for panel in BUILT_IN}
    if as_json:
        about = {name: recipe.method and recipe.method.model_dump(mode="json") for name, recipe in recipes.items()}
        click.echo(json.dumps({"recipes": about, "operators": operators}, indent=2))
        return
    if not recipes:
        click.echo("No shipped recipe is there; leave out an axis.")
        return
    click.echo("Shipped recipes: triptych methods show NAME, methods use NAME > recipe.yaml, run NAME --out DIR\n")
    click.echo(_row("name", "year", *AXES))
    for name, recipe in recipes.items():
        method = recipe.method
        click.echo(_row(name, *((str(method.year), *_place(method)) if method else ("", *[""] * len(AXES)))))
    if not wanted:
        for panel, kinds in operators.items():
            click.echo(f"\n{panel}: operators, named by `kind`")
            width = max(map(len, kinds))
            for kind, said in kinds.items():
                click.echo(f"  {kind:<{width}}  {' '.join(said.split())}")


def show_command(name: str) -> None:
    """Show one recipe: its panels, its place in the taxonomy, what it costs and needs."""
    click.echo("\n".join(_shown(load_recipe(known_recipes()[_known(name)]))))


def use_command(name: str) -> None:
    """Print a recipe's YAML."""
    click.echo(known_recipes()[_known(name)].read_text(encoding="utf-8"), nl=False)


def schema_command() -> None:
    """Print the JSON Schema of recipes."""
    click.echo(json.dumps(recipe_schema(), indent=2))


def _recipes() -> dict[str, Recipe]:
    """All recipes that go by a name. One of an installed package that does not hold together is left out."""
    own, found = shipped_recipes(), {}
    for name, path in known_recipes().items():
        try:
            found[name] = load_recipe(path)
        except RecipeError as error:
            if name in own:
                raise
            warnings.warn(f"the recipe {name!r} of an installed package is left out: {error}", stacklevel=2)
    return found


def _known(name: str) -> str:
    """The recipe that goes by a name, its own or that of another method like it, in small letters or capitals."""
    if _plain(name) in known_recipes():
        return _plain(name)
    own = _recipes()
    others = {_plain(also): each for each, recipe in own.items() if recipe.method for also in recipe.method.also}
    if _plain(name) not in others:
        near = suggestion(_plain(name), [*own, *others])
        lists = "; triptych methods lists those that there are"
        raise RecipeError(name, [Problem(f"no shipped recipe is called so{near if 'did you mean' in near else lists}")])
    return others[_plain(name)]


def _plain(name: str) -> str:
    return name.lower().replace(" ", "-")


def _is_at(method: Method | None, wanted: Mapping[str, str]) -> bool:
    return method is not None and all(value in method.place.options()[axis] for axis, value in wanted.items())


def _place(method: Method) -> list[str]:
    return ["/".join(options) for options in method.place.options().values()]


def _row(name: str, year: str, *places: str) -> str:
    return f"  {name:<23} {year:<6}" + "".join(f"{place:<13}" for place in places).rstrip()


def _operators(panel: str) -> dict[str, str]:
    return {
        cls.model_fields["kind"].default: (cls.__doc__ or "").strip().split("\n")[0] for cls in operator_classes(panel)
    }


def _shown(recipe: Recipe) -> Iterator[str]:
    method = recipe.method
    if method is None:
        yield f"{recipe.name}: {recipe.description}"
    else:
        source = f"{method.year}, arXiv {method.arxiv}" if method.arxiv else str(method.year)
        also = f"; also {', '.join(method.also)}" if method.also else ""
        yield f"{recipe.name}: {method.title} ({source}){also}"
    yield ""
    yield from _panels(recipe)
    yield ""
    yield from _said("evolution", _evolution(recipe))
    if method is not None:
        yield from _said(
            "place", ", ".join(f"{axis} {value}" for axis, value in zip(AXES, _place(method), strict=True))
        )
        yield from _said("the survey", ", ".join(f"{axis} {value}" for axis, value in (method.survey or {}).items()))
        yield from _said("data", method.data)
        yield from _said("loss", method.loss)
        yield from _said("otherwise", method.approximated)
        yield from _said("TRL", _trl(method.trl))
    yield from _said("needs", "; ".join(_needs(recipe)))
    yield from _said("a prompt", _cost(recipe))


def _evolution(recipe: Recipe) -> str:
    """What makes prompts of prompts, in all rounds or in later ones."""
    later = recipe.loop.evolution if recipe.loop is not None else None
    said = [_in_words(operator) for operator in recipe.evolution]
    if later is not None:
        said.append(f"from round 2 on: {'; '.join(map(_in_words, later)) or 'none'}")
    return "; ".join(said)


def _panels(recipe: Recipe) -> Iterator[str]:
    """The three panels side by side."""
    columns = []
    for number, panel in enumerate(_PANELS, 1):
        lines = [f"{number} {panel}", "-" * (_PANEL_WIDTH - 3)]
        for operator in getattr(recipe, panel):
            lines += textwrap.wrap(_in_words(operator), _PANEL_WIDTH - 3, subsequent_indent="  ")
        columns.append(lines)
    for line in zip_longest(*columns, fillvalue=""):
        yield "  " + "".join(f"{part:<{_PANEL_WIDTH}}" for part in line).rstrip()


def _in_words(operator: Any) -> str:
    """An operator with its settings, but for its long texts."""
    set_here = operator.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
    set_here.pop("kind", None)
    short = {name: value for name, value in set_here.items() if name not in ("template", "constraints")}
    said = (f"{name} {_in_short(name, value)}" for name, value in short.items())
    return f"{getattr(operator, 'kind', '')}: {', '.join(said)}" if short else str(getattr(operator, "kind", ""))


def _in_short(name: str, value: Any) -> str:
    if name in ("principles", "shots", "ways", "without"):
        return f"({len(value)})"
    text = json.dumps(value, ensure_ascii=False).replace('"', "").strip("[]{}")
    return text if len(text) <= 60 else text[:57] + "..."


def _trl(settings: Mapping[str, Any]) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in settings.items() if name != "trainer")
    return f"{settings['trainer']}: {given}" if given else str(settings.get("trainer", ""))


def _needs(recipe: Recipe) -> Iterator[str]:
    yield f"models {', '.join(recipe.models)}" if recipe.models else "no model"
    operators = [operator for panel in ("evolution", *_PANELS) for operator in getattr(recipe, panel)]
    each = [inner for operator in operators for _, inner in with_inner("", operator)]
    yield from dict.fromkeys(need for operator in each for need in operator.needs)


def _cost(recipe: Recipe) -> str:
    """What a prompt costs in one round, and in which rounds."""
    loop, first = recipe.loop, _cost_of_round(recipe)
    if loop is None:
        return first
    later = first if loop.evolution is None else _cost_of_round(recipe.model_copy(update={"evolution": loop.evolution}))
    if later == first:
        return f"{first}; in each of {loop.rounds} rounds"
    return f"{first}; in each of the {loop.rounds - 1} later rounds {later}"


def _cost_of_round(recipe: Recipe) -> str:
    stages = priced_for(recipe, _MANY)  # of a single prompt parts of a call would be lost
    calls, most = sum(stage.calls for stage in stages), sum(stage.most_calls for stage in stages)
    each = ", ".join(f"{_mean(stage.calls)} of {stage.model} ({stage.stage.split()[-1]})" for stage in stages)
    bound = f", at most {_mean(most)}" if most > calls else ""
    return f"{_mean(calls)} call{'s' * (calls != _MANY)}{bound}: {each}" if each else "no call"


def _mean(calls: int) -> str:
    """Calls a prompt, to a tenth, or to the first digit that tells where they are fewer."""
    mean = calls / _MANY
    return f"{mean:.1g}" if mean < 0.1 else f"{round(mean, 1):g}"


def _said(name: str, text: str) -> Iterator[str]:
    if text:
        yield from textwrap.wrap(f"{name:<12}{text}", _WIDTH, initial_indent="  ", subsequent_indent=" " * 14)
