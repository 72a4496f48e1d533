"""What a row of somebody's data says: a prompt, answers to it, and verdicts on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from triptych.records import Criterion, JudgementStatus, Message, StepLocator

Row = Mapping[str, Any]
"""A row as it was read: its fields by their names."""

Gives = Literal["pairs", "ratings", "labels", "steps", "demonstrations", "prompts"]
"""What of a row can be trained on: two responses of which one is preferred, scores or ranks of several, thumbs up or
down, labels of steps, answers to imitate, nothing but the prompt."""

PREFERENCE, MARGIN, LABEL, DEMONSTRATION, STEP = "preference", "margin", "label", "demonstration", "step"
"""Names of criteria that have the same meaning in all formats."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """One response of a row."""

    messages: tuple[Message, ...]
    model: str = "given"
    """Who made it, as far as the data says."""
    params: dict[str, Any] = {}
    parent: int | None = None
    """The answer of the row that it branches from."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What somebody said of answers of a row; the fields are those of a `Judgement`."""

    of: tuple[int, ...]
    """Which answers of the row, by their places from 0."""
    criterion: str
    scores: tuple[float, ...] | None = None
    ranks: tuple[int, ...] | None = None
    probability: float | None = None
    scale: tuple[float, float] | None = None
    step: StepLocator | None = None
    rationale: str | None = None
    raw: str | None = None
    status: JudgementStatus = "ok"
    error: str | None = None
    weight: float = 1.0
    evaluator: str = ""
    """Who judged, if not the people or the program that made the data."""
    annotator: str = ""
    """Which of them: another annotator is another evaluator of the same name."""
    model: str | None = None
    shown: bool = False
    """Whether `of` is the order in which they were shown; otherwise nothing is said of it, and none is made up."""


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row, understood."""

    messages: tuple[Message, ...]
    """The prompt."""
    answers: tuple[Answer, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    gives: Gives
    about: dict[str, Any] = {}
    """Other fields of the prompt: `tools`, `reference`, `source`, `tags`."""


class Setting(msgspec.Struct, frozen=True):
    """What reading a row may depend on beside the row."""

    path: Path
    """The file or folder that is imported."""
    scale: tuple[float, float] | None = None
    """Lowest and highest score, where the user says so: of scores whose scale the format does not fix."""
    verdicts: Path | None = None
    """A second file, of formats that keep verdicts apart."""


Read = Callable[[Row], Item]
"""From a row to what it says. Raises `ValueError` with what is wrong with it, for a person."""


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """A way in which preference data is written down."""

    name: str
    about: str
    """What it is, in a line."""
    looks_like: Callable[[Row], bool]
    """Whether a row can be of this format; it may be broken in other ways, so nothing is raised."""
    reader: Callable[[Setting], Read]
    """Makes the function that reads the rows of one file. Raises `PromptError` where a second file can't be read."""
    criteria: Mapping[str, Criterion] = {}
    """What its criteria mean, and what each is worth when scores of several are joined; others are worth 1."""


CRITERIA: Mapping[str, Criterion] = {
    PREFERENCE: Criterion(text="Which of the responses is preferred, as the imported data says."),
    MARGIN: Criterion(text="By how much the preferred response is better, as the imported data says."),
    LABEL: Criterion(text="Whether the response is desirable, as the imported data says."),
    DEMONSTRATION: Criterion(text="Responses that the imported data gives as examples to imitate."),
    STEP: Criterion(text="Whether the step is right, as the imported data says."),
}


def criterion(form: Format, name: str) -> Criterion:
    """What a criterion of imported data means; one that no format describes is known by its name alone."""
    known = form.criteria.get(name) or CRITERIA.get(name)
    return known or Criterion(text=f"{name}, as scored in the imported data.")


