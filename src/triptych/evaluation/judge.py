"""The language model as judge: what every kind of it declares, and how its questions become judgements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from pydantic import Field, field_validator

from triptych.errors import PromptError
from triptych.models.asking import Asked, ask_parsed
from triptych.models.chat import Ask, ChatRequest, Choice, Reply
from triptych.models.spec import ModelSpec
from triptych.operators import Case, Load, Operator, Outlook, estimate_tokens, undefined_criteria
from triptych.parts import up_to
from triptych.records import (
    Criterion,
    Judgement,
    Message,
    Objective,
    Prompt,
    Response,
    StepLocator,
    draw,
    make_judgement,
)
from triptych.templates import checked_template, fenced, fenced_anew, material, render

_TOP_LOGPROBS = 20
_USUAL_TOKENS, _CORRECTION_TOKENS = 100, 100


class Verdict(Protocol):
    """What an answer means: a named tuple whose fields are fields of a judgement."""

    def _asdict(self) -> dict[str, Any]: ...


class Question(NamedTuple):
    """One thing that a judge is asked."""

    shown: tuple[Response, ...]
    """The responses, in the order of showing."""
    name: str
    criterion: Criterion
    repeat: int = 0
    step: StepLocator | None = None
    """The part of the one response shown that is asked about; None for the whole."""
    about: tuple[Judgement, ...] = ()
    """The judgements that are asked about, in the order of showing, where it is they and not the response."""


class Heard(NamedTuple):
    """What was said about a question before the judge is asked, by other calls or other judges."""

    shown: Mapping[str, str] = {}
    """Texts that the template may use, by name; each is put between tags of that name."""
    replies: tuple[Reply, ...] = ()
    """The calls that brought them."""
    error: str | None = None
    """Why the question can't be asked, where a call before it failed."""


class Form(NamedTuple):
    """What an answer must look like."""

    wanted: str
    """In words."""
    schema: dict[str, Any]
    """As a JSON Schema."""
    parse: Callable[[Choice], Verdict]
    """Reads it; raises `Unparsable`."""


_NOTHING = Heard()


