"""NeMo RL's formats: a context with ranked completions, and chats to imitate in OpenAI's form.

As nemo_rl/data/datasets reads them (github.com/NVIDIA-NeMo/RL): preference_datasets/preference_dataset.py and
response_datasets/oai_format_dataset.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from triptych.export.format import (
    MORE,
    PROMPT,
    TIE,
    Format,
    beside,
    is_tie,
    left_out,
    tools,
    unread,
    unread_of_pairs,
)
from triptych.export.rows import Facts, Rarities
from triptych.export.target import Part, Target

if TYPE_CHECKING:
    import polars as pl

_PAIRS = {
    "context": PROMPT,
    "completions": "two of them: rank 0 is the better one; its messages; the objective's score as reward",
}
_CHATS = {"messages": "the chat with the answer at its end, in OpenAI's form", "tools": "the tools that it declares"}


def _pair(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    def completion(rank: int) -> pl.Expr:
        reward = pl.col("scores").list.get(rank, null_on_oob=True).alias("reward")
        return pl.struct(pl.lit(rank).alias("rank"), pl.col(f"says_{rank}").alias("completion"), reward)

    return rows.select(
        pl.col("prompt").alias("context"),
        pl.concat_list(completion(0), completion(1)).alias("completions"),
        *beside("pair", facts),
        *tools(rarities),
        left_out((is_tie(), TIE)),
    )


def _sft(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    messages = pl.col("prompt").list.concat(pl.col("says_0")).alias("messages")
    last = pl.col("says_0").list.last().struct.field("role")
    return rows.select(
        messages,
        *tools(rarities),
        *beside("sft", facts),
        left_out((last != "assistant", "do not end with the assistant, which the trainer refuses")),
    )


def _lost_of_sft(facts: Facts) -> list[str]:
    return ["of chats with earlier answers the loss is on these too", *unread("SFT row", facts)]


def _snippet(part: Part, settings: Mapping[str, Any]) -> tuple[str, str]:
    how: dict[str, Any] = {"dataset_name": "PreferenceDataset"}
    if part.format.kind == "sft":
        how = {"dataset_name": "openai_format", "chat_key": "messages"}
        if "tools" in part.columns:
            how |= {"tool_key": "tools", "use_preserving_dataset": True}
    files = {"train": part.files, "validation": part.tests}
    data = {name: {"data_path": paths[0], **how} for name, paths in files.items() if paths}
    script = {
        "pair": "run_dpo.py --config examples/configs/dpo.yaml",
        "sft": "run_sft.py --config examples/configs/sft.yaml",
    }
    head = f"# Over that of: uv run examples/{script[part.format.kind]}"
    return "yaml", f"{head}\n{yaml.safe_dump({'data': data}, sort_keys=False)}".strip()


TARGET = Target(
    name="nemo-rl",
    title="NeMo RL",
    formats={
        "pair": Format("pair", "pair", None, MORE | _PAIRS, _pair, unread_of_pairs, continuations=2),
        "sft": Format("sft", "SFT row", None, MORE | _CHATS, _sft, _lost_of_sft, json=("tools",)),
    },
    endings=(".jsonl",),
    snippet=_snippet,
    others={
        "unpaired": "NeMo RL has no trainer for binary rows",
        "group": "NeMo RL has a data set class for each of its environments, and no format for prompts in general",
        "ranking": "NeMo RL's trainers take two completions of a context; `pairs` with choose: all_pairs makes pairs",
        "stepwise": "NeMo RL has no trainer for rows of steps",
    },
    lost=lambda rarities: ["NeMo RL shows tools to the model in SFT alone"] if rarities.tools else [],
)
