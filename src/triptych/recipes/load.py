"""Reading recipes from YAML, with errors that name the line and the field."""

from __future__ import annotations

import re
import types
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from triptych.errors import Problem, RecipeError
from triptych.operators import Nested, any_of, suggestion
from triptych.recipes.recipe import Recipe

Path_ = tuple[str | int, ...]


def shipped_recipes() -> list[str]:
    """The names of the recipes that come with Triptych."""
    folder = files("triptych.recipes")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


@cache
def known_recipes() -> dict[str, Path]:
    """The files of all recipes that go by a name: Triptych's own, then those that installed packages add.

    A package adds the YAML files of a folder by an entry point of the group `triptych.recipes` that names the folder as a
    module. A name that is taken stays with who had it.
    """
    found = {name: Path(str(files("triptych.recipes") / f"{name}.yaml")) for name in shipped_recipes()}
    for entry in entry_points(group="triptych.recipes"):
        try:
            module = entry.load()
            folder = Path(module.__file__).parent
            added = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
        except (Exception, SystemExit) as error:  # another's broken package must not break every recipe
            _warn(f"the recipes {entry.name!r} of an installed package can't be read: {error}")
            continue
        for name in added.keys() & found.keys():
            _warn(f"the recipe {name!r} of {entry.value} is left out: there is another of that name")
        found = added | found
    return {name: found[name] for name in sorted(found)}


def _warn(said: str) -> None:
    warnings.warn(said, stacklevel=3)


def find_recipe(name: str) -> Path:
    """Find a recipe's file: a path, or the name of a known recipe, though a folder is called so, such as its run."""
    path = Path(name)
    if path.is_file():
        return path
    known = known_recipes()
    if name in known:
        return known[name]
    if path.suffix in (".yaml", ".yml") or path.exists():
        return path
    said = f"there is no such file, and no shipped recipe of that name{suggestion(name, known)}"
    raise RecipeError(name, [Problem(said)])


