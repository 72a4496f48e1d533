"""Writing a recipe as YAML."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from triptych.recipes.load import read_exponents
from triptych.recipes.recipe import Recipe


class _Dumper(yaml.SafeDumper):
    """Long texts as blocks, short lists in one line."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    if _OTHER_BREAKS.search(value):  # in a block they would read back as plain line feeds
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_OTHER_BREAKS = re.compile("[\r\x85\u2028\u2029]")
_Dumper.add_representer(str, _text)
read_exponents(_Dumper)  # so that a text that looks like such a number is quoted


def recipe_yaml(recipe: Recipe) -> str:
    """Write a recipe as YAML that reads back as an equal recipe. Settings left at their default are left out."""
    content = recipe.model_dump(mode="json", exclude_unset=True)
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def recipe_file(recipe: Recipe, folder: Path) -> bytes:
    """A recipe as it is kept with what it made; relative paths in it start at `folder`."""
    return f"# Relative paths in this recipe start at {folder.resolve()}\n{recipe_yaml(recipe)}".encode()


def flow_yaml(value: object) -> str:
    """Write a value as YAML in one line."""
    text: str = yaml.dump(
        [value], Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf")
    )
    return text.strip()[1:-1]  # in a list, so that no text comes in lines
