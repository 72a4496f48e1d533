"""Verdicts that people, or anybody, have given already: read from a file."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec
from pydantic import Field, model_validator

from triptych.errors import PromptError
from triptych.models.chat import Ask
from triptych.operators import Case, Load, Operator, Outlook
from triptych.parts import located
from triptych.prompts.row import Record
from triptych.prompts.text_files import jsonl_records, open_bytes
from triptych.records import Judgement, Prompt, Response, StepLocator, content_id, make_judgement

_RANKS = {"A": (1, 2), "B": (2, 1), "tie": (1, 1)}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a file of verdicts."""

    prompt_id: str | None = None
    prompt: str | None = None
    response_id: str | None = None
    response: str | None = None
    responses: tuple[str, ...] | None = None
    score: float | None = None
    ranks: tuple[int, ...] | None = None
    choice: Literal["A", "B", "tie"] | None = None
    step: int | None = None
    criterion: str | None = None
    annotator: str | None = None
    rationale: str | None = None

    @property
    def shown(self) -> tuple[str, ...]:
        """The responses that it is about, by their ids or their texts."""
        return self.responses or tuple(filter(None, [self.response_id or self.response]))

    @property
    def places(self) -> tuple[int, ...] | None:
        """The ranks that it gives."""
        return self.ranks if self.choice is None else _RANKS[self.choice]

    def problem(self) -> str | None:
        """Say what is wrong with the row, if anything is."""
        if (self.prompt_id or self.prompt) is None:
            return "names no prompt: give prompt_id or prompt"
        if not self.shown:
            return "names no response: give response_id, response or responses"
        if (self.score is None) == (self.places is None):
            return "must have either a score, or ranks or a choice"
        if self.score is not None and len(self.shown) != 1:
            return "has one score for several responses; give each a row, or ranks"
        if self.places is not None and len(self.places) != len(self.shown):
            return f"ranks {len(self.places)} responses and names {len(self.shown)}"
        if self.places is not None and len(self.shown) < 2:
            return "ranks a lone response"
        if self.step is not None and (self.score is None or self.step < 0):
            return "step must be a number from 0, with a score"
        return None


class Verdicts(Operator):
    """Takes over verdicts from a file of JSON lines, which people or other judges gave. Makes no call.

    A row names the prompt (`prompt_id`, or `prompt`: the text of its last user message), what it is about (`response_id`
    or `response`, its text; or `responses`, ids or texts of several) and the verdict: a `score`, `ranks` (1 is best), or
    a `choice` of `A`, `B` or `tie`. `criterion`, `annotator`, `rationale` and `step` (a score of one step, from 0) may
    be added. Each annotator counts as an evaluator of its own. Rows about prompts or responses that the run does not
    have are passed over. A row that can't be read stops the run before anything is asked.
    """

    kind: Literal["verdicts"] = "verdicts"
    name: str | None = None
    """What judgements call the evaluator; its kind if not given. An annotator's name follows after a colon."""
    path: str = Field(min_length=1)
    """A file of JSON lines, relative to the recipe's folder; it may be compressed with gzip."""
    criterion: str = "overall"
    """The criterion of rows that name none; need not be defined in the objective."""
    scale: tuple[float, float] = (0, 1)
    """Lowest and highest score that could be given."""

    @model_validator(mode="after")
    def _sound_scale(self) -> Verdicts:
        if not self.scale[0] < self.scale[1]:
            raise ValueError(f"scale goes from {self.scale[0]:g} to {self.scale[1]:g}; the first must be the lower")
        return self

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs, in words."""
        return (f"the file {self.path}",)

    def prepare(self, folder: Path) -> None:
        """Read the file. Raises `PromptError` where it can't be read, or a row of it."""
        self._rows(folder)

    async def judge(self, case: Case, ask: Ask) -> list[Judgement]:
        """Make a judgement of each row about this prompt whose responses there are."""
        rows = self._rows(case.folder)
        asked = (*rows.get(case.prompt.id, ()), *rows.get(_key(case.prompt.text), ()))
        known = _known(case)
        found = []
        for place, row in enumerate(dict.fromkeys(asked)):
            responses = [known[shown] for shown in map(str.strip, row.shown) if shown in known]
            if len(responses) == len(row.shown) and len({one.id for one in responses}) == len(responses):
                step = self._step(row, responses[0])
                if row.step is None or step is not None:
                    found.append(self._judgement(case.prompt, case, row, responses, step, place))
        return found

    def forecast(self, outlook: Outlook) -> list[Load]:
        """Expect no call."""
        return []

    def _step(self, row: Verdict, response: Response) -> StepLocator | None:
        steps = located(response, "step", 10_000) if row.step is not None else []
        return steps[row.step] if row.step is not None and row.step < len(steps) else None

    def _judgement(
        self, prompt: Prompt, case: Case, row: Verdict, responses: list[Response], step: StepLocator | None, place: int
    ) -> Judgement:
        name, criterion = self.name or self.kind, row.criterion or self.criterion
        declared = case.objective.criteria.get(criterion)
        return make_judgement(
            prompt_id=prompt.id,
            response_ids=tuple(one.id for one in responses),
            step=step,
            criterion=criterion,
            criterion_id=declared.id if declared else content_id("c", ["verdicts", criterion]),
            evaluator=f"{name}:{row.annotator}" if row.annotator else name,
            evaluator_id=content_id("o", [self.identity(), row.annotator]),
            objective_version=case.objective.version,
            scores=None if row.score is None else (row.score,),
            ranks=row.places,
            scale=None if row.score is None else self.scale,
            rationale=row.rationale,
            repeat=place,
        )

    def _rows(self, folder: Path) -> dict[str, tuple[Verdict, ...]]:
        path = folder / Path(self.path).expanduser()
        try:
            about = path.stat()
            return _read(path, about.st_mtime_ns, about.st_size, self.scale)
        except OSError as error:
            raise PromptError(f"the verdicts in {path} can't be read: {error.strerror or error}") from error


def _key(text: str) -> str:
    return f"text:{text.strip()}"


def _known(case: Case) -> dict[str, Response]:
    """The responses of status ok by their ids and by their texts; of equal texts the first."""
    good = [response for response in case.responses if response.status == "ok"]
    return {response.text.strip(): response for response in reversed(good)} | {one.id: one for one in good}


@lru_cache(maxsize=8)
def _read(path: Path, modified: int, size: int, scale: tuple[float, float]) -> dict[str, tuple[Verdict, ...]]:
    """All rows by the prompt's id, or by its text."""
    found: defaultdict[str, list[Verdict]] = defaultdict(list)
    with open_bytes(path) as stream:
        for record in jsonl_records(stream, str(path)):
            if not isinstance(record, Record):
                raise PromptError(f"{path}, row {record.row}: {record.reason}")
            row = _verdict(record.values, f"{path}, row {record.row}", scale)
            found[row.prompt_id or _key(row.prompt or "")].append(row)
    if not found:
        raise PromptError(f"{path} holds no verdict")
    return {prompt: tuple(rows) for prompt, rows in found.items()}


def _verdict(content: Any, where: str, scale: tuple[float, float]) -> Verdict:
    try:
        row = msgspec.convert(content, Verdict)
    except msgspec.ValidationError as error:
        raise PromptError(f"{where}: {error}") from error
    if (problem := row.problem()) is not None:
        raise PromptError(f"{where} {problem}")
    if row.score is not None and not scale[0] <= row.score <= scale[1]:
        raise PromptError(f"{where}: the score {row.score:g} is not on the declared scale {scale[0]:g} to {scale[1]:g}")
    return row