class Judge(Operator):
    """Asks a language model about responses, on one criterion at a time.

    An answer that can't be read is asked for once more, then recorded as `unparsed`; it never becomes a verdict.
    """

    default_template: ClassVar[str]
    example: ClassVar[Mapping[str, object]]
    """The names that a template may use, with values to try it with."""

    kind: str
    name: str | None = None
    """What judgements call the evaluator; its kind if not given."""
    model: str
    """The name of a declared model."""
    criteria: tuple[str, ...] = Field(min_length=1)
    """Names of criteria of the objective."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """The judge's sampling temperature."""
    max_tokens: int = Field(default=512, ge=1)
    """Longest answer, in tokens."""
    system: str | None = None
    """A system message."""
    template: str | None = None
    """A Jinja template for the judge's prompt."""

    @field_validator("template")
    @classmethod
    def _usable(cls, template: str | None) -> str | None:
        return template if template is None else checked_template(template, cls.example)

    def problems(self, models: Mapping[str, ModelSpec], objective: Objective) -> Iterator[tuple[str, str]]:
        """Say what of the recipe does not fit this judge: (field, message)."""
        yield from undefined_criteria(self.criteria, objective)

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs of prompts, in words."""
        return ("prompts with a reference",) if self._wants_reference else ()

    def lacking(self, prompt: Prompt) -> str | None:
        """Say what a prompt lacks: a reference, where the template asks for one."""
        if prompt.reference is None and self._wants_reference:
            return (
                "its template asks for a reference, and the prompt has none; put that part between "
                "{% if reference is defined %} and {% endif %}"
            )
        return None

    @cached_property
    def _wants_reference(self) -> bool:
        known = {name: value for name, value in self.example.items() if name != "reference"}
        try:
            render(self.template or self.default_template, known)
        except PromptError:
            return True
        return False

    async def judge(self, case: Case, ask: Ask) -> list[Judgement]:
        """Ask about the responses of status ok; one judgement comes of each question."""
        questions = list(self._questions(case, [response for response in case.responses if response.status == "ok"]))
        if not questions:
            return []
        form = self._form(len(questions[0].shown))
        spec = ask.model(self.model)
        heard = await self._hear(case, ask, questions)
        going_on = [pair for pair in zip(questions, heard, strict=True) if pair[1].error is None]
        requests = [self._request(case, spec, question, form, before.shown) for question, before in going_on]
        answers = iter(await ask_parsed(ask, self.model, requests, form.parse, form.wanted))
        shared = self._shared(case, ask)
        return [
            self._judgement(shared, question, before, Asked(status="failed", error=before.error))
            if before.error is not None
            else self._judgement(shared, question, before, next(answers))
            for question, before in zip(questions, heard, strict=True)
        ]

    def _judgement(self, shared: dict[str, Any], question: Question, heard: Heard, asked: Asked[Verdict]) -> Judgement:
        told = asked.fields()
        if heard.replies:
            told["call_ids"] = (*(reply.call_id for reply in heard.replies), *asked.call_ids)
            told["cost_usd"] = asked.cost_usd + sum(reply.cost_usd for reply in heard.replies)
        return make_judgement(
            **shared,
            response_ids=tuple(response.id for response in question.shown),
            criterion_id=question.criterion.id,
            criterion=question.name,
            repeat=question.repeat,
            step=question.step,
            about=tuple(one.id for one in question.about),
            **(asked.verdict._asdict() if asked.verdict else {}),
            **told,
        )

    async def _hear(self, case: Case, ask: Ask, questions: list[Question]) -> list[Heard]:
        """What is said about each question before the judge is asked."""
        return [_NOTHING] * len(questions)

    def _questions(self, case: Case, good: list[Response]) -> Iterator[Question]:
        """What to ask about these responses; each question shows as many of them as every other."""
        raise NotImplementedError

    def _form(self, count: int) -> Form:
        """What an answer about so many responses must look like."""
        raise NotImplementedError

    def _values(self, question: Question, shown: dict[str, Any]) -> dict[str, Any]:
        """What a template may use, beside the criterion and the words for what is wanted."""
        return shown

    def asked(
        self, judgement: Judgement, prompt: Prompt, shown: tuple[Response, ...], objective: Objective
    ) -> tuple[Message, ...] | None:
        """What it was asked when it came to a judgement, written anew from its settings.

        None where these do not tell: the criterion's text is another one now, the prompt lacks what the template asks
        for, or others were heard before.
        """
        criterion = self._criterion_of(judgement, prompt, objective)
        if criterion is None or criterion.id != judgement.criterion_id or self._hears_others or self.lacking(prompt):
            return None
        question = Question(shown, judgement.criterion, criterion, step=judgement.step)
        case = Case(prompt=prompt, objective=objective, seed=0)
        return self._messages(case, question, self._form(len(shown)))

    def answered(self, judgement: Judgement) -> str | None:
        """Its answer in the form in which it was asked for; None where it gave none that could be read.

        Of an answer by log-probabilities nothing but the verdict was ever there; that is None as well.
        """
        if judgement.status != "ok" or self._one_token:
            return None
        reasons = {"rationale": judgement.rationale} if judgement.rationale else {}
        return json.dumps(reasons | self._answer(judgement), ensure_ascii=False)

    @property
    def tells(self) -> bool:
        """Whether its judgements and settings tell what it was asked and answered (see `asked` and `answered`)."""
        return not self._hears_others and not self._one_token

    def known_as(self, models: Mapping[str, ModelSpec]) -> str:
        """The `evaluator_id` of its judgements."""
        return self.identity(*(models[name] for name in (self.model, *self._others)))

    def _criterion_of(self, judgement: Judgement, prompt: Prompt, objective: Objective) -> Criterion | None:
        """What a judgement was asked about, as far as the tables and the recipe tell."""
        return objective.criteria.get(judgement.criterion)

    def _answer(self, judgement: Judgement) -> dict[str, Any]:
        """The verdict in the words of its own answers."""
        raise NotImplementedError

    @property
    def _hears_others(self) -> bool:
        """Whether its questions hold what others said, which judgements do not keep."""
        return type(self)._hear is not Judge._hear

    def _shared(self, case: Case, ask: Ask) -> dict[str, Any]:
        """What all judgements on one prompt have in common."""
        spec = ask.model(self.model)
        return {
            "prompt_id": case.prompt.id,
            "evaluator": self.name or self.kind,
            "evaluator_id": self.identity(spec, *map(ask.model, self._others)),
            "model": spec.model,
            "model_version": spec.version,
            "objective_version": case.objective.version,
        }

    @property
    def _others(self) -> tuple[str, ...]:
        """Models beside its own that have a say in its verdicts."""
        return ()

    @property
    def used_models(self) -> tuple[str, ...]:
        """The names of its own model and of those that have a say beside it."""
        return (self.model, *self._others)

    @property
    def _one_token(self) -> bool:
        return False

    def material(self, case: Case, question: Question) -> dict[str, Any]:
        """The texts that are shown; of a response whose part is asked about, all up to the part's end."""
        step = question.step
        if step is None:
            return material(case.prompt, *question.shown)
        (response,) = question.shown
        shown = material(case.prompt, up_to(response, step))
        part = response.messages[step.message].content[step.start : step.end]
        return shown | {"part": fenced("part", part, shown["mark"])}

    def _request(
        self, case: Case, spec: ModelSpec, question: Question, form: Form, heard: Mapping[str, str] | None = None
    ) -> ChatRequest:
        seed = None
        if self.temperature > 0 and spec.send_seed:
            parts: list[object] = [
                *(response.id for response in question.shown),
                question.criterion.id,
                question.repeat,
            ]
            parts += [one.id for one in question.about]
            seed = draw(case.seed, *parts, *([question.step.index] if question.step else [])) % 2**31
        return ChatRequest(
            messages=self._messages(case, question, form, heard),
            temperature=self.temperature,
            max_tokens=1 if self._one_token else self.max_tokens,
            seed=seed,
            sample_index=question.repeat,
            response_schema=None if self._one_token or not spec.json_schema else form.schema,
            top_logprobs=_TOP_LOGPROBS if self._one_token else None,
        )

    def _messages(
        self, case: Case, question: Question, form: Form, heard: Mapping[str, str] | None = None
    ) -> tuple[Message, ...]:
        values = self._values(question, self.material(case, question))
        values |= {name: fenced_anew(name, text, values["mark"]) for name, text in (heard or {}).items()}
        values |= {"criterion": question.criterion.text, "wanted": form.wanted}
        text = render(self.template or self.default_template, values)
        return (*((Message("system", self.system),) if self.system else ()), Message("user", text))

    def _load(self, outlook: Outlook, calls: float, shown: int) -> Load:
        """So many calls that show so many responses each; at most, each is asked again and answered at full length."""
        words = (self.template or self.default_template, self._form(shown).wanted, self.system or "")
        around = outlook.prompt_tokens + sum(map(estimate_tokens, words))
        longest = 1 if self._one_token else self.max_tokens
        most_at_first = around + shown * outlook.longest_response_tokens
        return Load(
            model=self.model,
            calls=calls,
            prompt_tokens=calls * (around + shown * outlook.response_tokens),
            completion_tokens=calls * min(longest, _USUAL_TOKENS),
            most_calls=2 * calls,
            most_prompt_tokens=calls * (2 * most_at_first + longest + _CORRECTION_TOKENS),
            most_completion_tokens=calls * 2 * longest,
        )


class LogprobJudge(Judge):
    """A judge that may be read by one token's log-probabilities."""

    read: Literal["json", "logprobs"] = "json"
    """`json` asks for a rationale and a verdict; `logprobs` for the verdict alone, as log-probabilities."""
    min_mass: float = Field(default=0.5, ge=0, le=1)
    """With `logprobs`: the share of the probability that must be on the allowed answers; less is unparsed."""

    def problems(self, models: Mapping[str, ModelSpec], objective: Objective) -> Iterator[tuple[str, str]]:
        """Say what of the recipe does not fit this judge: (field, message)."""
        yield from super().problems(models, objective)
        if self._one_token and not models[self.model].logprobs:
            yield "read", f"model {self.model!r} is not declared to give log-probabilities (logprobs: true)"

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs of prompts and its model, in words."""
        return (*super().needs, *((f"log-probabilities of {self.model}",) if self._one_token else ()))

    @property
    def _one_token(self) -> bool:
        return self.read == "logprobs"
