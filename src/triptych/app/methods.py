"""`triptych methods` and `triptych schema`: what there is to build with."""

from __future__ import annotations

import json

import click

from triptych.operators import BUILT_IN, operator_classes
from triptych.recipes.load import load_recipe, shipped_recipes
from triptych.recipes.schema import recipe_schema


def methods_command(*, as_json: bool) -> None:
    """List the shipped recipes, and each panel's operators."""
    recipes = {name: load_recipe(name).description.strip() for name in shipped_recipes()}
    operators = {panel: _operators(panel) for panel in BUILT_IN}
    if as_json:
        click.echo(json.dumps({"recipes": recipes, "operators": operators}, indent=2))
        return
    click.echo("Shipped recipes (triptych run NAME --out DIR)")
    _rows(recipes)
    for panel, kinds in operators.items():
        click.echo(f"\n{panel}: operators, named by `kind`")
        _rows(kinds)


def schema_command() -> None:
    """Print the JSON Schema of recipes."""
    click.echo(json.dumps(recipe_schema(), indent=2))


def _operators(panel: str) -> dict[str, str]:
    return {
        cls.model_fields["kind"].default: (cls.__doc__ or "").strip().split("\n")[0] for cls in operator_classes(panel)
    }


def _rows(rows: dict[str, str]) -> None:
    for name, said in rows.items():
        click.echo(f"  {name:<12} {' '.join(said.split())}")
