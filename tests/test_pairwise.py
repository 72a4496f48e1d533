"""The pairwise judge: both orders asked, disagreement kept."""

import json
import math
from collections import Counter

import msgspec
import pytest
from pydantic import ValidationError

from judging import Scripted, case, judged, tokens
from triptych.evaluation.compare_judgements import CompareJudgements
from triptych.evaluation.pairwise import Pairwise
from triptych.operators import Outlook


def better(letter: str) -> str:
    return json.dumps({"rationale": "because", "better": letter})


def pairwise(**settings: object) -> Pairwise:
    return Pairwise(model="judge", **{"criteria": ["helpful"]} | settings)


def shown(request) -> tuple[str, str]:
    text = request.messages[-1].content
    return tuple(text.split(f"<response_{side} ")[1].split("\n")[1] for side in "ab")


def test_each_pair_is_asked_in_both_orders():
    ask = Scripted(lambda request: better("A"))
    one = case("x", "y", "z")
    got = judged(pairwise(), one, ask)
    assert [shown(request) for request in ask.requests] == [
        ("x", "y"),
        ("y", "x"),
        ("x", "z"),
        ("z", "x"),
        ("y", "z"),
        ("z", "y"),
    ]
    ids = {response.id: response.text for response in one.responses}
    assert [tuple(ids[each] for each in j.response_ids) for j in got] == [shown(request) for request in ask.requests]
    assert len(ask.batches) == 1
    assert len({j.id for j in got}) == 6


def test_a_judge_that_likes_what_comes_first_is_kept_as_disagreeing_with_itself():
    forth, back = judged(pairwise(), case("x", "y"), Scripted(lambda request: better("A")))
    assert forth.ranks == back.ranks == (1, 2)
    assert forth.response_ids == back.response_ids[::-1]


def test_a_steady_judge_names_the_same_winner_in_both_orders():
    ask = Scripted(lambda request: better("A" if shown(request)[0] == "x" else "B"))
    forth, back = judged(pairwise(), case("x", "y"), ask)
    assert (forth.ranks, back.ranks) == ((1, 2), (2, 1))


CRITERIA = {"kind": "It is kind.", "true": "It is true.", "short": "It is short."}


def on_drawn(seed=0, **settings):
    """(criterion, texts shown) of each judgement of four responses, and what was asked."""
    ask = Scripted(lambda request: better("A"))
    one = msgspec.structs.replace(case("x", "y", "z", "w", criteria=CRITERIA), seed=seed)
    got = judged(pairwise(criteria=[*CRITERIA], draw_criterion=True, **settings), one, ask)
    return [(j.criterion, shown(request)) for j, request in zip(got, ask.requests, strict=True)], ask, got


def test_a_criterion_is_drawn_for_each_pair_and_shared_by_its_two_orders():
    said, ask, got = on_drawn()
    assert len(said) == 12
    assert [name for name, _ in said[::2]] == [name for name, _ in said[1::2]]
    assert [texts for _, texts in said[::2]] == [texts[::-1] for _, texts in said[1::2]]
    for (name, _), request in zip(said, ask.requests, strict=True):
        assert [known for known, text in CRITERIA.items() if text in request.messages[-1].content] == [name]
    every = judged(pairwise(criteria=[*CRITERIA]), case("x", "y", "z", "w", criteria=CRITERIA), Scripted(lambda _: better("A")))
    assert {j.id for j in got} < {j.id for j in every}, "the same judgements as where each is asked on"


def test_the_drawn_criterion_depends_on_the_pair_and_the_seed_and_all_come_up():
    by_seed = [[name for name, _ in on_drawn(seed, both_orders=False)[0]] for seed in range(40)]
    assert by_seed[0] == [name for name, _ in on_drawn(0)[0]][::2]
    assert by_seed[0] != by_seed[1]
    drawn = Counter(name for names in by_seed for name in names)
    assert drawn.total() == 240
    assert min(drawn.values()) > 50
    assert any(len({*names}) > 1 for names in by_seed)


def test_drawing_a_criterion_needs_several_and_has_its_price_in_the_plan():
    with pytest.raises(ValidationError, match="several criteria"):
        pairwise(draw_criterion=True)
    (load,) = pairwise(criteria=[*CRITERIA], draw_criterion=True).forecast(Outlook(prompt_tokens=10, responses=4))
    assert load.calls == 12
    with pytest.raises(ValidationError, match="leave draw_criterion out"):
        CompareJudgements(model="judge", criteria=[*CRITERIA], draw_criterion=True)


def test_ties_count_only_where_they_are_allowed():
    (tie,) = judged(pairwise(ties=True, both_orders=False), case("x", "y"), Scripted(lambda request: better("tie")))
    assert tie.ranks == (1, 1)
    (none,) = judged(pairwise(both_orders=False), case("x", "y"), Scripted(lambda request: better("tie")))
    assert (none.status, none.ranks) == ("unparsed", None)


def test_log_probabilities_give_the_probability_of_the_first():
    said = tokens(A=math.log(0.6), B=math.log(0.2), the=math.log(0.2))
    forth, _ = judged(pairwise(read="logprobs"), case("x", "y"), Scripted(lambda request: said))
    assert forth.probability == pytest.approx(0.75)
    assert forth.ranks == (1, 2)


def test_equal_texts_are_not_compared():
    assert judged(pairwise(), case("x", "x"), Scripted(lambda request: better("A"))) == []


def test_the_drawn_pairs_depend_on_seed_and_responses_only():
    texts = [str(number) for number in range(6)]
    few = judged(pairwise(max_pairs=3), case(*texts), Scripted(lambda request: better("A")))
    again = judged(pairwise(max_pairs=3), case(*texts), Scripted(lambda request: better("A")))
    assert len(few) == 6
    assert [j.id for j in few] == [j.id for j in again]
    every = judged(pairwise(), case(*texts), Scripted(lambda request: better("A")))
    assert {j.id for j in few} < {j.id for j in every}


def test_adjacent_pairs_follow_the_sample_order():
    ask = Scripted(lambda request: better("A"))
    judged(pairwise(pairs="adjacent", both_orders=False), case("x", "y", "z"), ask)
    assert [shown(request) for request in ask.requests] == [("x", "y"), ("y", "z")]


@pytest.mark.parametrize("said", ["A is better", better("C"), json.dumps({"better": 1}), ""])
def test_what_is_no_choice_is_asked_for_once_more_and_then_unparsed(said):
    ask = Scripted(lambda request: said)
    (got,) = judged(pairwise(both_orders=False), case("x", "y"), ask)
    assert len(ask.batches) == 2
    assert (got.status, got.ranks) == ("unparsed", None)


def test_ties_by_log_probability_are_refused():
    with pytest.raises(ValidationError, match="ties: true needs read: json"):
        pairwise(ties=True, read="logprobs")
