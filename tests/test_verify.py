"""The verifier: programs judge, and what they can't check never passes."""

import pytest

from judging import case, judged
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
