"""AlpacaEval: outputs of a model held against those of a reference (arXiv:2404.04475; github.com/tatsu-lab/alpaca_eval).

Annotations have `instruction`, `output_1` (the reference's), `output_2` and `preference` from 1 to 2: the probability that
output 2 is the better one, plus 1. Or rows of the reference, `instruction`, `reference_output` and `index`, with a second
file of other models' outputs: `index`, `generator`, `output` and `preference`.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from triptych.imports.beside import verdicts_beside
from triptych.imports.fields import field, name_of, prompt, rating, reply
from triptych.imports.item import PREFERENCE, Answer, Format, Item, Read, Row, Setting, Verdict

_SCALE = (1.0, 2.0)


def _read_annotation(row: Row) -> Item:
    answers = tuple(
        Answer(reply(field(row, f"output_{place}"), f"output_{place}"), name_of(row, f"generator_{place}") or "given")
        for place in (1, 2)
    )
    if answers[0].messages == answers[1].messages:
        raise ValueError("output_1 and output_2 say the same")
    verdict = _verdict(row, 1, name_of(row, "annotator"))
    return Item(messages=prompt(field(row, "instruction")), answers=answers, verdicts=(verdict,), gives="pairs")


def _read_reference(row: Row, said: dict[Hashable, list[dict[str, Any]]]) -> Item:
    answers = [
        Answer(
            reply(field(row, "reference_output"), "reference_output"), name_of(row, "reference_generator") or "given"
        )
    ]
    verdicts = []
    for one in said.get(str(row.get("index")), ()):
        answer = Answer(reply(field(one, "output"), "output"), name_of(one, "generator") or "given")
        if answer.messages == answers[0].messages:
            continue  # a model that says what the reference says is no comparison
        answers.append(answer)
        verdicts.append(_verdict(one, len(answers) - 1, None))
    about = {"tags": (name,)} if (name := name_of(row, "dataset")) else {}
    messages = prompt(field(row, "instruction"))
    return Item(messages=messages, answers=tuple(answers), verdicts=tuple(verdicts), gives="pairs", about=about)


def _verdict(row: Row, other: int, annotator: str | None) -> Verdict:
    """Whether an output is better than the reference's, and how sure the judge is that it is not."""
    preference = rating(field(row, "preference"), "preference", _SCALE)
    ranks = (1, 1) if preference == 1.5 else (1, 2) if preference < 1.5 else (2, 1)
    return Verdict(
        of=(0, other),
        criterion=PREFERENCE,
        ranks=ranks,
        probability=round(2 - preference, 12),
        annotator=annotator or "",
        model=annotator or "alpaca-eval",
    )


def _reader(setting: Setting) -> Read:
    said = verdicts_beside(setting, lambda row: str(row["index"]))
    return lambda row: _read_reference(row, said) if "reference_output" in row else _read_annotation(row)


def _looks_like(row: Row) -> bool:
    whole = {"instruction", "output_1", "output_2", "preference"} <= row.keys()
    return whole or {"instruction", "reference_output"} <= row.keys()


FORMAT = Format(
    name="alpaca-eval",
    about="output_1, output_2 and preference; or references, with a second file of outputs and preferences",
    looks_like=_looks_like,
    reader=_reader,
)
