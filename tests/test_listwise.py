"""The listwise judge: shuffled positions, whole rankings or none."""

import json
import re

import msgspec
import pytest
from pydantic import ValidationError

from judging import Scripted, case, judged
from triptych.evaluation.listwise import Listwise
from triptych.operators import Outlook


def ranking(*letters: object) -> str:
    return json.dumps({"rationale": "because", "ranking": letters})


def listwise(**settings: object) -> Listwise:
    return Listwise(model="judge", **{"criteria": ["helpful"]} | settings)


def shown(request) -> list[str]:
    return re.findall(r"<response_[a-z] \w+>\n(.*)\n</response", request.messages[-1].content)


def by_length(request) -> str:
    """A judge that likes long texts, wherever they stand."""
    texts = shown(request)
    return ranking(*(chr(65 + place) for place in sorted(range(len(texts)), key=lambda place: -len(texts[place]))))


def test_all_are_ranked_in_each_order_of_showing():
    ask = Scripted(by_length)
    one = case("a", "bb", "ccc", "dddd")
    got = judged(listwise(orders=2), one, ask)
    texts = {response.id: response.text for response in one.responses}
    assert len(ask.batches) == 1
    assert len(got) == 2
    assert len({j.id for j in got}) == 2
    for judgement, request in zip(got, ask.requests, strict=True):
        assert [texts[each] for each in judgement.response_ids] == shown(request)
        assert sorted(shown(request)) == ["a", "bb", "ccc", "dddd"]
        best_first = sorted(
            judgement.response_ids, key=dict(zip(judgement.response_ids, judgement.ranks, strict=True)).get
        )
        assert [texts[each] for each in best_first] == ["dddd", "ccc", "bb", "a"]
        assert judgement.rationale == "because"


def test_over_as_many_orders_as_responses_each_stands_in_each_position_once():
    ask = Scripted(by_length)
    judged(listwise(orders=9), case("a", "bb", "ccc", "dddd", "eeeee"), ask)
    orders = [shown(request) for request in ask.requests]
    assert len(orders) == 5
    for position in range(5):
        assert len({order[position] for order in orders}) == 5


def test_the_orders_depend_on_seed_and_responses_alone():
    texts = ["a", "bb", "ccc", "dddd"]
    orders = []
    for seed in (0, 0, 1, 2, 3):
        ask = Scripted(by_length)
        judged(listwise(orders=1), msgspec.structs.replace(case(*texts), seed=seed), ask)
        orders.append(tuple(shown(ask.requests[0])))
    assert orders[0] == orders[1]
    assert len(set(orders)) > 1


def test_equal_places_are_ties_only_where_they_are_allowed():
    said = ranking("B", ["A", "C"])
    (tied,) = judged(listwise(orders=1, ties=True), case("x", "y", "z"), Scripted(lambda request: said))
    assert tied.ranks == (2, 1, 2)
    (none,) = judged(listwise(orders=1), case("x", "y", "z"), Scripted(lambda request: said))
    assert (none.status, none.ranks) == ("unparsed", None)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (ranking("A", "B"), "lacks C"),
        (ranking("A", "B", "B"), "twice"),
        (ranking("A", "B", "D"), "'D'"),
        (ranking("A", "B", 3), "'3'"),
        (json.dumps({"ranking": "ABC"}), "not a list"),
        ("A > B > C", "no JSON object"),
    ],
)
def test_what_is_no_whole_ranking_is_asked_for_again_and_never_made_up(said, why):
    ask = Scripted(lambda request: said)
    (got,) = judged(listwise(orders=1), case("x", "y", "z"), ask)
    assert (got.status, got.ranks) == ("unparsed", None)
    assert why in got.error
    assert len(ask.batches) == 2
    assert why in ask.requests[1].messages[-1].content
    answers = iter([said, ranking("C", "A", "B")])
    (mended,) = judged(listwise(orders=1), case("x", "y", "z"), Scripted(lambda request: next(answers)))
    assert (mended.status, mended.ranks) == ("ok", (2, 3, 1))


def test_the_answers_form_is_asked_for_where_the_model_has_it():
    ask = Scripted(by_length)
    judged(listwise(orders=1), case("a", "bb", "ccc"), ask)
    wanted = ask.requests[0].response_schema["properties"]["ranking"]
    assert (wanted["minItems"], wanted["maxItems"], wanted["items"]["enum"]) == (3, 3, ["A", "B", "C"])
    ask = Scripted(by_length, json_schema=False)
    judged(listwise(orders=1), case("a", "bb", "ccc"), ask)
    assert ask.requests[0].response_schema is None


