"""The data set card: what the data are, how they were made, what they cost, and what is known to be wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml
from pydantic import ValidationError

from triptych.audit.finding import Finding
from triptych.audit.run import findings_of_blocks
from triptych.export.target import Part, Target
from triptych.export.trainer import trainer_settings
from triptych.operators import operator_classes
from triptych.recipes.secrets import secrets
from triptych.store.blocks import blocks
from triptych.store.replay import replayed
from triptych.store.run import Run

if TYPE_CHECKING:
    import polars as pl

_TAGS = {
    "pair": "dpo",
    "unpaired": "kto",
    "sft": "sft",
    "group": "grpo",
    "stepwise": "process-reward-model",
    "ranking": "ranking",
}
_OF_REPLAY = {"run": "the folder of the run that the row comes from: this one, or an earlier round"}


def card(run: Run, target: Target, parts: Sequence[Part], *, lost: Sequence[str], ties: int) -> str:
    """Write an export's card in the Hub's form: YAML, then Markdown. What comes from data is escaped."""
    recipe = run.recipe()
    name, settings = run.manifest.recipe, trainer_settings(recipe)
    held_out, checkable = sum(part.test_rows for part in parts), _has_a_verifier(recipe)
    text = [
        _front_matter(name, parts),
        f"# {plain(name)}",
        plain(str(recipe.get("description") or "")),
        _origin(run, name, _rows_of(parts)),
        f"{held_out:,} rows are held out, in files named `test`: whole families of prompts." if held_out else "",
        "## How to load",
        *(_code(*target.snippet(part._replace(checkable=checkable), settings)) for part in parts),
        "## Columns",
        *(_columns(part, several=len(parts) > 1) for part in parts),
        "## What these files don't tell the trainer" if lost else "",
        "\n".join(f"- {plain(said)}." for said in lost),
        "## How it was made",
        _table(["Model", "Backend", "Name", "Version", "Where"], _models(run, recipe)),
        _table(["What", "How many"], _counts(run, sum(part.rows for part in parts), ties)),
        _pairing(run),
        "## What it cost",
        _table(["What", "How much"], _costs(run)),
        "## What is known of its quality",
        _findings(run),
        "## The recipe",
        _code("yaml", run.recipe_text().strip()),
    ]
    written = "\n\n".join(part for part in text if part) + "\n"
    for secret in secrets(recipe):
        written = written.replace(secret, "[left out]")
    return written


def _rows_of(parts: Sequence[Part]) -> str:
    each = [(part.rows, "preference pair" if part.format.kind == "pair" else part.format.noun) for part in parts]
    return ", ".join(f"{rows:,} {noun}{'' if rows == 1 else 's'}" for rows, noun in each)


def _columns(part: Part, *, several: bool) -> str:
    rows = ([f"`{name}`", (part.format.columns | _OF_REPLAY)[name]] for name in part.columns)
    table = _table(["Column", "What it is"], rows)
    return f"Of `{part.format.kind}`:\n\n{table}" if several else table


def _origin(run: Run, name: str, rows: str) -> str:
    """Who made the data, and how."""
    manifest = run.manifest
    by = f"[Triptych](https://pypi.org/project/triptych/) {plain(manifest.version)}"
    if manifest.imported:
        file, _, form = manifest.imported.rpartition(" as ")
        return (
            f"{rows} of other people's data: {by} has read {plain(PurePath(file).name)} as {plain(form)}, "
            f"and made the rows with the recipe **{plain(name)}** (`{manifest.recipe_id}`). The licence is that of the data."
        )
    return (
        f"{rows}, made by {by} with the recipe **{plain(name)}** (`{manifest.recipe_id}`). "
        f"The run is {plain(manifest.status)}."
    )


def tallies(run: Run) -> pl.DataFrame:
    """What became of the prompts under each instantiation that can tell (see `Pairs.tally`)."""
    import polars as pl

    recipe = run.recipe()
    objective, seed = run.objective(), recipe.get("seed") or 0
    columns = {"strategy": pl.String, "strategy_id": pl.String, "outcome": pl.String, "prompts": pl.Int64}
    operators, nothing = _telling(recipe), pl.DataFrame(schema={**columns, "pairs": pl.Int64})
    whole = {"responses": run.responses(), "judgements": run.judgements()}
    # Where each prompt is counted by itself, what is counted of some prompts and of others can be added.
    parts = chain(((block, False) for block in blocks(run, "responses", "judgements")), [(whole, True)])
    counted = [
        operator.tally(part["responses"], part["judgements"], objective, seed).with_columns(operator=pl.lit(number))
        for part, across in parts
        for number, operator in enumerate(operators)
        if operator.across_prompts == across
    ]
    added: pl.DataFrame = (
        pl.concat([nothing.with_columns(operator=pl.lit(0)), *counted])
        .group_by("operator", "strategy", "strategy_id", "outcome", maintain_order=True)
        .agg(pl.col("prompts", "pairs").sum())
        .sort("operator", maintain_order=True)
        .drop("operator")
    )
    return added


def _telling(recipe: Mapping[str, Any]) -> list[Any]:
    """The instantiations of a recipe that can tell what became of the prompts."""
    classes = {found.model_fields["kind"].default: found for found in operator_classes("instantiation")}
    declared, found = recipe.get("instantiation") or [], []
    for settings in declared if isinstance(declared, list) else [declared]:
        kind = classes.get(settings.get("kind"))
        if kind is not None and hasattr(kind, "tally"):
            with suppress(ValidationError):  # written by another version; the rest of the card is still good
                found.append(kind.model_validate(settings))
    return found


def plain(text: str) -> str:
    """Write text so that Markdown shows it as it is, in one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#~$&!])", r"\\\1", " ".join(text.split()))


