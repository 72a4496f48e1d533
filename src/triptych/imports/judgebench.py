"""JudgeBench: hard pairs with objective labels, and judges' decisions (arXiv:2410.12784; github.com/ScalerLab/JudgeBench).

Rows have `question`, `response_A`, `response_B` and `label`, `A>B` or `B>A`. A second file may hold decisions: `pair_id`,
`judge_model`, and `judgments` with `order` and `decision`, which calls A what was shown first.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from triptych.imports.beside import verdicts_beside
from triptych.imports.fields import field, name_of, prompt, reply
from triptych.imports.item import PREFERENCE, Answer, Format, Item, Read, Row, Setting, Verdict

_RANKS = {"A>B": (1, 2), "B>A": (2, 1), "A=B": (1, 1)}


def _read(row: Row, said: dict[Hashable, list[dict[str, Any]]]) -> Item:
    model = name_of(row, "response_model") or "given"
    answers = tuple(Answer(reply(field(row, name), name), model) for name in ("response_A", "response_B"))
    if answers[0] == answers[1]:
        raise ValueError("response_A and response_B say the same")
    label = field(row, "label")
    if label not in ("A>B", "B>A"):
        raise ValueError(f"label is {label!r:.40}; it must be A>B or B>A")
    gold = Verdict(of=(0, 1), criterion=PREFERENCE, ranks=_RANKS[label])
    judged = [one for judge in said.get(str(row.get("pair_id")), ()) for one in _verdicts(judge)]
    about = {"tags": (source,)} if (source := name_of(row, "source")) else {}
    return Item(
        messages=prompt(field(row, "question")), answers=answers, verdicts=(gold, *judged), gives="pairs", about=about
    )


def _verdicts(judge: Row) -> list[Verdict]:
    model, kind = str(judge.get("judge_model")), str(judge.get("judge_name"))
    return [
        Verdict(
            of=(0, 1) if one.get("order") == "AB" else (1, 0),
            criterion=PREFERENCE,
            ranks=_RANKS.get(str(one.get("decision"))),
            evaluator=model if kind == "reward_model" else f"{model}/{kind}",
            model=model,
            status="ok" if one.get("decision") in _RANKS else "unparsed",
            error=None if one.get("decision") in _RANKS else "the data has no decision here",
            shown=True,
        )
        for one in judge.get("judgments") or ()
    ]


def _reader(setting: Setting) -> Read:
    said = verdicts_beside(setting, lambda row: str(row["pair_id"]))
    return lambda row: _read(row, said)


FORMAT = Format(
    name="judgebench",
    about="question, response_A, response_B and a gold label; a second file may hold judges' decisions",
    looks_like=lambda row: {"question", "response_A", "response_B", "label"} <= row.keys(),
    reader=_reader,
)
