"""Operators that anybody may have written: what they give back is looked at, and a run that ends says whose fault it was."""

import math
from collections.abc import Iterable

import msgspec
import pytest

import triptych as tp
from triptych.errors import OperatorFailed
from triptych.evaluation.assumed import Assumed
from triptych.operators import Case
from triptych.prompts.evolve import Evolve
from triptych.store.run import read_manifest
from triptych.synthesis.given import Given

GOOD = Assumed.judge
PROMPTS = [{"prompt": f"Name bird {i}.", "responses": ["A wren.", "An owl."]} for i in range(3)]


def given(**more):
    """A recipe that asks nobody."""
    return tp.Recipe.model_validate(
        {
            "name": "given",
            "prompts": {"kind": "inline", "prompts": PROMPTS},
            "synthesis": [{"kind": "given"}],
            "evaluation": [{"kind": "assumed", "name": "mine", "scores": {"given": 0.5}}],
            "instantiation": [{"kind": "sft"}],
        }
        | more
    )


def ended(tmp_path, recipe=None):
    """What a run says that ends so; its manifest says it too."""
    with pytest.raises(OperatorFailed) as raised:
        tp.run(recipe or given(), tmp_path / "run")
    assert read_manifest(tmp_path / "run").status.startswith(f"stopped: {raised.value}")
    return str(raised.value)


def changed(**fields):
    """The judgements with other fields in the first of them."""
    return lambda said: [msgspec.structs.replace(said[0], **fields), *said[1:]]


def test_what_is_looked_at_is_let_through_where_it_is_sound(tmp_path):
    assert tp.run(given(), tmp_path / "run").judgements().collect().height == 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed(response_ids=("r_of_nobody",)), "of the response 'r_of_nobody', which is none of the prompt's"),
        (changed(prompt_id="p_other"), "of another prompt, 'p_other'"),
        (lambda said: [*said, said[0]], "twice"),
        (changed(scores=(math.nan,)), "with the score nan, which is no finite number"),
        (changed(scores=(math.inf,), scale=None), "with the score inf, which is no finite number"),
        (changed(scores=(1.5,)), "with the score 1.5, which is not on its scale from 0 to 1"),
        (changed(scores=(-0.5,)), "with the score -0.5, which is not on its scale from 0 to 1"),
        (changed(scores=("good",)), "with the scores ('good',) on the scale (0.0, 1.0), which are no numbers"),
        (changed(scores=0.5), "with the scores 0.5 on the scale (0.0, 1.0), which are no numbers"),
        (changed(scale=(1.0, 1.0)), "with the scale (1.0, 1.0), which does not rise"),
        (changed(scores=(0.5, 0.5)), "with 2 verdicts on 1 shown"),
        (changed(scores=(1 + 1e-12, 0.5)), "with 2 verdicts on 1 shown"),
        (changed(scores=None, ranks=(1, 2)), "with 2 verdicts on 1 shown"),
        (changed(scores=None, ranks=(0,)), "with the ranks (0,), which are not whole numbers from 1"),
        (changed(rationale="Half \ud83d of it."), r"with half a character, '\ud83d', which is no text"),
        (changed(raw="\udfff"), r"with half a character, '\udfff', which is no text"),
        (changed(error="\ud800"), r"with half a character, '\ud800', which is no text"),
        (lambda said: None, "None, which is no list of judgements"),
        (lambda said: (one for one in said), "which is no list of judgements"),
        (lambda said: said[0], "which is no list of judgements"),
        (lambda said: [said], "which is no Judgement"),
        (lambda said: [0.5, 0.5], "0.5, which is no Judgement"),
    ],
)
def test_an_evaluator_that_says_what_can_not_stand_in_the_table_is_named(tmp_path, monkeypatch, change, said):
    async def judge(self, case, ask):
        return change(await GOOD(self, case, ask))

    monkeypatch.setattr(Assumed, "judge", judge)
    told = ended(tmp_path)
    assert told.startswith("the evaluator 'mine' gave ")
    assert said in told


@pytest.mark.parametrize("score", [1 + 1e-12, -1e-12, 1, 0])
def test_a_score_that_misses_its_scale_by_rounding_alone_is_let_through(tmp_path, monkeypatch, score):
    async def judge(self, case, ask):
        return changed(scores=(score,))(await GOOD(self, case, ask))

    monkeypatch.setattr(Assumed, "judge", judge)
    assert tp.run(given(), tmp_path / "run").judgements().collect().height == 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda made: None, "gave None, which is no list of responses"),
        (lambda made: ["A wren."], "gave 'A wren.', which is no Response"),
        (lambda made: [*made, made[0]], "which is there already"),
        (lambda made: [msgspec.structs.replace(made[0], prompt_id="p_x")], "of another prompt, 'p_x'"),
    ],
)
def test_a_generator_that_gives_what_is_no_response_of_the_prompts_is_named(tmp_path, monkeypatch, change, said):
    good = Given.respond

    async def respond(self, case, ask):
        return change(await good(self, case, ask))

    monkeypatch.setattr(Given, "respond", respond)
    told = ended(tmp_path)
    assert told.startswith("the generator 'given' gave ")
    assert said in told


def test_an_evolution_operator_that_gives_no_prompts_is_named(tmp_path, monkeypatch):
    async def evolve(self, case, ask):
        return ["Name a bird."]

    monkeypatch.setattr(Evolve, "evolve", evolve)
    model = {"m": {"backend": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}}
    told = ended(tmp_path, given(models=model, evolution=[{"kind": "evolve", "model": "m"}]))
    assert told == "the evolution operator 'evolve' gave 'Name a bird.', which is neither a Prompt nor an Unmade"


@pytest.mark.parametrize(
    ("of", "method", "who"),
    [(Assumed, "judge", "the evaluator 'mine'"), (Given, "respond", "the generator 'given'")],
)
def test_an_operator_that_raises_is_named(tmp_path, monkeypatch, of, method, who):
    async def failing(self, case: Case, ask: object) -> Iterable[object]:
        raise RuntimeError("out of paper")

    monkeypatch.setattr(of, method, failing)
    assert ended(tmp_path) == f"{who} failed with RuntimeError: out of paper"


def test_an_evaluator_that_is_no_coroutine_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Assumed, "judge", lambda self, case, ask: [])
    assert ended(tmp_path).startswith("the evaluator 'mine' failed with TypeError")
