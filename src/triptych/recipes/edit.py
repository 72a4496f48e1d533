"""Changing settings in a recipe's text: what is not changed stays as it was written, with its comments."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import yaml

from triptych.errors import Problem, RecipeError
from triptych.recipes.load import END, build_recipe, read_plain, set_in
from triptych.recipes.write import flow_yaml, recipe_yaml

Setting = tuple[str, Any]
"""A dotted place, as `--set` takes it, and the value that comes there."""


def edited(text: str, settings: Iterable[Setting]) -> str:
    """The text of a recipe with settings. Raises `RecipeError` where there is no such place, or what comes of it does not load.

    Only the lines of the settings change, wherever that can be done: the outcome is read back, and where it does not say
    what was wanted, as where a setting lies within an alias, the whole recipe is written anew, without comments.
    """
    settings = list(settings)
    wanted = read_plain(text)
    for place, value in settings:
        try:
            set_in(wanted, place, deepcopy(value))
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise RecipeError("the change", [Problem("is no place in this recipe", place)]) from error
    recipe = build_recipe(wanted)
    try:
        changed = text
        for place, value in settings:
            changed = _written(changed, place.split("."), value)
        if read_plain(changed) == wanted:
            return changed
    except (RecipeError, yaml.YAMLError, _Unclear):
        pass
    return recipe_yaml(recipe)


class _Unclear(Exception):
    """Where in the text a setting goes can't be told."""


def _written(text: str, parts: list[str], value: Any) -> str:
    here: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    while parts:
        part, rest = parts[0], parts[1:]
        inner = _inner(here, part)
        if inner is None:
            return _inserted(text, here, part, _nested(rest, value))
        if part == "0" and inner is here and not rest:
            break
        if inner.tag == "tag:yaml.org,2002:null":
            return _replaced(text, inner, _nested(rest, value))
        if rest == [END] and _is_operator(inner):
            return _listed(text, inner, value)
        here, parts = inner, rest
    return _replaced(text, here, value)


def _inner(node: yaml.Node, part: str) -> yaml.Node | None:
    """The node at a part of a place; None where it is yet to come."""
    if isinstance(node, yaml.MappingNode):
        found = next((value for key, value in node.value if key.value == part), None)
        return node if found is None and part == "0" and _is_operator(node) else found
    if isinstance(node, yaml.SequenceNode):
        return None if part == END else node.value[int(part)]
    raise _Unclear


def _is_operator(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode) and any(key.value == "kind" for key, _ in node.value)


def _nested(parts: list[str], value: Any) -> Any:
    for part in reversed(parts):
        value = [value] if part == END else {part: value}
    return value


def _end(text: str, node: yaml.Node) -> int:
    """Where a node's text ends; the marks of a block have the white space and the comments after it within them."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    end = int(node.end_mark.index)
    in_lines = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
    return len(text[:end].rstrip()) if in_lines else end


def _replaced(text: str, node: yaml.Node, value: Any) -> str:
    start, end = int(node.start_mark.index), _end(text, node)
    space = " " if text[start - 1 : start] == ":" else ""
    return text[:start] + space + flow_yaml(value) + text[end:]


def _listed(text: str, operator: Any, value: Any) -> str:
    """Put a list around an operator that is written without one, and a value beside it."""
    if not operator.flow_style:
        raise _Unclear
    start, end = int(operator.start_mark.index), _end(text, operator)
    return f"{text[:start]}[{text[start:end]}, {flow_yaml(value)}]{text[end:]}"


def _inserted(text: str, node: yaml.Node, part: str, value: Any) -> str:
    """Add a field to a mapping, or a value to the end of a list."""
    assert isinstance(node, yaml.CollectionNode)
    in_list = isinstance(node, yaml.SequenceNode)
    if node.flow_style or not node.value:
        end = int(node.end_mark.index) - 1
        before = text[:end].rstrip()
        return f"{before}{', ' if node.value else ''}{flow_yaml(value) if in_list else flow_yaml({part: value})[1:-1]}{text[end:]}"
    end = text.find("\n", _end(text, node))
    before, after = (text + "\n", "") if end < 0 else (text[: end + 1], text[end + 1 :])
    line = f"- {flow_yaml(value)}" if in_list else flow_yaml({part: value})[1:-1]
    return f"{before}{' ' * int(node.start_mark.column)}{line}\n{after}"