def _front_matter(name: str, parts: Sequence[Part]) -> str:
    limits = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
    rows = sum(part.rows for part in parts)
    size = next((label for limit, label in limits.items() if rows < limit), "n>1M")
    configs: list[dict[str, Any]] = [
        {
            "config_name": part.format.kind if len(parts) > 1 else "default",
            "data_files": [
                {"split": split, "path": re.sub(r"data-\d+-of-\d+\.arrow$", "*.arrow", files[0])}
                for split, files in (("train", part.files), ("test", part.tests))
                if files
            ],
        }
        for part in parts
    ]
    if len(parts) > 1:
        configs[0]["default"] = True
    content = {
        "pretty_name": name,
        "tags": ["preference", *(_TAGS[part.format.kind] for part in parts), "alignment", "triptych"],
        "task_categories": ["text-generation"],
        "size_categories": [size],
        "configs": configs,
    }
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---"


def _has_a_verifier(recipe: Mapping[str, Any]) -> bool:
    declared = recipe.get("evaluation") or []
    return any(
        settings.get("kind") == "verify" for settings in (declared if isinstance(declared, list) else [declared])
    )


def _models(run: Run, recipe: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, spec in (recipe.get("models") or {}).items():
        backend, model = (
            str(spec.get("backend", "")),
            spec.get("model") or spec.get("path") or "the embedded model",
        )
        address = _address(run.manifest.addresses.get(name, ""))
        yield [plain(str(text)) for text in (name, backend, model, spec.get("version") or "not declared", address)]


def _address(url: str) -> str:
    """An address without credentials or query."""
    parts = urlsplit(url)
    if not parts.hostname:
        return url
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


def _counts(run: Run, rows: int, ties: int) -> Iterator[list[str]]:
    manifest = run.manifest
    yield ["Prompts", f"{manifest.prompts:,}"]
    yield ["Rows set aside, since they could not be prompts", f"{manifest.set_aside:,}"]
    for name, table in (("Responses", run.responses()), ("Judgements", run.judgements())):
        by_status = table.group_by("status").len().sort("status").collect(engine="streaming").rows()
        each = ", ".join(f"{count:,} {plain(status)}" for status, count in by_status)
        yield [name, f"{sum(count for _, count in by_status):,}" + (f" ({each})" if each else "")]
    kinds = run.examples().group_by("kind").len().sort("kind").collect(engine="streaming").rows()
    yield ["Examples", ", ".join(f"{count:,} {plain(kind)}" for kind, count in kinds)]
    yield ["Rows of this data set", f"{rows:,}"]
    for other in replayed(run):
        again = other.examples().select("id").collect().height
        yield [f"Examples replayed from {plain(other.path.name)}", f"{again:,}"]
    if ties:
        yield ["Pairs left out, since they are ties", f"{ties:,}"]


def _pairing(run: Run) -> str:
    import polars as pl

    told = tallies(run).filter(pl.col("prompts") > 0)
    rows = ([f"`{r[0]}`", plain(r[2]), f"{r[3]:,}", f"{r[4]:,}"] for r in told.rows())
    return _table(["Strategy", "What became of the prompts", "Prompts", "Pairs"], rows)


def _costs(run: Run) -> Iterator[list[str]]:
    spent = run.manifest.spent
    for what, key in (("Calls", "calls"), ("Tokens", "tokens")):
        yield [what, f"{spent[key]:,.0f}" if key in spent else "not recorded"]
    yield ["US dollars", f"{spent['usd']:,.4f}" if "usd" in spent else "not recorded"]


def _findings(run: Run) -> str:
    found = findings_of_blocks(blocks(run, "responses", "judgements", "examples"))
    if not found:
        return "No diagnostic applies to these data."
    said = "Shares with 95 % intervals, clustered by prompt. Failure modes in brackets."
    heads = ["Severity", "Statistic", "Value", "95 % interval", "n", "What it says"]
    return f"{said}\n\n{_table(heads, (_finding_row(finding) for finding in found))}"


def _finding_row(finding: Finding) -> list[str]:
    value, interval = "", ""
    if finding.value is not None:
        value, interval = f"{finding.value:.3f}", f"{finding.low:.3f} to {finding.high:.3f}"
    said = plain(finding.message + (f" To change it: {finding.change}." if finding.change else ""))
    return [
        finding.severity,
        f"`{finding.name}` ({finding.failure_mode})",
        value,
        interval,
        f"{finding.n:,}",
        said,
    ]


def _table(heads: Sequence[str], rows: Iterator[list[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads), *lines]) if lines else ""


def _code(language: str, text: str) -> str:
    """A code block that no run of backticks in the text can end."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"
