"""OpenRLHF's formats, whose columns are named by flags (github.com/OpenRLHF/OpenRLHF, openrlhf/datasets).

Pairs, rows to imitate and prompts as version 0.11 reads them; binary rows and rows of steps as it did up to 0.9, after
which it has no trainer for them. Its labels of steps can be numbers too, but its code puts them among whole ones and fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from triptych.export.chat import CALLS_TOOLS, calls_tools
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
    unwritten_of_groups,
)
from triptych.export.rows import Facts, Rarities
from triptych.export.target import Part, Target

if TYPE_CHECKING:
    import polars as pl

PLACEHOLDER = "ки"
"""The mark after each step, as in Math-Shepherd's data (arXiv:2312.08935)."""
_COLUMNS = {
    "prompt": PROMPT,
    "chosen": "the better continuation, as messages",
    "rejected": "the other continuation, as messages",
    "output": "the continuation, as messages",
    "label": "of a binary row 1 if it is good, else 0; of a prompt a known good or correct answer, if there is one",
    "datasource": "where the prompt comes from",
    "constraints": "the prompt's checkable demands, as JSON text",
    **MORE,
}
_OF_STEPS = MORE | {
    "input": f"the prompt and the steps as one text, with the mark {PLACEHOLDER} after each step",
    "label": "for each step + or -",
}


def _pair(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    said = [pl.col("says_0").alias("chosen"), pl.col("says_1").alias("rejected")]
    return rows.select("prompt", *said, *beside("pair", facts), *tools(rarities), left_out((is_tie(), TIE)))


def _unpaired(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    label = (pl.col("labels").list.first() == 1).cast(pl.Int8).alias("label")
    return rows.select("prompt", pl.col("says_0").alias("output"), label, *beside("unpaired", facts), *tools(rarities))


def _sft(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    return rows.select("prompt", pl.col("says_0").alias("output"), *beside("sft", facts), *tools(rarities))


def _group(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    return rows.select(
        "prompt",
        pl.col("reference").alias("label"),
        pl.col("source").alias("datasource"),
        *(["constraints"] if rarities.constraints else []),
        *tools(rarities),
        pl.col("id").alias("example_id"),
        *("prompt_id", "strategy", "objective_version"),
    )


def _stepwise(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    field = pl.element().struct.field
    alone = pl.col("prompt").list.first().struct.field("content")
    spoken = pl.col("prompt").list.eval(field("role") + ": " + field("content")).list.join("\n\n")
    asked = pl.when(pl.col("prompt").list.len() == 1).then(alone).otherwise(spoken)
    words = pl.col("labels").list.eval(pl.when(pl.element() == 1).then(pl.lit("+")).otherwise(pl.lit("-")))
    marked = pl.concat_str(asked, pl.col("steps").list.join(f" {PLACEHOLDER}\n"), separator="\n") + f" {PLACEHOLDER}"
    texts = pl.concat_str(asked, pl.col("steps").list.join(""))
    return rows.select(
        marked.alias("input"),
        words.alias("label"),
        *beside("stepwise", facts),
        *tools(rarities),
        left_out(
            (texts.str.contains(PLACEHOLDER, literal=True), f"have the mark {PLACEHOLDER} in their texts"),
            (pl.col("steps").list.len() != pl.col("labels").list.len(), "have not as many labels as steps"),
            (calls_tools(pl.col("prompt"), rarities) | calls_tools(pl.col("says_0"), rarities), CALLS_TOOLS),
        ),
    )


def _lost_of_groups(facts: Facts) -> list[str]:
    return [
        f"the responses of {facts.rows:,} groups and their advantages are left out, since the trainer draws its own",
        *unwritten_of_groups(facts),
    ]


def _lost_of_unpaired(facts: Facts) -> list[str]:
    return [
        "OpenRLHF has no trainer for binary rows since 0.10; up to 0.9 train_kto reads these",
        *unread("binary row", facts),
    ]


def _lost_of_steps(facts: Facts) -> list[str]:
    return [
        "OpenRLHF has no trainer for rows of steps since 0.10; up to 0.9 train_prm reads these",
        "what stands between steps, and the roles of messages, are not told apart in it",
        *unread("step row", facts),
    ]


def _flags(part: Part, settings: Mapping[str, Any]) -> tuple[str, str]:
    kind, file = part.format.kind, part.files[0]
    held_out = part.tests[0] if part.tests else None
    if kind in ("unpaired", "stepwise"):
        module = {"unpaired": "train_kto", "stepwise": "train_prm"}[kind]
        flags = {
            "unpaired": ["--input_key prompt --output_key output --label_key label", "--apply_chat_template"],
            "stepwise": [
                "--input_key input --label_key label",
                f"--placeholder_token {PLACEHOLDER} --reward_tokens + -",
            ],
        }[kind]
        flags = [f"--dataset {file}", *([f"--eval_dataset {held_out} --eval_split train"] if held_out else []), *flags]
    elif kind == "group":
        module = "train_ppo_ray"
        flags = [f"--data.prompt_dataset {file}", *([f"--eval.dataset {held_out}"] if held_out else []),
                 "--data.input_key prompt --data.label_key label", "--data.apply_chat_template"]  # fmt: skip
    else:
        module = {"pair": "train_dpo", "sft": "train_sft"}[kind]
        keys = {
            "pair": "--data.prompt_key prompt --data.chosen_key chosen --data.rejected_key rejected",
            "sft": "--data.input_key prompt --data.output_key output",
        }[kind]
        split = [f"--eval.dataset {held_out} --eval.split train"] if held_out else []
        flags = [f"--data.dataset {file}", *split, keys, "--data.apply_chat_template"]
    lines = " \\\n  ".join([f"python -m openrlhf.cli.{module}", *flags])
    if kind == "pair":
        lines += (
            "\n# a reward model: openrlhf.cli.train_rm with the same flags; --model.margin_loss_enable reads `margin`"
        )
    return "shell", lines


def _lost(rarities: Rarities) -> list[str]:
    return ["OpenRLHF shows no tools to the model (column `tools`)"] if rarities.tools else []


_FORMATS = (
    Format("pair", "pair", None, _COLUMNS, _pair, unread_of_pairs, continuations=2),
    Format("unpaired", "binary row", None, _COLUMNS, _unpaired, _lost_of_unpaired,
           only_yes_or_no("binary row", "leave out labels: soft")),
    Format("sft", "SFT row", None, _COLUMNS, _sft, lambda facts: unread("SFT row", facts)),
    Format("group", "prompt", None, _COLUMNS, _group, _lost_of_groups, continuations=0),
    Format("stepwise", "step row", None, _OF_STEPS, _stepwise, _lost_of_steps,
           only_yes_or_no("step row", "make them with labels: hard"), steps=True),
)  # fmt: skip
TARGET = Target(
    name="openrlhf",
    title="OpenRLHF",
    formats={each.kind: each for each in _FORMATS},
    endings=(".jsonl",),
    snippet=_flags,
    others={"ranking": "OpenRLHF has no format for rankings; `pairs` with choose: all_pairs makes pairs of them"},
    lost=_lost,
)
