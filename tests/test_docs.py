"""The docs: their code and commands are run, and their reference tables are those of the code.

The blocks of a page run from top to bottom, in a folder and a Python namespace of the page's own:

- ```python runs; an ```output block after it is what it prints to stdout.
- ```console runs each `$ command` and compares what follows it with stdout and stderr.
- ```LANGUAGE FILE writes the block to FILE; a pyproject.toml is installed for the rest of the page.
- Any other block is only shown.
- Between `<!-- generated: WHAT -->` and `<!-- end -->` stands what `generated(WHAT)` gives.

In outputs, `...` stands for anything; times and the digits of ids are not compared. The endpoint of the docs,
http://127.0.0.1:8000/v1, is `endpoint.py` on a free port. `python tests/test_docs.py` brings outputs and generated
parts up to date: look through its diff.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel

from endpoint import endpoint
from triptych import errors
from triptych.app.cli import _guarded, cli
from triptych.audit.judges import MORE
from triptych.evaluation.constraints.check import Counted
from triptych.evaluation.verify import _ADAPTER
from triptych.imports.formats import BUILT_IN, formats
from triptych.operators import operator_classes
from triptych.prompts.columns import Columns
from triptych.recipes.load import load_recipe, shipped_recipes
from triptych.recipes.recipe import Recipe
from triptych.recipes.schema import field_meanings
from triptych.store.run import Manifest
from triptych.store.tables import FREE_FORM, TABLES, schema

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ADDRESS = "http://127.0.0.1:8000"
BLOCK = re.compile(r"^```(?P<head>.*)\n(?P<body>(?:.*\n)*?)```$", re.MULTILINE)
GENERATED = re.compile(r"<!-- generated: (?P<what>.+) -->\n(?P<body>(?:.*\n)*?)<!-- end -->")
UPDATE = "run `python tests/test_docs.py` and look through its diff"


# --- running a page


@dataclass
class Page:
    """A page's own folder and namespace, and what its blocks said that the page does not say."""

    folder: Path
    base_url: str
    names: dict[str, Any] = field(default_factory=dict)
    packages: Path | None = None
    returned: int = 0
    stale: list[tuple[int, int, str]] = field(default_factory=list)
    """Spans of the page, and what should stand there."""

    def run(self, text: str) -> None:
        printed = ""
        for block in BLOCK.finditer(text):
            language, _, file = block["head"].partition(" ")
            body = block["body"]
            if language == "python" and not file:
                printed = self.python(body)
            elif language == "output":
                self.compare(body, printed, block.start("body"))
            elif language == "console":
                self.console(body, block.start("body"))
            elif file:
                self.write(file, body)

    def python(self, code: str) -> str:
        with self.here() as out, contextlib.redirect_stderr(io.StringIO()):
            exec(compile(self.outward(code), "the page", "exec"), self.names)
        return self.inward(out.getvalue())

    def console(self, body: str, start: int) -> None:
        for step in re.finditer(r"^\$ (?P<command>(?:.*\\\n)*.*)\n(?P<said>(?:(?!\$ ).*\n)*)", body, re.MULTILINE):
            said = self.inward(self.command(self.outward(step["command"].replace("\\\n", ""))))
            self.compare(step["said"], said, start + step.start("said"))

    def command(self, command: str) -> str:
        if command == "echo $?":
            return f"{self.returned}\n"
        plain = not re.search(r"[|<>$&]", command) and self.packages is None
        if plain and command.startswith("triptych "):  # in this process: it has already imported what it needs
            with self.here() as out:
                words = shlex.split(command)[1:]
                self.returned = _guarded(lambda: cli.main(words, prog_name="triptych", standalone_mode=False))
            return out.getvalue()
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        sources = os.pathsep.join(map(str, filter(None, [self.packages, ROOT / "src"])))  # of this checkout
        environment = {**os.environ, "PATH": path, "PYTHONPATH": sources}
        ran = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.returned = ran.returncode
        return ran.stdout.decode()

    def write(self, file: str, body: str) -> None:
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.outward(body))
        if path.name == "pyproject.toml":
            self.packages = path.parent
            install(path)

    def compare(self, expected: str, said: str, start: int) -> None:
        if not matches(expected, said):
            self.stale.append((start, start + len(expected), said))

    @contextlib.contextmanager
    def here(self) -> Iterator[io.StringIO]:
        before, out = Path.cwd(), io.StringIO()
        os.chdir(self.folder)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                yield out
        finally:
            os.chdir(before)

    def outward(self, text: str) -> str:
        return text.replace(ADDRESS, self.base_url)

    def inward(self, text: str) -> str:
        text = text.replace(self.base_url, ADDRESS)
        return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def install(pyproject: Path) -> None:
    """What `pip install --editable` would leave beside the package."""
    project = tomllib.loads(pyproject.read_text())["project"]
    info = pyproject.parent / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{name} = {to}\n" for name, to in entries.items()) for group, entries in groups]
    (info / "entry_points.txt").write_text("\n".join(lines))


