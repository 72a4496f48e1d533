"""The verifier: programs judge, and what they can't check never passes."""

import asyncio
import time

import pytest

from judging import case, judged
from triptych.errors import MissingExtra
from triptych.evaluation.constraints import math_process
from triptych.evaluation.verify import Verify
from triptych.records import Criterion

TWO = ({"kind": "words", "max": 2}, {"kind": "includes", "words": ["hi"]})


def test_each_check_of_each_response_is_a_judgement():
    got = judged(Verify(), case("hi there", "good morning to you", constraints=TWO))
    assert [(j.check, j.scores) for j in got] == [
        ("words", (1.0,)),
        ("includes", (1.0,)),
        ("words", (0.0,)),
        ("includes", (0.0,)),
    ]
    assert {(j.criterion, j.scale, j.model, j.status) for j in got} == {("constraints", (0.0, 1.0), None, "ok")}
    assert "4 words" in got[2].rationale
    assert len({j.id for j in got}) == 4


def test_constraints_of_the_recipe_are_checked_beside_those_of_the_prompt():
    got = judged(Verify(constraints=[{"kind": "words", "min": 2}]), case("hi", constraints=TWO))
    assert [(j.check, j.scores[0]) for j in got] == [("words", 0.0), ("words#2", 1.0), ("includes", 1.0)]
    assert (
        len(judged(Verify(use_prompt=False, constraints=[{"kind": "words", "min": 2}]), case("hi", constraints=TWO)))
        == 1
    )


@pytest.mark.parametrize(
    "broken", [{"kind": "wrods", "max": 2}, {"kind": "words"}, {"max": 3}, {"kind": "regex", "pattern": "("}]
)
def test_a_constraint_that_can_not_be_checked_fails_and_does_not_pass(broken):
    (got,) = judged(Verify(), case("hi", constraints=(broken,)))
    assert (got.status, got.scores) == ("failed", None)
    assert "can't be checked" in got.error


def test_the_final_answer_is_held_against_the_reference():
    pytest.importorskip("math_verify", reason="needs triptych[verify]")
    got = judged(Verify(final_answer=True), case("It is 12.", "It is 13.", reference="12"))
    assert [j.scores for j in got] == [(1.0,), (0.0,)]


def test_a_declared_criterion_gives_its_identity():
    one = case("hi", criteria={"form": "It has the form."}, constraints=TWO)
    got = judged(Verify(criterion="form"), one)
    assert {j.criterion_id for j in got} == {Criterion(text="It has the form.").id}


def test_everything_else_goes_on_while_a_formula_is_compared(monkeypatch):
    pytest.importorskip("math_verify", reason="needs triptych[verify]")
    monkeypatch.setattr(math_process, "LIMIT_S", 1.0)
    one = case(r"\boxed{9^{9^{9^{9}}}}", "It is 12.", reference="12")

    async def longest_wait():
        longest, last = 0.0, time.monotonic()
        judging = asyncio.create_task(Verify(final_answer=True).judge(one, None))
        while not judging.done():
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        return longest, judging.result()

    start = time.monotonic()
    longest, got = asyncio.run(longest_wait())
    assert time.monotonic() - start > 0.9
    assert longest < 0.6
    assert [j.scores for j in got] == [(0.0,), (1.0,)]


def test_what_is_not_installed_is_said_from_a_thread_too(monkeypatch):
    monkeypatch.setattr(math_process, "find_spec", lambda name: None)
    math_process.same_mathematics.cache_clear()
    with pytest.raises(MissingExtra, match="final_answer needs math-verify"):
        judged(Verify(final_answer=True), case(r"\boxed{\sqrt{3}}", reference="2"))


@pytest.mark.parametrize("depth", [300, 900])
def test_a_schema_that_nests_deeply_is_checked_or_fails_alone(depth):
    pytest.importorskip("jsonschema_rs", reason="needs triptych[verify]")
    schema = {}
    for _ in range(depth):
        schema = {"items": schema}
    deep, words = judged(Verify(), case("[]", constraints=({"kind": "json_schema", "schema": schema}, TWO[0])))
    assert deep.status == "failed"
    assert "can't be checked" in deep.error
    assert words.scores == (1.0,)


def test_a_schema_that_refers_to_another_document_fails_and_says_why():
    pytest.importorskip("jsonschema_rs", reason="needs triptych[verify]")
    schema = {"$ref": "http://127.0.0.1:9/other"}
    (got,) = judged(Verify(), case("{}", constraints=({"kind": "json_schema", "schema": schema},)))
    assert (got.status, got.scores) == ("failed", None)
    assert "it refers to another document (http://127.0.0.1:9/other" in got.error
