"""LLMBar: pairs with a gold label, and what judges said of them (arXiv:2310.07641; github.com/princeton-nlp/LLMBar).

Rows have `input`, `output_1`, `output_2` and `label`, the better one. A second file may hold recorded verdicts, with
`subset` and `index` of the instance, `judge`, `strategy`, `swapped` (the order shown), `winner` in the naming that is not
swapped, and `score_1` and `score_2` from 0 to 10 of strategies that rate.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from triptych.imports.beside import verdicts_beside
from triptych.imports.fields import field, name_of, number, prompt, reply
from triptych.imports.item import PREFERENCE, Answer, Format, Item, Read, Row, Setting, Verdict

_SCALE = (0.0, 10.0)
_RANKS = {"1": (1, 2), "2": (2, 1), "tie": (1, 1)}


def _read(row: Row, said: dict[Hashable, list[dict[str, Any]]]) -> Item:
    answers = tuple(Answer(reply(field(row, name), name)) for name in ("output_1", "output_2"))
    if answers[0] == answers[1]:
        raise ValueError("output_1 and output_2 say the same")
    label = str(field(row, "label"))
    if label not in ("1", "2"):
        raise ValueError(f"label is {label!r}; it must be 1 or 2")
    gold = Verdict(of=(0, 1), criterion=PREFERENCE, ranks=_RANKS[label])
    judged = [_verdict(one) for one in said.get(_key(row), ())]
    tags = {"tags": (subset,)} if (subset := name_of(row, "subset")) else {}
    return Item(
        messages=prompt(field(row, "input")), answers=answers, verdicts=(gold, *judged), gives="pairs", about=tags
    )


def _key(row: Row) -> Hashable:
    return str(row.get("subset")), str(row.get("index"))


def _verdict(said: Row) -> Verdict:
    """What a judge said, with the responses in the order in which they were shown."""
    order = (1, 0) if said.get("swapped") else (0, 1)
    ranks = _RANKS.get(str(said.get("winner")))
    scores = [_score(said.get(name)) for name in ("score_1", "score_2")]
    rated = None not in scores
    shared: dict[str, Any] = {
        "of": order,
        "criterion": PREFERENCE,
        "evaluator": f"{said.get('judge')}/{said.get('strategy')}",
        "model": str(said.get("judge")),
        "raw": name_of(said, "completion"),
        "shown": True,
    }
    if ranks is None and not rated:
        return Verdict(**shared, status="unparsed", error="the data has no winner here")
    return Verdict(
        **shared,
        ranks=None if ranks is None else tuple(ranks[place] for place in order),
        scores=tuple(scores[place] for place in order) if rated else None,  # type: ignore[misc]
        scale=_SCALE if rated else None,
    )


def _score(value: Any) -> float | None:
    try:
        return number(value, "score")
    except ValueError:
        return None


def _reader(setting: Setting) -> Read:
    said = verdicts_beside(setting, lambda row: (str(row["subset"]), str(row["index"])))
    return lambda row: _read(row, said)


FORMAT = Format(
    name="llmbar",
    about="input, output_1, output_2 and a gold label; a second file may hold judges' verdicts",
    looks_like=lambda row: {"input", "output_1", "output_2", "label"} <= row.keys(),
    reader=_reader,
)
