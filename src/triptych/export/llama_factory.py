"""LLaMA-Factory's ShareGPT form, with an entry for `dataset_info.json`.

As src/llamafactory/data/converter.py reads it (github.com/hiyouga/LLaMA-Factory): it skips a row whose chat has user and
assistant not in turns, so such rows are left out here, and said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from triptych.export.chat import (
    CALLS_TOOLS,
    NO_TURNS,
    NOT_ONE_ANSWER,
    alternates,
    calls_tools,
    content,
    one_answer,
    plain,
)
from triptych.export.format import (
    MORE,
    PROMPT,
    TIE,
    Format,
    beside,
    is_tie,
    left_out,
    only_yes_or_no,
    tools,
    unread,
    unread_of_pairs,
)
from triptych.export.rows import Facts, Rarities
from triptych.export.target import Part, Target

if TYPE_CHECKING:
    import polars as pl

_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function_call",
    "system_tag": "system",
}
_WHOLE = {"messages": "the chat with the answer at its end, as messages of a role and a content"}
_THUMB = {"kto_tag": "whether the answer is good"}
_ANSWERS = {"chosen": "the better answer, a message", "rejected": "the other answer, a message"}


def _pair(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    says = [pl.col(f"says_{place}") for place in (0, 1)]
    answers = [plain(each).list.last().alias(name) for each, name in zip(says, _ANSWERS, strict=True)]
    called = calls_tools(pl.col("prompt"), rarities)
    for each in says:
        called = called | calls_tools(each, rarities)
    return rows.select(
        plain(pl.col("prompt")).alias("messages"),
        *answers,
        *beside("pair", facts),
        *tools(rarities),
        left_out(
            (is_tie(), TIE),
            (called, CALLS_TOOLS),
            (~one_answer(says[0]) | ~one_answer(says[1]), NOT_ONE_ANSWER),
            (~alternates(pl.col("prompt")), NO_TURNS),
        ),
    )


def _single(kind: str, rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    asked, said = pl.col("prompt"), pl.col("says_0")
    thumb, empty = (pl.col("labels").list.first() == 1).alias("kto_tag"), content(said).str.len_bytes() == 0
    return rows.select(
        plain(asked).list.concat(plain(said)).alias("messages"),
        *([thumb] if kind == "unpaired" else []),
        *beside(kind, facts),
        *tools(rarities),
        left_out(
            (calls_tools(asked, rarities) | calls_tools(said, rarities), CALLS_TOOLS),
            (~one_answer(said), NOT_ONE_ANSWER),
            (~alternates(asked), NO_TURNS),
            (
                empty if kind == "unpaired" else pl.lit(False),
                "have an empty answer, which the trainer takes for a bad one",
            ),
        ),
    )


def _unpaired(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    return _single("unpaired", rows, facts, rarities)


def _sft(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    return _single("sft", rows, facts, rarities)


def entries(parts: Sequence[Part]) -> dict[str, Any]:
    """What `dataset_info.json` says of the files."""
    return {
        name: {
            "file_name": files[0],
            "formatting": "sharegpt",
            **({"ranking": True} if part.format.kind == "pair" else {}),
            "columns": {
                name: name for name in ("messages", "chosen", "rejected", "kto_tag", "tools") if name in part.columns
            },
            "tags": _TAGS,
        }
        for part in parts
        for name, files in (
            (_name(part), part.files),
            (f"{_name(part)}_test", part.tests),
        )
        if files
    }


def _name(part: Part) -> str:
    return f"triptych_{part.format.kind}"


def _snippet(part: Part, settings: Mapping[str, Any]) -> tuple[str, str]:
    stage = {"pair": "dpo", "unpaired": "kto", "sft": "sft"}[part.format.kind]
    said: dict[str, Any] = {"stage": stage, "do_train": True, "dataset_dir": ".", "dataset": _name(part)}
    if part.tests:
        said["eval_dataset"] = f"{_name(part)}_test"
    if stage == "sft":
        said["mask_history"] = True  # the loss on the last answer alone
    more = {"model_name_or_path": "your-org/your-model", "template": "default", "output_dir": "trained"}
    head = "# llamafactory-cli train FILE, in the folder with dataset_info.json; template is that of the model"
    return "yaml", f"{head}\n{yaml.safe_dump(said | more, sort_keys=False)}".strip()


def _texts(parts: Sequence[Part], settings: Mapping[str, Any], out: Path) -> dict[str, str]:
    return {"dataset_info.json": json.dumps(entries(parts), indent=2) + "\n"}


_FORMATS = (
    Format("pair", "pair", None, {"messages": PROMPT, **_ANSWERS, **MORE}, _pair, unread_of_pairs, continuations=2),
    Format("unpaired", "binary row", None, _WHOLE | _THUMB | MORE, _unpaired,
           lambda facts: unread("binary row", facts), only_yes_or_no("binary row", "leave out labels: soft")),
    Format("sft", "SFT row", None, _WHOLE | MORE, _sft, lambda facts: unread("SFT row", facts)),
)  # fmt: skip
TARGET = Target(
    name="llama-factory",
    title="LLaMA-Factory",
    formats={each.kind: each for each in _FORMATS},
    endings=(".jsonl",),
    snippet=_snippet,
    others={
        "group": "LLaMA-Factory has no format for groups: its PPO reads SFT rows and scores with a reward model",
        "ranking": "LLaMA-Factory has no format for rankings; `pairs` with choose: all_pairs makes pairs of them",
        "stepwise": "LLaMA-Factory has no format for rows of steps",
    },
    texts=_texts,
)
