"""Axolotl's formats, each with the `datasets` part of its configuration.

As axolotl/prompt_strategies reads them (github.com/axolotl-ai-cloud/axolotl): dpo/chat_template.py, kto/user_defined.py,
orpo/chat_template.py, chat_template.py and stepwise_supervised.py.
"""

from __future__ import annotations

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
    roles,
    trained,
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
from triptych.export.trl.stepwise import STEPWISE

if TYPE_CHECKING:
    import polars as pl

_ANSWERS = {"chosen": "the better answer, a message", "rejected": "the other answer, a message"}
_CHATS = {
    "chosen": "the chat with the better answer at its end, as messages, without a system message",
    "rejected": "the chat with the other answer at its end",
    "system": "the system message's text, if there is one",
}
_TEXTS = {"prompt": "what the user says", "completion": "the answer's text", "label": "whether it is good"}
_SHORT = (
    "chat_template.default cuts an answer out of the chat where its text first stands: an answer that begins or ends with "
    "white space, or that is a few letters of the template itself, may be cut wrongly by templates that trim"
)


def _reasons(rarities: Rarities, *, tie: bool) -> list[tuple[pl.Expr, str]]:
    import polars as pl

    says = [pl.col(f"says_{place}") for place in range(2 if tie else 1)]
    called = calls_tools(pl.col("prompt"), rarities)
    several = pl.lit(False)
    for each in says:
        called, several = called | calls_tools(each, rarities), several | ~one_answer(each)
    return [*([(is_tie(), TIE)] if tie else []), (called, CALLS_TOOLS), (several, NOT_ONE_ANSWER)]


def _dpo(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    answers = [plain(pl.col(f"says_{place}")).list.last().alias(name) for place, name in enumerate(_ANSWERS)]
    return rows.select(
        plain(pl.col("prompt")).alias("messages"),
        *answers,
        *beside("pair", facts),
        *tools(rarities),
        left_out(*_reasons(rarities, tie=True)),
    )


def _orpo(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    asked = pl.col("prompt")
    has_system = roles(asked).str.starts_with("system,")
    chat = plain(pl.when(has_system).then(asked.list.slice(1)).otherwise(asked))
    chats = [chat.list.concat(plain(pl.col(f"says_{place}"))).alias(name) for place, name in enumerate(_ANSWERS)]
    system = pl.when(has_system).then(asked.list.first().struct.field("content")).alias("system")
    return rows.select(
        *chats,
        system,
        *beside("pair", facts),
        *tools(rarities),
        left_out(*_reasons(rarities, tie=True), (~alternates(asked), NO_TURNS)),
    )


def _kto(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    asked, said = pl.col("prompt"), pl.col("says_0")
    return rows.select(
        content(asked).alias("prompt"),
        content(said).alias("completion"),
        (pl.col("labels").list.first() == 1).alias("label"),
        *beside("unpaired", facts),
        *tools(rarities),
        left_out(
            *_reasons(rarities, tie=False),
            (roles(asked) != "user,", "have prompts of more than a user's message, and this format's are one text"),
            (
                (content(asked) == "") | (content(said) == ""),
                "have an empty prompt or answer, which the trainer refuses",
            ),
        ),
    )


def _sft(rows: pl.LazyFrame, facts: Facts, rarities: Rarities) -> pl.LazyFrame:
    import polars as pl

    asked, said = pl.col("prompt"), pl.col("says_0")
    messages = trained(asked, "train", train=False).list.concat(trained(said, "train", train=True))
    reasons = [(calls_tools(asked, rarities) | calls_tools(said, rarities), CALLS_TOOLS)]
    return rows.select(messages.alias("messages"), *beside("sft", facts), *tools(rarities), left_out(*reasons))


def _snippet(part: Part, settings: Mapping[str, Any]) -> tuple[str, str]:
    how, more = _HOW[part.format.kind if "system" not in part.columns else "orpo"]
    said: dict[str, Any] = dict(more)
    for name, files in (("datasets", part.files), ("test_datasets", part.tests)):
        if files:
            said[name] = [{"path": files[0], "ds_type": "json", "split": "train", **how}]
    return "yaml", f"base_model: your-org/your-model\n{yaml.safe_dump(said, sort_keys=False)}".strip()


_HOW: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "pair": (
        {
            "type": "chat_template.default",
            "field_messages": "messages",
            "field_chosen": "chosen",
            "field_rejected": "rejected",
        },
        {"rl": "dpo", "chat_template": "tokenizer_default"},
    ),
    "orpo": ({"type": "chat_template.argilla"}, {"rl": "orpo", "chat_template": "tokenizer_default"}),
    "unpaired": (
        {
            "type": {
                "field_prompt": "prompt",
                "field_completion": "completion",
                "field_label": "label",
                # ChatML; put the model's own here
                "prompt_format": "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n",
                "completion_format": "{completion}<|im_end|>",
            }
        },
        {"rl": "kto", "remove_unused_columns": False},
    ),
    "sft": (
        {"type": "chat_template", "field_messages": "messages", "message_field_training": "train"},
        {"chat_template": "tokenizer_default"},
    ),
    "stepwise": (
        {"type": "stepwise_supervised", "step_separator": "\n"},
        {"model_type": "AutoModelForTokenClassification", "num_labels": 2, "process_reward_model": True},
    ),
}


def _texts(parts: Sequence[Part], settings: Mapping[str, Any], out: Path) -> dict[str, str]:
    return {f"axolotl-{part.format.kind}.yaml": _snippet(part, settings)[1] + "\n" for part in parts}


def _lost(rarities: Rarities) -> list[str]:
    return ["Axolotl shows tools (column `tools`) to the model in SFT alone"] if rarities.tools else []


def _lost_of_thumbs(facts: Facts) -> list[str]:
    return [
        "user_defined.default puts the prompt's text into a format that the configuration names; that of ChatML stands "
        "there, to be changed for other models",
        *unread("binary row", facts),
    ]


_FORMATS = (
    Format("pair", "pair", None, {"messages": PROMPT, **_ANSWERS, **MORE}, _dpo,
           lambda facts: [_SHORT, *unread_of_pairs(facts)], continuations=2),
    Format("unpaired", "binary row", None, MORE | _TEXTS, _kto, _lost_of_thumbs,
           only_yes_or_no("binary row", "leave out labels: soft")),
    Format("sft", "SFT row", None, {"messages": "the chat with the answer, each message with a field `train` that "
                                    "says whether the loss is on it", **MORE}, _sft, lambda facts: unread("SFT row", facts)),
    STEPWISE,
)  # fmt: skip
TARGET = Target(
    name="axolotl",
    title="Axolotl",
    formats={each.kind: each for each in _FORMATS},
    endings=(".jsonl",),
    snippet=_snippet,
    others={
        "group": "Axolotl has no format for groups: its GRPO reads what a transform of yours makes of any data, such as "
        "that of the target trl",
        "ranking": "Axolotl has no format for rankings; `pairs` with choose: all_pairs makes pairs of them",
    },
    texts=_texts,
    lost=_lost,
)
ORPO = TARGET._replace(
    name="axolotl-orpo",
    title="Axolotl's ORPO",
    formats={"pair": Format("pair", "pair", None, _CHATS | MORE, _orpo, unread_of_pairs, continuations=2)},
    others={},
)
