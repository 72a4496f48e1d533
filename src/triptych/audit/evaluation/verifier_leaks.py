"""Whether a verifier lets wrong answers through, or refuses right ones (E15): against people, and on planted answers."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, cast

import msgspec

from triptych.audit.diagnostic import Share
from triptych.audit.mitigations import judging, sampling
from triptych.audit.needs import Need
from triptych.audit.people import by_people
from triptych.evaluation.constraints.numbers import lone_number
from triptych.evaluation.verify import Verify
from triptych.instantiation.scores import verdicts
from triptych.operators import Case
from triptych.records import Message, Objective, Prompt, Response, canonical_json, make_response
from triptych.store.tables import records

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_MOST_PROMPTS = 200
_RIGHT = 0.5


def _checked(data: Data) -> pl.LazyFrame:
    """Responses that a verifier and people judged on the same criterion; if evaluators are named as gold, they are the people.

    Columns: prompt_id, response_id, verifier, verifier_id, passes (all its checks), right, judgement_id (the verifier's).
    """
    import polars as pl

    named = data.gold_evaluators is not None
    people = data.by_gold if named else by_people(data)
    key = ["response_id"] if named else ["response_id", "criterion"]
    truth = (
        verdicts(people.filter((pl.col("response_ids").list.len() == 1) & pl.col("check").is_null()))
        .group_by(key)
        .agg(right=pl.col("verdict").mean().round(9))
        .filter(pl.col("right") != _RIGHT)
        .with_columns(pl.col("right") > _RIGHT)
    )
    return (
        verdicts(data.judgements.filter(pl.col("check").is_not_null() & pl.col("model").is_null()))
        .group_by("prompt_id", "response_id", "criterion", verifier="evaluator", verifier_id="evaluator_id")
        .agg(passes=pl.col("verdict").min() > _RIGHT, judgement_id=pl.col("judgement_id").min())
        .join(truth, on=key)
    )


VERIFIER_AND_PEOPLE = Need(
    "verdicts of a verifier and of people on the same responses and criterion",
    "let people judge some of what the verifier checks, or name the evaluator that is gold",
    lambda data: not _checked(data).head(1).collect().is_empty(),
)


class _Leak(Share):
    failure_mode = "E15"
    needs = (VERIFIER_AND_PEOPLE,)
    by = ("verifier", "verifier_id")
    right: ClassVar[bool]
    did: ClassVar[str]

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each response that people call right (or wrong), and whether the verifier says the opposite."""
        import polars as pl

        missed = pl.col("passes") != pl.col("right")
        its = _checked(data).filter(pl.col("right") == self.right)
        return its.with_columns(part=missed, whole=1, id="judgement_id", shows=missed)

    def say(self, verifier: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the verifier."""
        return verifier, f"{verifier} {self.did}"


class VerifierFalsePositives(_Leak):
    """Share of the responses that people call wrong which a verifier passes: all its checks hold.

    People's verdicts on the verifier's criterion count, in their mean; a half is neither right nor wrong.
    """

    name = "verifier_false_positives"
    good = (0.0, 0.05)
    error = (0.0, 0.3)
    right = False
    did = "passes what people call wrong in"
    change = "add tests or checks, or let a second verifier confirm what passes"
    mitigations = (judging.final_answer_checked,)


class VerifierFalseNegatives(_Leak):
    """Share of the responses that people call right which a verifier does not pass: one of its checks fails."""

    name = "verifier_false_negatives"
    good = (0.0, 0.1)
    error = (0.0, 0.5)
    right = True
    did = "fails what people call right in"
    change = "ask for answers in a form that the verifier reads, or loosen the check that fails"
    mitigations = (sampling.with_final_answer,)


def wrong_answers(answer: str, value: Fraction) -> list[str]:
    """Answers that are wrong: beside the right one, and where the right one stands too."""
    near, scaled = _written(value + 1), _written(value * 10 + 10)
    return [
        f"The answer is {near}.",
        f"\\boxed{{{scaled}}}",
        f"One might say {answer}, but that is not so. The answer is {near}.",
    ]


def right_answers(answer: str, value: Fraction) -> list[str]:
    """The same right answer in several ways of writing."""
    said = [f"The answer is **{answer}**.", f"\\boxed{{{answer}}}", f"#### {answer}", f"So we get x = {answer}."]
    if value.denominator == 1:
        said.append(f"The answer is {value.numerator}.0")
    if value.denominator == 1 and abs(value) >= 1000:
        said.append(f"The answer is {value.numerator:,}.")
    return said


def _written(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"


def _verifiers(data: Data) -> list[Verify]:
    made = data.recipe.evaluation if data.recipe is not None else ()
    return [one for one in made if isinstance(one, Verify)]


def probed(data: Data) -> pl.DataFrame:
    """What the recipe's verifiers say of planted answers to up to 200 prompts whose answer is known to be a number.

    Columns: verifier, prompt_id, right (whether the planted answer is), passes, form (which of the planted ones).
    """
    import polars as pl

    types = {"verifier": pl.String, "prompt_id": pl.String, "right": pl.Boolean, "passes": pl.Boolean, "form": pl.Int64}
    if not _verifiers(data):
        return pl.DataFrame(schema=types)
    kept = data.prompts.filter(pl.col("reference").is_not_null() | (pl.col("constraints").str.len_bytes() > 2))
    prompts = kept.unique("id", maintain_order=True).collect()
    some = prompts.gather_every(max(1, -(-prompts.height // _MOST_PROMPTS)))
    cases = [
        (verifier, case, planted)
        for prompt in cast("list[Prompt]", records("prompts", some.iter_rows(named=True)))
        for verifier in _verifiers(data)
        if (made := _planted(prompt, verifier)) is not None
        for verifier, case, planted in [made]
    ]
    # A thread of its own: where the audit is called from a running loop, that one can't run another.
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(asyncio.run, _judged(cases)).result()
    return pl.DataFrame(found, schema=types, orient="row")


def _planted(prompt: Prompt, verifier: Verify) -> tuple[Verify, Case, list[bool]] | None:
    """The verifier with those of its checks that name the answer, the prompt with planted ones, and which of these are right."""
    answer = _answer(prompt)
    number = lone_number(answer) if answer is not None else None
    if answer is None or number is None or number.percent:
        return None

    def names_it(constraint: Any) -> bool:
        told = constraint if isinstance(constraint, dict) else constraint.model_dump(mode="json")
        return told.get("kind") == "final_answer" or answer in canonical_json(told).decode()

    own = tuple(each for each in prompt.constraints if names_it(each)) if verifier.use_prompt else ()
    given = tuple(each for each in verifier.constraints if names_it(each))
    if not own and not given and not (verifier.final_answer and prompt.reference is not None):
        return None
    texts = [(text, False) for text in wrong_answers(answer, number.value)]
    texts += [(text, True) for text in right_answers(answer, number.value)]
    case = Case(
        prompt=msgspec.structs.replace(prompt, constraints=own),
        responses=tuple(_response(prompt, place, text) for place, (text, _) in enumerate(texts)),
        objective=Objective(),
        seed=0,
    )
    return verifier.model_copy(update={"constraints": given}), case, [right for _, right in texts]


def _answer(prompt: Prompt) -> str | None:
    """The answer that the prompt's own check asks for, or its reference."""
    asked = [each.get("answer") for each in prompt.constraints if each.get("kind") == "final_answer"]
    found = next((str(each) for each in asked if each is not None), prompt.reference)
    return found.strip() if found is not None else None


def _response(prompt: Prompt, place: int, text: str) -> Response:
    return make_response(
        prompt_id=prompt.id,
        generator="planted",
        generator_id="planted",
        model=None,
        sample_index=place,
        messages=(Message("assistant", text),),
    )


async def _judged(cases: list[tuple[Verify, Case, list[bool]]]) -> list[tuple[str, str, bool, bool, int]]:
    """What each verifier says of each planted answer; where a check can't be made there is no row."""
    rows = []
    for verifier, case, planted in cases:
        said: dict[str, list[float | None]] = {}
        for one in await verifier.judge(case, cast("Any", _no_model)):
            said.setdefault(one.response_ids[0], []).append(one.scores[0] if one.scores else None)
        for form, (response, right) in enumerate(zip(case.responses, planted, strict=True)):
            scores = [each for each in said.get(response.id, []) if each is not None]
            if scores and len(scores) == len(said[response.id]):
                rows.append((verifier.name or verifier.kind, case.prompt.id, right, min(scores) > _RIGHT, form))
    return rows


def _no_model(*_: object) -> NoReturn:
    raise TypeError("a verifier asks no model")


PROBES = Need(
    "a recipe that verifies answers which are numbers",
    "audit a run whose recipe has `verify`, on prompts with a reference or a final_answer",
    lambda data: data.once(probed).height > 0,
)


class _Probe(Share):
    failure_mode = "E15"
    needs = (PROBES,)
    by = ("verifier",)
    right: ClassVar[bool]
    did: ClassVar[str]

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each planted answer, and whether the verifier is wrong about it."""
        import polars as pl

        missed = pl.col("passes") != pl.col("right")
        its = data.once(probed).lazy().filter(pl.col("right") == self.right)
        return its.with_columns(part=missed, whole=1, id="prompt_id", shows=missed)

    def say(self, verifier: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the verifier."""
        return verifier, f"{verifier} {self.did}"


class PlantedWrongPassed(_Probe):
    """Share of planted wrong answers that the recipe's verifier passes, of three to each of up to 200 prompts whose answer
    is a number: the answer plus one; ten times that in a box; the right one named and rejected before a wrong one.

    Only checks that name the answer are asked: final answers, and words or patterns in which it stands.
    """

    name = "planted_wrong_passed"
    good = (0.0, 0.01)
    error = (0.0, 0.2)
    right = False
    did = "passes planted wrong answers:"
    change = "check the final answer (verify with final_answer: true), not that the right number stands somewhere"
    mitigations = (judging.final_answer_checked,)


class PlantedRightFailed(_Probe):
    """Share of right answers, written in other ways, that the recipe's verifier does not pass, of four to six to each of up
    to 200 prompts whose answer is a number: in bold, boxed, after ####, at the end of an equation, as a decimal, with its
    thousands apart.

    Only checks that name the answer are asked, as in `planted_wrong_passed`.
    """

    name = "planted_right_failed"
    good = (0.0, 0.05)
    error = (0.0, 0.5)
    right = True
    did = "fails right answers in other ways of writing:"
    change = "check the final answer as a number (verify with final_answer: true), or tell the policy which form to answer in"
    mitigations = (judging.final_answer_checked, sampling.with_final_answer)
