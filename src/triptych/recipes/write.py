"""Writing a recipe as YAML."""

from __future__ import annotations

import yaml

from triptych.recipes.recipe import Recipe


class _Dumper(yaml.SafeDumper):
    """Long texts as blocks, short lists in one line."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def recipe_yaml(recipe: Recipe) -> str:
    """Write a recipe as YAML that reads back as an equal recipe. Settings left at their default are left out."""
    content = recipe.model_dump(mode="json", exclude_unset=True)
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