def matches(expected: str, said: str) -> bool:
    pattern = re.escape(settled(expected)).replace(re.escape("..."), ".*?")
    return re.fullmatch(pattern, settled(said), re.DOTALL) is not None


def settled(text: str) -> str:
    text = re.sub(r"\b\d+(?:\.\d+)? s\b", "# s", text)
    return re.sub(r"\b([prjeoc]_)?(?:[0-9a-f]{32}|[0-9a-f]{24})\b", r"\1#", text)


# --- what is generated


def generated(what: str) -> str:
    kind, _, name = what.partition(" ")
    text: str = GENERATORS[kind](name)
    return text.strip("\n") + "\n"


def help_of(command: str) -> str:
    found: click.Command = cli if not command else cli.commands[command]
    path = f"triptych {command}".strip()
    names = ["-h", "--help"]
    context = found.make_context(path, [], resilient_parsing=True, terminal_width=78, help_option_names=names)
    with context:
        return f"```text\n{found.get_help(context)}\n```"


def fields_of(name: str) -> str:
    """A table of the fields of the pydantic model `module:Class`, or of the operators of a panel."""
    if ":" not in name:
        own = [cls for cls in operator_classes(name) if cls.__module__.startswith("triptych.")]
        return "\n\n".join(map(operator_table, own))
    module, cls = name.split(":")
    return model_table(getattr(importlib.import_module(f"triptych.{module}"), cls))


def methods_table(which: str) -> str:
    """What the shipped methods are, from their recipes: those of the survey's table, or the others."""
    rows = []
    for name in shipped_recipes():
        method = load_recipe(name).method
        if method is None or (method.survey is None) == (which == "classified"):
            continue
        paper = f"[{method.title}](https://arxiv.org/abs/{method.arxiv})" if method.arxiv else method.title
        also = f"; also {', '.join(method.also)}" if method.also else ""
        options = {axis: "/".join(each) for axis, each in method.place.options().items()}
        axes = [f"{axis} {value}" for axis, value in options.items() if value not in ORDINARY]
        survey = "".join(f"; the survey: {axis} {value}" for axis, value in (method.survey or {}).items())
        settings = ", ".join(f"{key}: {value}" for key, value in method.trl.items())
        rows.append(
            (f"`{name}`", f"{paper}, {method.year}{also}", ", ".join(axes) + survey, method.data,
             method.approximated or "nothing: exact", method.loss, f"`{settings}`" if settings else "")
        )  # fmt: skip
    return table(("recipe", "method", "place", "data", "approximated", "left to the trainer", "TRL"), rows)


def formats_table(_: str) -> str:
    """The formats of data to import."""
    return table(("format", "its rows"), [(f"`{name}`", formats()[name].about) for name in sorted(BUILT_IN)])