def load_recipe(source: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a YAML file, or a shipped one by its name.

    `changes` are settings of the form `a.b.0.c=value`, with the value in YAML, applied before validating; `a.+=value`
    adds to the end of a list.
    Raises `RecipeError` with every problem found, each with its line and field.
    """
    path = find_recipe(str(source))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RecipeError(str(source), [Problem(f"can't be read: {reason}")]) from error
    return parse_recipe(text, str(source), changes)


def parse_recipe(text: str, source: str = "recipe", changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe from YAML text; `source` names it in errors."""
    content, lines = _read_yaml(text, source)
    for change in changes:
        _apply(content, change)
    return build_recipe(content, source, lines)


def build_recipe(
    content: Mapping[str, Any], source: str = "recipe", lines: Mapping[Path_, int] | None = None
) -> Recipe:
    """Validate a recipe given as plain values. Raises `RecipeError`."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(source, list(_problems(error, lines or {}))) from error


_MOST_VALUES = 1_000_000


class _Loader(yaml.SafeLoader):
    """YAML as recipes use it."""


def read_exponents(reader_or_writer: Any) -> None:
    """Take `1e-5` for a number, as YAML 1.2 does."""
    pattern = re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
    reader_or_writer.add_implicit_resolver("tag:yaml.org,2002:float", pattern, list("-+0123456789"))


read_exponents(_Loader)


def read_plain(text: str, source: str = "recipe") -> dict[str, Any]:
    """Read YAML text as plain values, before anything is checked. Raises `RecipeError`."""
    return _read_yaml(text, source)[0]


def _read_yaml(text: str, source: str) -> tuple[dict[str, Any], dict[Path_, int]]:
    content, lines = _any_yaml(text, source)
    if not isinstance(content, dict):
        raise RecipeError(source, [Problem("is not a mapping with fields such as name, models, prompts", line=1)])
    return content, lines


def _any_yaml(text: str, source: str) -> tuple[Any, dict[Path_, int]]:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        lines: dict[Path_, int] = {}
        if node is not None:
            if _written_out(node, {}) > _MOST_VALUES:
                raise ValueError(f"with its aliases written out it has more than {_MOST_VALUES:,} values")
            _note_lines(node, (), lines, source)
        return (_apart(loader.construct_document(node)) if node is not None else None), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise RecipeError(
            source, [Problem(f"is not valid YAML: {error.problem or error.context}", line=line)]
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(source, [Problem(f"is not valid YAML: {error}")]) from error


def _apart(value: Any) -> Any:
    """Copy plain values so that what an alias stands for is there anew, and a setting changes one place alone."""
    if isinstance(value, dict):
        return {name: _apart(inner) for name, inner in value.items()}
    return [_apart(inner) for inner in value] if isinstance(value, list) else value


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node comes to where each alias is written out: a few lines can stand for more than fit anywhere."""
    if id(node) not in known:
        known[id(node)] = 1  # an alias of itself is refused later
        inner = node.value if isinstance(node, yaml.SequenceNode | yaml.MappingNode) else ()
        each = [part for pair in inner for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_written_out(part, known) for part in each)
    return known[id(node)]


def _note_lines(node: yaml.Node, path: Path_, lines: dict[Path_, int], source: str) -> None:
    """Remember on which line each field stands. A key given twice is an error: one of them would be lost."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            _note_lines(item, (*path, place), lines, source)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            line = key.start_mark.line + 1
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                raise RecipeError(
                    source, [Problem("is no name in YAML as it stands; put it in quotes", _dotted(inner), line)]
                )
            if inner in lines:
                raise RecipeError(
                    source, [Problem(f"is given twice, first on line {lines[inner]}", _dotted(inner), line)]
                )
            lines[inner] = line
            _note_lines(value, inner, lines, source)


def _apply(content: dict[str, Any], change: str) -> None:
    field, equals, value = change.partition("=")
    if not equals or not field:
        raise RecipeError("--set", [Problem(f"{change!r} is not of the form a.b=value")])
    try:
        set_in(content, field.strip(), value if value.strip() == "-" else yaml.load(value, _Loader))  # - is standard input
    except (IndexError, KeyError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise RecipeError(
            "--set", [Problem(f"{field} is no place in this recipe, or {value!r} no YAML value")]
        ) from error


END = "+"
"""The last part of a place that is past the end of a list."""


def set_in(content: dict[str, Any], place: str, value: Any) -> None:
    """Put a value at a dotted place of a recipe's plain values; `evaluation.+` is past the end of the list.

    Raises an `IndexError`, `KeyError`, `ValueError` or `TypeError` where there is no such place.
    """
    parts = place.split(".")
    here: Any = content
    for part, after in pairwise(parts):
        if part == "0" and isinstance(here, dict) and "kind" in here:
            continue  # a single operator, written without the list around it
        if isinstance(here, dict) and here.get(part) is None:
            here[part] = [] if after == END else {}
        key = int(part) if isinstance(here, list) else part
        if after == END and isinstance(here[key], dict) and "kind" in here[key]:
            here[key] = [here[key]]
        here = here[key]
    last = parts[-1]
    if not isinstance(here, list):
        if last == END:
            raise IndexError(place)
        here[last] = value
    elif last == END:
        here.append(value)
    else:
        here[int(last)] = value


def _problems(error: ValidationError, lines: Mapping[Path_, int]) -> Iterator[Problem]:
    for found in _each(error.errors(include_url=False)):
        context = found.get("ctx") or {}
        if found["type"] == "recipe":
            for field, message in context["problems"]:
                yield _problem(tuple(int(p) if p.isdigit() else p for p in field.split(".")), message, lines)
            continue
        path = _without_tags(found["loc"])
        yield _problem(path, _sentence(found, path), lines)


def _each(errors: Iterable[Any], at: tuple[Any, ...] = ()) -> Iterator[Any]:
    """The errors one by one; those of an operator inside of another as if they were its own."""
    for found in errors:
        here = (*at, *found["loc"])
        if found["type"] == "operator":
            yield from _each(found["ctx"]["errors"], here)
        else:
            yield {**found, "loc": here}


def _problem(path: Path_, message: str, lines: Mapping[Path_, int]) -> Problem:
    written: Path_ = ()
    for place, part in enumerate(path):
        if lines and part == 0 and (*written, part) not in lines and isinstance(part, int):
            continue  # a single operator may be written without the list around it
        written = (*written, part)
        if lines and written not in lines:
            return Problem(message, _dotted((*written, *path[place + 1 :])), lines.get(written[:-1]))
    return Problem(message, _dotted(written), lines.get(written))


def _sentence(found: Any, path: Path_) -> str:
    kind, context = found["type"], found.get("ctx") or {}
    if kind == "extra_forbidden":
        return f"is not a field here{suggestion(str(path[-1]), _fields_at(found['loc'][:-1]))}"
    if kind == "missing":
        return "is missing"
    if kind == "union_tag_invalid":
        tags = [tag.strip().strip("'") for tag in context["expected_tags"].split(",")]
        return f"{context['discriminator'].strip(chr(39))} {context['tag']!r} is not known{suggestion(context['tag'], tags)}"
    if kind == "union_tag_not_found":
        return f"needs a field {context['discriminator'].strip(chr(39))} that says which kind it is"
    if kind == "value_error":
        return str(context.get("error", found["msg"]))
    message = str(found["msg"])
    return message[0].lower() + message[1:]


def _without_tags(loc: Path_) -> Path_:
    """Drop the discriminator values that pydantic puts into the path of a union's member."""
    kept: list[str | int] = []
    model: Any = Recipe
    for part in loc:
        tags = _tagged(model)
        if part in tags:
            model = tags[part]
            continue
        kept.append(part)
        model = _inside(model, part)
    return tuple(kept)


def _fields_at(loc: Path_) -> list[str]:
    """Fields that the place at `loc` could have, by the names under which they are written."""
    model: Any = Recipe
    for part in loc:
        tags = _tagged(model)
        model = tags[part] if part in tags else _inside(model, part)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _tagged(annotation: Any) -> dict[str | int, Any]:
    """Map discriminator values to classes where `annotation` is a union of models."""
    members = [m for m in _flatten(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]
    if len(members) < 2:
        return {}
    fields = ("kind", "backend")
    return {m.model_fields[f].default: m for m in members for f in fields if f in m.model_fields}


def _inside(annotation: Any, part: str | int) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        panel = next((mark.panel for mark in field.metadata if isinstance(mark, Nested)), None) if field else None
        return any_of(panel) if panel else field.annotation if field else None
    arguments = [a for a in get_args(annotation) if a not in (type(None), Ellipsis)]
    if not arguments:
        return None
    if isinstance(annotation, types.UnionType) or str(annotation).startswith("typing.Union"):
        inside = [found for argument in arguments if (found := _inside(argument, part)) is not None]
        return inside[0] if inside else None
    held = next((mark.panel for mark in getattr(arguments[-1], "__metadata__", ()) if isinstance(mark, Nested)), None)
    return any_of(held) if held else arguments[-1]


def _flatten(annotation: Any) -> list[Any]:
    if str(annotation).startswith("typing.Annotated"):
        return _flatten(get_args(annotation)[0])
    if isinstance(annotation, types.UnionType) or str(annotation).startswith("typing.Union"):
        return [member for argument in get_args(annotation) for member in _flatten(argument)]
    return [annotation]


def _dotted(path: Path_) -> str:
    return ".".join(str(part) for part in path)