def pair(
    messages: tuple[Message, ...],
    chosen: tuple[Message, ...],
    rejected: tuple[Message, ...],
    *,
    models: Sequence[str | None] = (None, None),
    scores: Sequence[float | None] = (None, None),
    scale: tuple[float, float] | None = None,
    score: str = "score",
    margin: float | None = None,
    weight: float = 1.0,
    rationale: str | None = None,
    judge: str | None = None,
    about: dict[str, Any] | None = None,
) -> Item:
    """A prompt with a chosen and a rejected response, their scores on `scale` and the model that gave them, if known.

    Raises `ValueError` where the two say the same.
    """
    if chosen == rejected:
        raise ValueError("chosen and rejected say the same")
    answers = tuple(Answer(said, model or "given") for said, model in zip((chosen, rejected), models, strict=True))
    verdicts = [Verdict(of=(0, 1), criterion=PREFERENCE, ranks=(1, 2), weight=weight, rationale=rationale, model=judge)]
    for place, value in enumerate(scores):
        if value is not None:
            verdicts.append(Verdict(of=(place,), criterion=score, scores=(value,), scale=scale, model=judge))
    if margin is not None and margin != _distance(scores, scale):
        verdicts.append(Verdict(of=(0, 1), criterion=MARGIN, scores=(margin, 0.0)))
    return Item(messages=messages, answers=answers, verdicts=tuple(verdicts), gives="pairs", about=about or {})


def ranking(ranks: Sequence[float], judge: str | None = None) -> Verdict:
    """A verdict on all answers of a row, by ranks of which the least is the best and equal ones are a tie."""
    places = {rank: place for place, rank in enumerate(sorted(set(ranks)), 1)}
    order = tuple(range(len(ranks)))
    return Verdict(of=order, criterion=PREFERENCE, ranks=tuple(places[rank] for rank in ranks), model=judge)


def labelled(messages: tuple[Message, ...], reply: tuple[Message, ...], *, good: bool, **about: Any) -> Item:
    """A response with a thumb up or down."""
    verdict = Verdict(of=(0,), criterion=LABEL, scores=(float(good),), scale=(0.0, 1.0))
    return Item(messages=messages, answers=(Answer(reply),), verdicts=(verdict,), gives="labels", about=about)


def demonstration(messages: tuple[Message, ...], reply: tuple[Message, ...], **about: Any) -> Item:
    """An answer to imitate. That it is a good one is what the data takes for granted."""
    verdict = Verdict(of=(0,), criterion=DEMONSTRATION, scores=(1.0,), scale=(0.0, 1.0))
    return Item(messages=messages, answers=(Answer(reply),), verdicts=(verdict,), gives="demonstrations", about=about)


def stepwise(
    messages: tuple[Message, ...],
    steps: Sequence[str],
    labels: Sequence[float | None],
    scale: tuple[float, float],
    *,
    between: str = "\n",
    **about: Any,
) -> Item:
    """A response in steps with a label each; None where nobody labelled the step."""
    if len(labels) > len(steps):
        raise ValueError(f"there are {len(labels)} labels for {len(steps)} steps")
    answer, places = in_steps(steps, between)
    verdicts = [
        Verdict(of=(0,), criterion=STEP, scores=(label,), scale=scale, step=place)
        for place, label in zip(places, labels, strict=False)
        if label is not None
    ]
    return Item(messages=messages, answers=(answer,), verdicts=tuple(verdicts), gives="steps", about=about)


def in_steps(steps: Iterable[str], between: str = "\n") -> tuple[Answer, list[StepLocator]]:
    """An answer made of steps, and where each of them stands in its text."""
    places: list[StepLocator] = []
    start = 0
    texts = list(steps)
    for index, step in enumerate(texts):
        if not step.strip():
            raise ValueError(f"step {index + 1} is empty")
        places.append(StepLocator(unit="step", index=index, message=0, start=start, end=start + len(step)))
        start += len(step) + len(between)
    return Answer((Message("assistant", between.join(texts)),)), places


def _distance(scores: Sequence[float | None], scale: tuple[float, float] | None) -> float | None:
    """How far apart two scores are on their scale."""
    first, second = scores
    if first is None or second is None or scale is None:
        return None
    low, high = scale
    return round((first - low) / (high - low) - (second - low) / (high - low), 12)