def repairs_table(_: str) -> str:
    """The repairs, from their classes."""
    from triptych.audit.repairs import REPAIRS

    rows = [
        (f"`{name}`", ", ".join(each.mitigates), " ".join(inspect.getdoc(each).split()))
        for name, each in REPAIRS.items()
    ]
    return table(("repair", "modes", "what it does"), rows)


def fields_table(name: str) -> str:
    """The fields of the struct `module:Class`."""
    module, cls = name.split(":")
    struct = getattr(importlib.import_module(f"triptych.{module}"), cls)
    said = field_meanings(struct)
    return table(("field", "meaning"), [(f"`{each}`", said[each]) for each in struct.__struct_fields__])


def diagnostics_table(stage: str) -> str:
    """The diagnostics of a stage, from their classes."""
    from triptych.audit.audit import DIAGNOSTICS

    rows = [
        (f"`{each.name}`", each.failure_mode, " ".join(inspect.getdoc(each).split()),
         "; ".join(need.what for need in each.needs) or "-", *(each.range_of(ends).replace("any", "-") for ends in (each.good, each.error)),
         each.source, change_of(each))
        for each in DIAGNOSTICS
        if type(each).__module__.split(".")[2] == stage
    ]  # fmt: skip
    return table(("finding", "mode", "what is measured", "needs", "expected", "error beyond", "source", "the change"), rows)


def change_of(diagnostic: Any) -> str:
    """What a finding of a diagnostic gives to have it changed: a diff, a repair, or words alone."""
    does = [f"{each.does[0].lower()}{each.does[1:]}" for each in diagnostic.mitigations]
    parts = [f"diff: {'; else '.join(does)}"] * bool(does) + [f"repair: `{diagnostic.repair}`"] * bool(diagnostic.repair)
    return ". ".join(parts) or "words"


def operator_table(cls: type[BaseModel]) -> str:
    kind = cls.model_fields["kind"].default
    return f"### `{kind}`\n\n{paragraphs(cls)}\n\n{model_table(cls)}"


def model_table(cls: type[BaseModel]) -> str:
    written, said = cls.model_json_schema(), field_meanings(cls)
    required = written.get("required", ())
    rows = [
        (f"`{name}`", kind_of(part), "required" if name in required else default_of(part), said[name])
        for name, part in written.get("properties", {}).items()
        if "const" not in part and not inherited(cls, name)
    ]
    return table(("field", "value", "default", "meaning"), rows) if rows else "No fields."


def inherited(cls: type[BaseModel], name: str) -> bool:
    """Whether a field is just as in a base of models, whose fields have a table of their own."""
    return any(
        repr(base.model_fields.get(name)) == repr(cls.model_fields[name])
        for base in cls.__mro__[1:]
        if issubclass(base, BaseModel) and base.__name__ in ("_ModelBase", "_EndpointBase")
    )


def constraint_table(_: str) -> str:
    return table(("kind", "fields", "holds where the answer"), [constraint_row(cls) for cls in constraints()])


def constraint_row(cls: type[BaseModel]) -> tuple[str, str, str]:
    written, said = cls.model_json_schema(), field_meanings(cls)
    fields = ["`min`, `max`"] if issubclass(cls, Counted) else []
    for name, part in written["properties"].items():
        if name not in ("kind", "min", "max"):
            default = default_of(part) and f", default {default_of(part)}"
            fields.append(f"`{name}`: {kind_of(part)}{default}{f'. {said[name]}' if name in said else ''}")
    meaning = literal(paragraphs(cls)).replace("\n\n", "<br>")
    return f"`{cls.model_fields['kind'].default}`", "<br>".join(fields), meaning


