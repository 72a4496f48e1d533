"""Nectar: answers to one prompt with a rank each (the card of berkeley-nest/Nectar).

The prompt is a transcript as in HH-RLHF that ends where the assistant is to go on.
"""

from __future__ import annotations

from triptych.imports.fields import field, listed, name_of, number, prompt, reply, text
from triptych.imports.hh_rlhf import turns
from triptych.imports.item import Answer, Format, Item, Row, ranking
from triptych.prompts.row import as_prompt
from triptych.records import Message


def _messages(said: str) -> tuple[Message, ...]:
    if not said.lstrip().startswith(("Human:", "Assistant:")):
        return prompt(said)
    messages = turns("\n\n" + said.lstrip(), "the prompt")
    return as_prompt(messages[:-1] if messages[-1].role == "assistant" and not messages[-1].content else messages)


def _read(row: Row) -> Item:
    answers: list[Answer] = []
    ranks: list[float] = []
    for place, answer in enumerate(listed(field(row, "answers"), "answers"), 1):
        if not isinstance(answer, dict):
            raise ValueError(f"answer {place} is not an object")
        said = reply(field(answer, "answer"), f"answer {place}")
        answers.append(Answer(said, name_of(answer, "model") or "given"))
        ranks.append(number(field(answer, "rank"), f"the rank of answer {place}"))
    if len(answers) < 2:
        raise ValueError(f"ranks {len(answers)} answers; there must be two at least")
    messages = _messages(text(row, "prompt"))
    sources = row.get("source")
    about = {"tags": tuple(map(str, sources))} if isinstance(sources, list) else {}
    return Item(
        messages=messages,
        answers=tuple(answers),
        verdicts=(ranking(ranks, judge="gpt-4"),),
        gives="ratings",
        about=about,
    )


def _looks_like(row: Row) -> bool:
    answers = row.get("answers")
    if not (isinstance(answers, list) and answers and isinstance(answers[0], dict)):
        return False
    return "prompt" in row and {"answer", "rank"} <= answers[0].keys()


FORMAT = Format(
    name="nectar",
    about="answers with a rank each, 1 the best",
    looks_like=_looks_like,
    reader=lambda setting: _read,
)
