"""HelpSteer2: five attributes from 0 to 4, a response a row (arXiv:2406.08673; the card of nvidia/HelpSteer2).

The card takes the difference in helpfulness for the preference; of the others, complexity and verbosity say what a
response is like and not how good it is. So helpfulness alone weighs, until the objective says otherwise.
"""

from __future__ import annotations

import re

from triptych.imports.fields import field, prompt, rating, reply, text
from triptych.imports.item import Answer, Format, Item, Row, Verdict
from triptych.records import Criterion, Message

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_SCALE = (0.0, 4.0)
_TURN = re.compile(r"<extra_id_1>(User|Assistant)\n")


def _messages(said: str) -> tuple[Message, ...]:
    """The prompt; earlier turns stand in it between marks such as `<extra_id_1>Assistant`."""
    first, *rest = _TURN.split(said)
    turns = [("user", first)] + [
        ("user" if who == "User" else "assistant", turn) for who, turn in zip(rest[::2], rest[1::2], strict=True)
    ]
    if turns[-1][0] == "assistant" and not turns[-1][1].strip():  # the mark under which the response goes
        turns.pop()
    return prompt([{"role": role, "content": turn.strip("\n") if rest else turn} for role, turn in turns])


def _read(row: Row) -> Item:
    verdicts = tuple(
        Verdict(of=(0,), criterion=name, scores=(rating(row[name], name, _SCALE),), scale=_SCALE)
        for name in ATTRIBUTES
        if row.get(name) is not None
    )
    if not verdicts:
        raise ValueError(f"has none of the attributes {', '.join(ATTRIBUTES)}")
    answer = Answer(reply(field(row, "response"), "response"))
    return Item(messages=_messages(text(row, "prompt")), answers=(answer,), verdicts=verdicts, gives="ratings")


FORMAT = Format(
    name="helpsteer2",
    about="a response a row, with helpfulness and four other attributes from 0 to 4",
    looks_like=lambda row: {"prompt", "response", "helpfulness", "verbosity"} <= row.keys(),
    reader=lambda setting: _read,
    criteria={
        "helpfulness": Criterion(text="How helpful the response is to the prompt, all in all."),
        "correctness": Criterion(text="Whether all facts that matter are there, without errors.", weight=0),
        "coherence": Criterion(text="How consistent and clear the response is.", weight=0),
        "complexity": Criterion(text="How much knowledge it takes to write the response.", weight=0),
        "verbosity": Criterion(text="How much detail there is, compared with what is asked for.", weight=0),
    },
)
