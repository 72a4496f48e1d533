"""Arena battles: two models answer, and somebody says which is better (the cards of lmsys/chatbot_arena_conversations
and lmsys/lmsys-arena-human-preference-55k).

Either `conversation_a`, `conversation_b` and `winner`, which is `model_a`, `model_b`, `tie` or `tie (bothbad)`; or
`prompt`, `response_a` and `response_b` as text or lists of turns, with `winner` or `winner_model_a`, `winner_model_b` and
`winner_tie`. A dialogue of several turns was led with each model apart, so it is judged as a whole: what both share is the
prompt, and all that follows the response.
"""

from __future__ import annotations

from typing import Any

from triptych.imports.fields import as_reply, chat, field, flag, listed, name_of, prompt, reply, shared_prompt
from triptych.imports.item import PREFERENCE, Answer, Format, Item, Row, Verdict
from triptych.records import Message

_RANKS = {"model_a": (1, 2), "a": (1, 2), "model_b": (2, 1), "b": (2, 1)}


def _read(row: Row) -> Item:
    messages, one, other = _dialogues(row)
    if one == other:
        raise ValueError("the two responses say the same")
    answers = tuple(
        Answer(said, name_of(row, name) or "given") for said, name in ((one, "model_a"), (other, "model_b"))
    )
    annotator = name_of(row, "judge") or name_of(row, "judge_hash") or ""
    verdict = Verdict(of=(0, 1), criterion=PREFERENCE, ranks=_ranks(row), annotator=annotator, shown=True)
    return Item(messages=messages, answers=answers, verdicts=(verdict,), gives="pairs")


def _dialogues(row: Row) -> tuple[tuple[Message, ...], tuple[Message, ...], tuple[Message, ...]]:
    if "conversation_a" in row:
        both = [chat(field(row, name), name) for name in ("conversation_a", "conversation_b")]
        if both[0] == both[1]:
            raise ValueError("the two responses say the same")
        return shared_prompt(both[0], both[1])
    asked, one, other = (field(row, name) for name in ("prompt", "response_a", "response_b"))
    if _is_list(one) and _is_list(other):
        turns = listed(asked, "prompt") if _is_list(asked) else [asked]
        both = [
            _dialogue(turns, listed(said, name), name) for said, name in ((one, "response_a"), (other, "response_b"))
        ]
        if both[0] == both[1]:
            raise ValueError("the two responses say the same")
        return shared_prompt(both[0], both[1])
    return prompt(asked), reply(one, "response_a"), reply(other, "response_b")


def _is_list(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, str) and value.startswith("[") and value.endswith("]"))


def _dialogue(asked: list[Any], said: list[Any], name: str) -> tuple[Message, ...]:
    """Turns of the user and of the model, which two lists hold apart."""
    if len(asked) != len(said):
        raise ValueError(f"{name} has {len(said)} turns, and the prompt {len(asked)}")
    messages: list[Message] = []
    for question, answer in zip(asked, said, strict=True):
        messages += [*prompt(question), *as_reply(reply(answer, name), name)]
    return tuple(messages)


def _ranks(row: Row) -> tuple[int, int]:
    winner = row.get("winner")
    if winner is None and "winner_model_a" in row:
        flags = {name: flag(field(row, f"winner_{name}"), f"winner_{name}") for name in ("model_a", "model_b", "tie")}
        winner = next((name for name, won in flags.items() if won), None)
    if isinstance(winner, str):
        name = winner.strip().lower()
        if name in _RANKS:
            return _RANKS[name]
        if name.startswith("tie") or name in ("both_bad", "bothbad"):
            return 1, 1
    raise ValueError(f"winner is {winner!r:.40}; it must be model_a, model_b or tie")


FORMAT = Format(
    name="arena",
    about="battles: conversation_a, conversation_b or prompt, response_a, response_b, and winner",
    looks_like=lambda row: (
        ({"conversation_a", "conversation_b"} <= row.keys() or {"response_a", "response_b"} <= row.keys())
        and ("winner" in row or "winner_model_a" in row)
    ),
    reader=lambda setting: _read,
)
