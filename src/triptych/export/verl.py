"""verl's formats: Parquet files of prompts with reference answers, and of chats to imitate.

As verl/utils/dataset/rl_dataset.py and multiturn_sft_dataset.py read them (github.com/volcengine/verl).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from triptych.export.chat import CALLS_TOOLS, calls_tools, plain
from triptych.export.format import MORE, PROMPT, Format, beside, left_out, unread, unwritten_of_groups
from triptych.export.rows import Facts, Rarities
from triptych.export.target import Part, Target

if TYPE_CHECKING:
    import polars as pl

_PROMPTS = {
    "data_source": "where the prompt comes from, by which verl chooses a reward function",
    "prompt": PROMPT,
    "ability": "the prompt's first tag; `general` where it has none",
    "reward_model": "style `rule`, and the prompt's reference answer as ground_truth",
    "extra_info": "ids of the prompt and the example, the strategy, and the prompt's checkable demands as JSON text",
}
_CHATS = {"messages": "the chat with the answer at its end, as messages of a role and a content"}


def _group(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    source, reference = pl.col("source"), pl.col("reference")
    ids = [pl.col("id").alias("example_id"), pl.col("prompt_id"), pl.col("strategy"), pl.col("constraints")]
    return rows.select(
        pl.when(source != "").then(source).otherwise(pl.lit("triptych")).alias("data_source"),
        plain(pl.col("prompt")).alias("prompt"),
        pl.col("tags").list.first().fill_null("general").alias("ability"),
        pl.struct(pl.lit("rule").alias("style"), reference.alias("ground_truth")).alias("reward_model"),
        pl.struct(ids).alias("extra_info"),
        left_out(
            (reference.is_null(), "have no reference answer, which verl's reward functions compare with"),
            (calls_tools(pl.col("prompt"), rarities), CALLS_TOOLS),
        ),
    )


def _sft(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    asked, said = pl.col("prompt"), pl.col("says_0")
    return rows.select(
        plain(asked).list.concat(plain(said)).alias("messages"),
        *beside("sft", facts),
        left_out((calls_tools(asked, rarities) | calls_tools(said, rarities), CALLS_TOOLS)),
    )


def _lost_of_groups(facts: Facts) -> list[str]:
    return [
        f"the responses of {facts.rows:,} groups and their advantages are left out, since verl draws and scores its own",
        "verl has reward functions for the data sources that it names; others need reward.custom_reward_function",
        *unwritten_of_groups(facts),
    ]


def _lost_of_sft(facts: Facts) -> list[str]:
    return ["of chats with earlier answers the loss is on these too", *unread("SFT row", facts)]


def _snippet(part: Part, settings: Mapping[str, Any]) -> tuple[str, str]:
    test = part.tests[0] if part.tests else "null"
    if part.format.kind == "sft":
        flags = [f"data.train_files={part.files[0]}", f"data.val_files={test}", "data.messages_key=messages"]
        return "shell", " \\\n  ".join(
            ["torchrun -m verl.trainer.sft_trainer", *flags, "model.path=your-org/your-model"]
        )
    files = [f"data.train_files={part.files[0]}", f"data.val_files={part.tests[0] if part.tests else part.files[0]}"]
    more = [
        "algorithm.adv_estimator=grpo",
        "reward.custom_reward_function.path=your_reward.py",
        "actor_rollout_ref.model.path=your-org/your-model",
    ]
    return "shell", " \\\n  ".join(["python -m verl.trainer.main_ppo", *files, *more])


def _lost(rarities: Rarities) -> list[str]:
    return (
        ["the tools that prompts declare are left out: verl takes tools from its configuration"]
        if rarities.tools
        else []
    )


_ONLY = "verl trains on prompts with reference answers (groups) and on rows to imitate (sft)"
TARGET = Target(
    name="verl",
    title="verl",
    formats={
        "group": Format("group", "prompt", None, _PROMPTS, _group, _lost_of_groups, continuations=0),
        "sft": Format("sft", "SFT row", None, _CHATS | MORE, _sft, _lost_of_sft),
    },
    endings=(".parquet",),
    snippet=_snippet,
    others={
        kind: f"verl has no trainer for the kind {kind}: {_ONLY}"
        for kind in ("pair", "unpaired", "ranking", "stepwise")
    },
    lost=_lost,
)
