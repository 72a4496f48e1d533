"""PRM800K: ratings of single steps of solutions (arXiv:2305.20050; github.com/openai/prm800k, README).

The chosen steps make one response. Each alternative to a step makes another, which branches off before it, so that the
two can be paired; the ratings of the steps that they share are those of both. Ratings go from -1 over 0 to 1; a step that
a labeller wrote counts as 1.
"""

from __future__ import annotations

from typing import Any

from triptych.imports.fields import field, listed, prompt, rating, text
from triptych.imports.item import STEP, Answer, Format, Item, Row, Verdict, in_steps

_SCALE = (-1.0, 1.0)

_Step = tuple[str, float | None]
"""What it says, and its rating if it has one."""


def _read(row: Row) -> Item:
    question, label = field(row, "question"), field(row, "label")
    if not (isinstance(question, dict) and isinstance(label, dict)):
        raise ValueError("question and label are to be objects")
    taken: list[_Step] = []
    ways: list[tuple[int, list[_Step]]] = []
    for place, step in enumerate(listed(label.get("steps") or [], "label.steps"), 1):
        chosen, others = _choices(step, place)
        ways += [(len(taken), [*taken, other]) for other in others]
        if chosen is None:
            break
        taken.append(chosen)
    if not taken and not ways:
        raise ValueError("has no steps")
    annotator = str(row.get("labeler") or "")
    about: dict[str, Any] = {}
    if isinstance(answer := question.get("ground_truth_answer"), str):
        about["reference"] = answer
    if isinstance(reason := label.get("finish_reason"), str):  # such as bad_problem
        about["tags"] = (reason,)
    whole = [(None, taken)] if taken else []
    answers: list[Answer] = []
    verdicts: list[Verdict] = []
    for number, (shared, steps) in enumerate([*whole, *ways]):
        answer_, said = _answer(number, shared if taken else None, steps, annotator)
        answers.append(answer_)
        verdicts += said
    messages = prompt(text(question, "problem"))
    return Item(messages=messages, answers=tuple(answers), verdicts=tuple(verdicts), gives="steps", about=about)


def _choices(step: Any, place: int) -> tuple[_Step | None, list[_Step]]:
    """The step that the solution goes on with, if it does, and the alternatives to it."""
    if not isinstance(step, dict):
        raise ValueError(f"step {place} is not an object")
    said = [
        _completion(completion, place)
        for completion in listed(step.get("completions") or [], f"completions of step {place}")
    ]
    chosen = step.get("chosen_completion")
    if isinstance(chosen, int) and not isinstance(chosen, bool):
        if not 0 <= chosen < len(said):
            raise ValueError(f"step {place} chooses completion {chosen} of {len(said)}")
        return said[chosen], said[:chosen] + said[chosen + 1 :]
    human = step.get("human_completion")
    if human is not None:
        return (text(human, "text") if isinstance(human, dict) else str(human), 1.0), said
    return None, said


def _completion(completion: Any, place: int) -> _Step:
    if not isinstance(completion, dict):
        raise ValueError(f"a completion of step {place} is not an object")
    value = completion.get("rating")
    return text(completion, "text"), None if value is None else rating(value, f"a rating of step {place}", _SCALE)


def _answer(number: int, shared: int | None, steps: list[_Step], annotator: str) -> tuple[Answer, list[Verdict]]:
    answer, places = in_steps([said for said, _ in steps])
    if shared is not None:
        params = {"prefix": places[shared].start, "step": shared}
        answer = Answer(answer.messages, params=params, parent=0)
    verdicts = [
        Verdict(of=(number,), criterion=STEP, scores=(value,), scale=_SCALE, step=place, annotator=annotator)
        for place, (_, value) in zip(places, steps, strict=True)
        if value is not None
    ]
    return answer, verdicts


FORMAT = Format(
    name="prm800k",
    about="solutions in steps with alternatives, each rated -1, 0 or 1",
    looks_like=lambda row: isinstance(row.get("question"), dict) and isinstance(row.get("label"), dict),
    reader=lambda setting: _read,
)