def test_one_response_alone_is_not_ranked():
    assert judged(listwise(), case("x"), Scripted(by_length)) == []


def test_the_forecast_is_what_is_asked():
    outlook = Outlook(prompt_tokens=10, responses=4, response_tokens=5, longest_response_tokens=9)
    for orders in (1, 3, 9):
        ask = Scripted(by_length)
        judged(listwise(orders=orders), case("a", "bb", "ccc", "dddd"), ask)
        (load,) = listwise(orders=orders).forecast(outlook)
        assert load.calls == len(ask.requests)
    assert listwise().forecast(Outlook(prompt_tokens=10, responses=1)) == []


def test_a_template_that_asks_for_what_there_is_not_is_refused():
    with pytest.raises(ValidationError, match="may use task, prompt, responses, count"):
        listwise(template="{{ response_q }}")


def ends(request, **said):
    """A judge that likes long texts, asked for the best and the worst."""
    texts = shown(msgspec.structs.replace(request, messages=request.messages[:1]))
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    named = {"best": chr(65 + order[-1]), "worst": chr(65 + order[0])}
    wanted = request.response_schema["properties"]
    return json.dumps({"rationale": "because"} | {end: named[end] for end in ("best", "worst") if end in wanted} | said)


@pytest.mark.parametrize("ask", ["best_worst", "best"])
def test_of_best_and_worst_the_rest_is_one_tie_between_them(ask):
    script = Scripted(ends)
    one = case("a", "bb", "ccc", "dddd")
    (got,) = judged(listwise(ask=ask, orders=1), one, script)
    texts = {response.id: response.text for response in one.responses}
    ranks = {texts[name]: rank for name, rank in zip(got.response_ids, got.ranks, strict=True)}
    assert ranks == {"dddd": 1, "ccc": 2, "bb": 2, "a": 4 if ask == "best_worst" else 2}
    asked = script.requests[0].messages[-1].content
    assert asked.startswith("Find the best and the worst of 4" if ask == "best_worst" else "Find the best of 4")
    assert ("worst" in asked) == (ask == "best_worst")


@pytest.mark.parametrize("said", [{"worst": "A", "best": "A"}, {"best": "D"}, {"best": None}, {"worst": 3}, {"best": ""}])
def test_what_names_no_best_and_worst_is_never_a_verdict(said):
    (got,) = judged(listwise(ask="best_worst", orders=1), case("x", "yy", "zzz"), Scripted(lambda asked: ends(asked, **said)))
    assert (got.status, got.ranks) == ("unparsed", None)


def test_sets_of_so_many_are_shown_together_each_response_in_every_order():
    script = Scripted(ends)
    texts = ["x" * size for size in range(1, 8)]
    got = judged(listwise(ask="best_worst", orders=5, at_once=3), case(*texts), script)
    sets = [shown(request) for request in script.requests]
    assert len(got) == len(sets) == 5 * 3
    assert {len(set(each)) for each in sets} == {3}
    for turn in range(5):
        assert {text for each in sets[3 * turn : 3 * turn + 3] for text in each} == set(texts)
    assert len({frozenset(each) for each in sets}) > 8  # other sets in each order
    (load,) = listwise(ask="best_worst", orders=5, at_once=3).forecast(Outlook(prompt_tokens=1, responses=7))
    assert load.calls == 15


def test_the_score_of_best_worst_scaling_is_made_of_its_counts():
    from triptych.instantiation.scores import verdicts
    from triptych.store.tables import frame

    texts = ["x" * size for size in range(1, 8)]
    one = case(*texts)
    got = judged(listwise(ask="best_worst", orders=6, at_once=4), one, Scripted(ends))
    mean = verdicts(frame("judgements", got).lazy()).group_by("response_id").agg(m=pl_mean()).collect()
    for response_id, found in mean.iter_rows():
        seen = [judgement for judgement in got if response_id in judgement.response_ids]
        sets = [[len(next(r.text for r in one.responses if r.id == name)) for name in j.response_ids] for j in seen]
        size = len(next(r.text for r in one.responses if r.id == response_id))
        best, worst = (sum(size == end(each) for each in sets) for end in (max, min))
        assert found == pytest.approx((1 + (best - worst) / len(sets)) / 2)


def pl_mean():
    import polars as pl

    return pl.col("verdict").mean()


def test_ties_are_for_orders_alone():
    with pytest.raises(ValidationError, match="ties: true needs ask: order"):
        listwise(ask="best", ties=True)
