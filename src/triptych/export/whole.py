"""All that examples know, of any kind, for trainers and losses of one's own: JSON lines, Parquet, a `datasets` folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.export.format import PROMPT, SPANS, TOOLS, Format
from triptych.export.rows import Facts, Rarities
from triptych.export.target import Part, Target

if TYPE_CHECKING:
    import polars as pl

_COLUMNS = {
    "example_id": "the example in the run's tables",
    "kind": "what sort of example it is",
    "prompt": PROMPT,
    "completions": "what the model is to say or not to say: a list of messages for each response",
    "steps": "the texts of the steps that were judged",
    "scores": "the objective's score of each response or step, from 0 to 1",
    "labels": "what the loss is told of each: 1 and 0, a soft label, an advantage",
    "margin": "score of the chosen less score of the rejected, from 0 to 1",
    "weight": "the example's weight",
    "spans": SPANS,
    "prompt_id": "its prompt",
    "response_ids": "its responses: of a pair the chosen and the rejected, of a ranking from best to worst",
    "judgement_ids": "every judgement that entered the scores",
    "strategy": "the instantiation that made it",
    "strategy_id": "hash of the instantiation's settings",
    "objective_version": "the version of the objective that scored it",
    "reference": "a known good or correct answer, if there is one",
    "constraints": "the prompt's checkable demands, as JSON text",
    "criteria": "criteria of this prompt alone, as JSON text",
    "tools": TOOLS,
    "source": "where the prompt comes from",
    "tags": "the prompt's labels",
    "family_id": "prompts that belong together",
}


def _shaped(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    return _selected(rows, [])


def _with_steps(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    return _selected(rows, ["steps"])


def _selected(rows: pl.LazyFrame, more: Sequence[str]) -> pl.LazyFrame:
    import polars as pl

    renamed = {"example_id": "id", "completions": "says"}
    names = [name for name in _COLUMNS if name != "steps" or more]
    return rows.select(pl.col(renamed.get(name, name)).alias(name) for name in names)


_NOUNS = {
    "pair": "pair",
    "unpaired": "binary row",
    "sft": "SFT row",
    "group": "group",
    "ranking": "ranking",
    "stepwise": "step row",
}
_FORMATS = {
    kind: Format(kind, noun, None, _COLUMNS, _with_steps if kind == "stepwise" else _shaped, lambda facts: [],
                 continuations=None, steps=kind == "stepwise")
    for kind, noun in _NOUNS.items()
}  # fmt: skip


def _loaded(part: Part, settings: Mapping[str, Any]) -> tuple[str, str]:
    loader = "parquet" if part.files[0].endswith(".parquet") else "json"
    files = {name: paths[0] for name, paths in (("train", part.files), ("test", part.tests)) if paths}
    return "python", f'from datasets import load_dataset\n\nrows = load_dataset("{loader}", data_files={files!r})'


def _from_disk(part: Part, settings: Mapping[str, Any]) -> tuple[str, str]:
    folder = part.files[0].rpartition("train/")[0].rstrip("/") or "."
    return "python", f'from datasets import load_from_disk\n\nrows = load_from_disk("{folder}")["train"]'


def _splits(parts: Sequence[Part], settings: Mapping[str, Any], out: Path) -> dict[str, str]:
    """What `load_from_disk` reads of each folder: which splits are in it."""
    return {
        f"{part.files[0].rpartition('train/')[0]}dataset_dict.json": json.dumps(
            {"splits": ["train", *(["test"] if part.tests else [])]}
        )
        for part in parts
    }


JSONL = Target("jsonl", "JSON lines", _FORMATS, (".jsonl",), _loaded)
PARQUET = Target("parquet", "Parquet", _FORMATS, (".parquet",), _loaded)
DATASETS = Target("datasets", "datasets", _FORMATS, (".arrow",), _from_disk, texts=_splits)