def literal(text: str) -> str:
    """Text whose angle brackets and asterisks are not Markdown, save inside of backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part[:1] == "`" else part.replace("<", "&lt;").replace("*", "\\*") for part in parts)


def constraints() -> list[type[BaseModel]]:
    """The classes behind `Constraint`, in the order of its definition."""
    members = _ADAPTER.core_schema["choices"].values()  # type: ignore[typeddict-item]
    found: list[type[BaseModel]] = []
    for member in members:
        while "cls" not in member:
            member = member["schema"]
        found.append(member["cls"])
    return found


def record_table(name: str) -> str:
    cls, types = TABLES[name], schema(name)
    said = field_meanings(cls)
    rows = [(f"`{name}`", polars_type(name, types[name]), said[name]) for name in cls.__struct_fields__]
    return table(("column", "type", "meaning"), rows)


def polars_type(column: str, dtype: Any) -> str:
    if column in FREE_FORM:
        return "text (JSON)"
    if hasattr(dtype, "inner"):
        return f"list of {plural(polars_type('', dtype.inner))}"
    if hasattr(dtype, "fields"):
        inner = ", ".join(each.name for each in dtype.fields)
        return f"struct ({inner})"
    names = {"String": "text", "Float64": "number", "Int32": "whole number"}
    return names.get(str(dtype), "time (UTC)")


def manifest_table(_: str) -> str:
    said = field_meanings(Manifest)
    return table(("field", "meaning"), [(f"`{name}`", said[name]) for name in Manifest.__struct_fields__])


def exit_code_table(_: str) -> str:
    tree = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, errors.TriptychError)]
    rows = [(str(each.exit_code), f"`{each.__name__}`", paragraphs(each)) for each in tree]
    return table(("exit code", "error", "when"), sorted(rows, key=lambda row: int(row[0])))


def meanings_table(name: str) -> str:
    """The fields of the struct `module:Class`, with what they mean."""
    module, cls = name.split(":")
    struct = getattr(importlib.import_module(f"triptych.{module}"), cls)
    said = field_meanings(struct)
    return table(("field", "meaning"), [(f"`{name}`", said[name]) for name in struct.__struct_fields__])


def principles_table(_: str) -> str:
    """The rules of the six principles."""
    from triptych.audit.principles import PRINCIPLES, RULES

    rows = []
    for rule in RULES:
        looked_at = ["the recipe"] if rule.static is not None else []
        looked_at += [", ".join(f"`{name}`" for name in rule.statistics)] if rule.statistics else []
        looked_at += [rule.refused] if rule.refused else []
        told = "; ".join(looked_at) or f"not checked: {rule.unchecked}"
        rows.append((rule.id, PRINCIPLES[rule.principle], rule.asks, f"{told} ({rule.limits})" if rule.limits else told))
    return table(("rule", "principle", "what should be so", "what is looked at"), rows)


def judge_figures(_: str) -> str:
    """The figures of judges that are no diagnostics."""
    return table(("figure", "about", "meaning"), [(f"`{name}`", *each[::2]) for name, each in MORE.items()])


GENERATORS = {
    "meanings": meanings_table,
    "principles": principles_table,
    "help": help_of,
    "fields": fields_of,
    "constraints": constraint_table,
    "record": record_table,
    "manifest": manifest_table,
    "exit-codes": exit_code_table,
    "methods": methods_table,
    "formats": formats_table,
    "diagnostics": diagnostics_table,
    "repairs": repairs_table,
    "struct": fields_table,
    "judge-figures": judge_figures,
}
ORDINARY = ("random", "none", "outcome", "one")
"""Places in the taxonomy that go without saying."""


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    escaped = [tuple(" ".join(cell.replace("|", "\\|").split()) for cell in row) for row in rows]
    lines = [head, ("---",) * len(head), *escaped]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def paragraphs(cls: type) -> str:
    parts = inspect.cleandoc(cls.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in parts)


def kind_of(part: dict[str, Any]) -> str:
    """What a JSON Schema allows, in a few words."""
    if "enum" in part:
        return " or ".join(f"`{value}`" for value in part["enum"])
    if "$ref" in part:
        return f"`{part['$ref'].rpartition('/')[2]}`"
    if options := part.get("anyOf"):
        options = [option for option in options if option.get("type") != "null"]
        if len(options) == 2 and kind_of(options[0]) == kind_of(options[1].get("items", {})):
            return f"{kind_of(options[0])}, or a list of such"
        return " or ".join(map(kind_of, options))
    if "discriminator" in part:
        kinds = part["discriminator"]["mapping"]
        return "[constraint](constraints.md)" if "words" in kinds else " or ".join(f"`{kind}`" for kind in kinds)
    kind = part.get("type", "anything")
    if kind == "array":
        fixed = part.get("prefixItems")
        of = f"{len(fixed)} {kind_of(fixed[0])}" if fixed else kind_of(part.get("items", {}))
        return f"list of {plural(of)}"
    if kind == "object":
        values = part.get("additionalProperties")
        return f"names to {kind_of(values)}" if isinstance(values, dict) else "object"
    names = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    return names.get(kind, kind) + bounds(part)


def plural(kind: str) -> str:
    return re.sub(r"^((?:\d )?(?:whole number|number|object|text|\[constraint))\b", r"\1s", kind)


def bounds(part: dict[str, Any]) -> str:
    ends = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    said = [f"{sign} {part[name]:g}" for name, sign in ends.items() if name in part and part[name] < 2**31]
    return f" {', '.join(said)}" if said else ""


def default_of(part: dict[str, Any]) -> str:
    default = part.get("default")
    return "" if default in (None, "", []) or isinstance(default, dict) else f"`{json.dumps(default)}`"


# --- the tests


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with endpoint() as server:
        yield server.url


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_what_a_page_shows_is_what_happens(path, base_url, tmp_path):
    text = path.read_text()
    page = Page(tmp_path, base_url)
    page.run(text)
    for start, end, said in page.stale:
        line = text.count("\n", 0, start) + 1
        pytest.fail(f"{path.name}, line {line} shows\n{text[start:end]}\nbut there came\n{said}\n{UPDATE}")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_reference_tables_are_those_of_the_code(path):
    for part in GENERATED.finditer(path.read_text()):
        assert part["body"] == generated(part["what"]), f"{path.name}: {part['what']} has changed; {UPDATE}"


def test_every_command_operator_and_column_has_its_place_in_the_docs():
    there = {part["what"] for page in PAGES for part in GENERATED.finditer(page.read_text())}
    wanted = {f"help {name}" for name in cli.commands} | {"help ", "constraints", "exit-codes", "manifest"}
    wanted |= {f"record {name}" for name in TABLES}
    wanted |= {f"fields {panel}" for panel in ("prompts", "evolution", "synthesis", "evaluation", "instantiation")}
    wanted |= {f"fields {cls.__module__.removeprefix('triptych.')}:{cls.__name__}" for cls in (Recipe, Columns)}
    assert {each.strip() for each in wanted} <= {each.strip() for each in there}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    text = BLOCK.sub("", path.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        assert there.exists(), f"{path.name} links to {target}, which does not exist"
        if anchor:
            assert anchor in anchors(there.read_text()), f"{path.name} links to {target}, which has no such heading"


def test_the_map_names_every_page():
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "index.md").read_text()))
    assert linked == {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- bringing the docs up to date


def update() -> None:
    with endpoint() as server:
        for path in PAGES:
            text = GENERATED.sub(renewed, path.read_text())
            with tempfile.TemporaryDirectory() as folder:
                page = Page(Path(folder), server.url)
                page.run(text)
            for start, end, said in reversed(page.stale):
                text = text[:start] + said + text[end:]
            path.write_text(text)


def renewed(part: re.Match[str]) -> str:
    return f"<!-- generated: {part['what']} -->\n{generated(part['what'])}<!-- end -->"


if __name__ == "__main__":
    update()
