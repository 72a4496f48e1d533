"""Rows that train judges: the question exactly as it was asked, the answer as it was given, and which ones are taken."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys

import msgspec
import polars as pl
import pytest
from pydantic import ValidationError
from scipy.optimize import minimize

import triptych as tp
from judging import Scripted, case, judged
from triptych.errors import RecipeError
from triptych.evaluation.checklist import Checklist
from triptych.evaluation.compare_judgements import CompareJudgements
from triptych.evaluation.listwise import Listwise
from triptych.evaluation.pairwise import Pairwise
from triptych.evaluation.rubric import Rubric
from triptych.instantiation.judge_rows import JudgeRows
from triptych.instantiation.pairs import Pairs
from triptych.instantiation.scores import verdicts
from triptych.operators import Outlook
from triptych.recipes.load import build_recipe
from triptych.records import make_judgement, make_prompt
from triptych.store.tables import frame, records
from world import world

ITEMS = ({"name": "short", "text": "It is short."}, {"text": "It is kind.", "weight": 2})
JUDGES = {
    "rubric": Rubric(model="judge", criteria=("helpful", "honest"), scale=(1, 5), system="Be fair."),
    "sentences": Rubric(model="judge", criteria=("helpful",), unit="sentence"),
    "pairwise": Pairwise(model="judge", criteria=("helpful",), ties=True),
    "listwise": Listwise(model="judge", criteria=("honest",), orders=2, ties=True),
    "checklist": Checklist(model="judge", criteria=("honest",)),
}
ANSWERS = {
    "rubric": {"score": 4},
    "sentences": {"score": 2},
    "pairwise": {"better": "tie"},
    "listwise": {"ranking": ["B", ["A", "C"]]},
    "checklist": {"met": "yes"},
}


def rows_of(form, asked, judgements, judges):
    """The rows that an instantiation makes of what these judges, by the ids of their judgements, said of a case."""
    tables = [frame("responses", asked.responses).lazy(), frame("judgements", judgements).lazy()]
    made = form.instantiate(*tables, asked.objective, 0, prompts=frame("prompts", [asked.prompt]).lazy(), judges=judges)
    return records("examples", made.collect().iter_rows(named=True))


@pytest.mark.parametrize("name", JUDGES)
def test_the_question_is_the_one_that_was_asked_and_the_answer_the_one_that_was_given(name):
    judge, said = JUDGES[name], json.dumps({"rationale": "It's “so”.", **ANSWERS[name]}, ensure_ascii=False)
    asked, ask = case("Hi. You.", "Go away.", "Hm.", reference="Hello"), Scripted(lambda _: said)
    judgements = judged(judge, asked, ask)
    rows = rows_of(JudgeRows(distinct=False), asked, judgements, {judge.known_as({"judge": ask.spec}): judge})
    assert [row.input for row in rows] == [request.messages for request in ask.requests]
    assert {row.outputs for row in rows} == {(said,)}
    assert [row.judgement_ids for row in rows] == [(one.id,) for one in judgements]
    assert [row.response_ids for row in rows] == [one.response_ids for one in judgements]


def test_items_of_a_prompts_own_checklist_are_asked_about_as_they_were():
    judge, ask = JUDGES["checklist"], Scripted(lambda _: '{"rationale": "r", "met": "no"}')
    asked = with_items(case("Hi.", "Go."))
    judgements = judged(judge, asked, ask)
    rows = rows_of(JudgeRows(), asked, judgements, {judge.known_as({"judge": ask.spec}): judge})
    assert [row.input for row in rows] == [request.messages for request in ask.requests]
    assert len(rows) == 2 * 3


def with_items(asked):
    prompt = make_prompt(asked.prompt.messages, criteria=ITEMS)
    responses = tuple(msgspec.structs.replace(one, prompt_id=prompt.id) for one in asked.responses)
    return msgspec.structs.replace(asked, prompt=prompt, responses=responses)


def test_one_word_is_asked_for_and_yes_is_right_or_wrong():
    judge = Checklist(model="judge", criteria=("helpful", "honest"))
    ask = Scripted(lambda request: json.dumps({"rationale": "r", "met": "yes" if "helps" in said(request) else "no"}))
    asked = case("Hi.", "Go.")
    judgements = judged(judge, asked, ask)
    rows = rows_of(JudgeRows(form="unpaired"), asked, judgements, {judge.known_as({"judge": ask.spec}): judge})
    assert [(row.kind, row.outputs) for row in rows] == [("unpaired", ("yes",))] * 4
    assert [row.labels for row in rows] == [(1.0,), (0.0,)] * 2
    assert all(row.input[-1].content.endswith("Is the demand met? Answer with one word, yes or no.") for row in rows)
    assert ["It helps." in row.input[-1].content for row in rows] == [True, False] * 2


def said(request):
    return request.messages[-1].content


def test_what_can_not_be_told_from_the_tables_makes_no_row():
    asked, ask = case("Hi.", "Go."), Scripted(lambda _: '{"rationale": "r", "score": 4}')
    judge = Rubric(model="judge", criteria=("helpful",))
    ids = {judge.known_as({"judge": ask.spec}): judge}
    judgements = judged(judge, asked, ask)
    reworded = case("Hi.", "Go.", criteria={"helpful": "It helps a lot."})
    assert rows_of(JudgeRows(), msgspec.structs.replace(asked, objective=reworded.objective), judgements, ids) == []
    assert rows_of(JudgeRows(), asked, judgements, {}) == []
    with_critic = Rubric(model="judge", criteria=("helpful",), critic="judge")
    assert not with_critic.tells
    assert judged_rows(with_critic, asked, ask) == []


def judged_rows(judge, asked, ask, form=None):
    models = {"judge": ask.spec}
    return rows_of(form or JudgeRows(), asked, judged(judge, asked, ask), {judge.known_as(models): judge})


def test_unreadable_answers_and_repeats_that_say_the_same_make_no_rows():
    answers = itertools.cycle(['{"rationale": "a", "score": 4}', '{"rationale": "b", "score": 4}', "Hm.", "Hm."])
    judge = Rubric(model="judge", criteria=("helpful",), repeats=4, temperature=1)
    asked, ask = case("Hi."), Scripted(lambda _: next(answers))
    rows = judged_rows(judge, asked, ask)
    assert len({row.outputs for row in rows}) == len(rows) == 2
    assert {json.loads(row.outputs[0])["rationale"] for row in rows} == {"a", "b"}


def truth(asked, good, name="truth"):
    return [
        make_judgement(
            prompt_id=asked.prompt.id,
            response_ids=(one.id,),
            criterion="answer",
            criterion_id="c",
            evaluator=name,
            evaluator_id=f"o_{name}",
            scores=(float(score),),
            scale=(0.0, 1.0),
        )
        for one, score in zip(asked.responses, good, strict=True)
    ]


def test_answers_are_kept_where_they_agree_with_who_knows_better():
    judge = Checklist(model="judge", criteria=("helpful",))
    ask = Scripted(lambda request: json.dumps({"rationale": "r", "met": "yes" if "Right" in said(request) else "no"}))
    asked = case("Right 1.", "Right 2.", "Wrong 3.", "Wrong 4.")
    judgements = [*judged(judge, asked, ask), *truth(asked, (1, 0, 0, 1))]
    ids = {judge.known_as({"judge": ask.spec}): judge}
    rows = rows_of(JudgeRows(agrees_with="truth"), asked, judgements, ids)
    assert [row.response_ids for row in rows] == [(asked.responses[0].id,), (asked.responses[2].id,)]
    assert [json.loads(row.outputs[0])["met"] for row in rows] == ["yes", "no"]
    assert rows_of(JudgeRows(agrees_with="nobody"), asked, judgements, ids) == []


def test_choices_are_kept_where_they_put_the_better_one_first():
    judge = Pairwise(model="judge", criteria=("helpful",))
    ask = Scripted(lambda _: '{"rationale": "r", "better": "A"}')
    asked = case("One.", "Two.", "Three.")
    judgements = [*judged(judge, asked, ask), *truth(asked, (1, 0, 0))]
    ids = {judge.known_as({"judge": ask.spec}): judge}
    first, second, third = (one.id for one in asked.responses)
    rows = rows_of(JudgeRows(agrees_with="truth"), asked, judgements, ids)
    assert [row.response_ids for row in rows] == [(first, second), (first, third)]


# Judgements of judgements.


def scored(asked, scores):
    """What a rubric says of each response, several times: its reasons name the score."""
    flat = iter([score for each in scores for score in each])
    judge = Rubric(model="judge", criteria=("helpful",), repeats=len(scores[0]), temperature=1)
    ask = Scripted(lambda _: json.dumps({"rationale": f"Worth {(score := next(flat))}.", "score": score}))
    return judge, judged(judge, asked, ask), ask


def compared(asked, before, better, **settings):
    """What the comparing judge says, by a function of the two shown texts."""

    def choose(request):
        texts = [part.split("\n")[1] for part in said(request).split("<judgement_")[1:]]
        return json.dumps({"rationale": "Seen.", "better": better(*texts)})

    judge, ask = CompareJudgements(model="judge", criteria=("helpful",), **settings), Scripted(choose)
    return judge, judged(judge, msgspec.structs.replace(asked, judgements=tuple(before)), ask), ask


def higher(one, other):
    return "A" if one > other else "B"


def test_the_judgements_of_the_response_that_is_judged_most_variously_are_compared_in_both_orders():
    asked = case("Hi.", "Go.")
    _, before, _ = scored(asked, [(3, 3, 4), (1, 5, 3)])
    _, found, ask = compared(asked, before, higher)
    about = [one.id for one in before if one.response_ids == (asked.responses[1].id,)]
    pairs = [shown for pair in itertools.combinations(about, 2) for shown in (pair, pair[::-1])]
    assert [one.about for one in found] == pairs
    assert {one.response_ids for one in found} == {(asked.responses[1].id,)}
    assert len({one.id for one in found}) == 6
    said_first = {one.id: one.scores[0] for one in before}
    assert all((one.ranks == (1, 2)) == (said_first[one.about[0]] > said_first[one.about[1]]) for one in found)
    assert "Worth 1." in said(ask.requests[0])
    assert "Score: 1 on a scale from 1 to 5" in said(ask.requests[0])


def test_all_responses_may_be_asked_about_and_equal_words_are_not_compared():
    asked = case("Hi.", "Go.")
    _, before, _ = scored(asked, [(3, 3), (1, 5)])
    assert len(compared(asked, before, higher, responses="all")[1]) == 2  # the first response's two say the same
    assert compared(asked, before, higher, of=("other",))[1] == []
    judge = CompareJudgements(model="judge", criteria=("helpful",), most=4)
    (load,) = judge.forecast(Outlook(prompt_tokens=10, responses=3, response_tokens=10))
    assert load.calls == 4 * 3 / 2 * 2


def test_a_verdict_on_judgements_enters_no_score_of_a_response():
    asked = case("Hi.", "Go.")
    _, before, _ = scored(asked, [(3, 3), (1, 5)])
    _, found, _ = compared(asked, before, higher)
    tables = [frame("responses", asked.responses).lazy(), frame("judgements", [*before, *found]).lazy()]
    assert verdicts(tables[1]).collect().height == len(before)
    (pair,) = Pairs(ties="keep").instantiate(*tables, asked.objective, 0).collect().to_dicts()
    assert pair["margin"] == 0
    assert not {one.id for one in found} & {*pair["judgement_ids"]}


def elo(battles):
    """Strengths that make the outcomes likeliest: battles are (winner, loser, weight)."""
    names = sorted({name for winner, loser, _ in battles for name in (winner, loser)})
    place = {name: number for number, name in enumerate(names)}

    def unlikely(strengths):
        lost = sum(
            weight * math.log1p(math.exp(strengths[place[loser]] - strengths[place[winner]]))
            for winner, loser, weight in battles
        )
        return lost + 1e-3 * float((strengths**2).sum())

    found = minimize(unlikely, [0.0] * len(names)).x
    return {name: found[place[name]] for name in names}


def test_a_pair_of_judgements_is_the_best_against_the_worst_by_elo():
    asked = case("Hi.")
    judge, before, _ = scored(asked, [(1, 2, 3, 4, 5)])
    beats = {("4", "2"), ("4", "1"), ("4", "3"), ("4", "5"), ("2", "1"), ("2", "3"), ("5", "2"), ("3", "1"), ("3", "5")}

    def better(one, other):
        a, b = (text.removeprefix("Worth ").rstrip(".") for text in (one, other))
        return "A" if (a, b) in beats or ((b, a) not in beats and a > b) else "B"

    _, found, _ = compared(asked, before, better)
    ids = {judge.known_as({"judge": Scripted(str).spec}): judge}
    (row,) = rows_of(JudgeRows(form="pair"), asked, [*before, *found], ids)
    strengths = elo([(*(one.about if one.ranks == (1, 2) else one.about[::-1]), 0.5) for one in found])
    worths = {one.id: f"Worth {one.scores[0]:g}." for one in before}
    wanted = [worths[end(strengths, key=strengths.get)] for end in (max, min)]
    assert [json.loads(text)["rationale"] for text in row.outputs] == wanted == ["Worth 4.", "Worth 1."]
    assert row.response_ids == (asked.responses[0].id,) * 2
    assert row.scores == (1.0, 0.0)
    assert {*row.judgement_ids} >= {one.id for one in found}
    assert row.input[-1].content.startswith("Score one response to a prompt")


def test_a_position_that_wins_more_often_counts_for_less():
    asked = case("Hi.")
    judge, before, _ = scored(asked, [(1, 5, 3)])
    _, found, _ = compared(asked, before, lambda one, other: "B" if (one, other) == ("Worth 3.", "Worth 5.") else "A")
    ids = {judge.known_as({"judge": Scripted(str).spec}): judge}
    # The first won five of six times, so that its wins weigh 1/6 and the one of the second 5/6.
    (row,) = rows_of(JudgeRows(form="pair"), asked, [*before, *found], ids)
    assert json.loads(row.outputs[0])["score"] == 5
    assert row.scores[0] == pytest.approx((1 / 6 + 1 / 6 + 5 / 6) / (1 / 6 * 3 + 5 / 6))
    assert JudgeRows(form="pair").across_prompts
    flat = rows_of(JudgeRows(form="pair", position_weights=False), asked, [*before, *found], ids)
    assert flat[0].scores[0] == pytest.approx(3 / 4)


def test_a_long_answer_is_not_chosen_and_half_of_a_comparison_does_not_count():
    asked = case("Hi.")
    judge, before, _ = scored(asked, [(1, 5)])
    _, found, _ = compared(asked, before, higher)
    ids = {judge.known_as({"judge": Scripted(str).spec}): judge}
    assert len(rows_of(JudgeRows(form="pair", position_weights=False), asked, [*before, *found], ids)) == 1
    short = JudgeRows(form="pair", position_weights=False, max_characters=10)
    assert rows_of(short, asked, [*before, *found], ids) == []
    half = [found[0], msgspec.structs.replace(found[1], status="unparsed", ranks=None)]
    assert rows_of(JudgeRows(form="pair", position_weights=False), asked, [*before, *half], ids) == []


# What a recipe may ask for.


def recipe(*evaluation, **instantiation):
    return build_recipe(
        {
            "name": "judges",
            "models": {"m": {"backend": "openai", "model": "m"}},
            "prompts": {"kind": "inline", "prompts": ["Hi"]},
            "synthesis": {"kind": "sample", "model": "m"},
            "objective": {"criteria": {"good": {"text": "It is good."}}},
            "evaluation": list(evaluation),
            "instantiation": instantiation,
        }
    )


RUBRIC = {"kind": "rubric", "model": "m", "criteria": ["good"]}


@pytest.mark.parametrize(
    ("evaluation", "settings", "why"),
    [
        ([RUBRIC | {"critic": "m"}], {"kind": "judge_rows"}, "can't tell what its evaluators were asked"),
        ([{"kind": "verify"}], {"kind": "judge_rows"}, "can't tell what its evaluators were asked"),
        ([RUBRIC], {"kind": "judge_rows", "form": "unpaired"}, "items of a checklist"),
        ([RUBRIC], {"kind": "judge_rows", "form": "pair"}, "add compare_judgements"),
        (
            [{"kind": "compare_judgements", "model": "m", "criteria": ["good"]}],
            {"kind": "judge_rows"},
            "no other evaluator gives any",
        ),
        ([RUBRIC], {"kind": "pairs", "part_weights": {}}, "needs verdicts on sentences or steps"),
    ],
)
def test_what_can_not_be_made_is_refused_with_what_would_fit(evaluation, settings, why):
    with pytest.raises(RecipeError, match=why):
        recipe(*evaluation, **settings)


def test_rows_of_judges_of_steps_need_no_verdict_on_whole_responses():
    assert recipe(RUBRIC | {"unit": "sentence"}, kind="judge_rows").judges
    with pytest.raises(ValidationError, match="agrees_with"):
        JudgeRows(form="pair", agrees_with="x")
    assert "JudgeRows" in tp.__all__


def test_show_tells_which_judgements_are_compared_and_what_is_learnt(tmp_path):
    with world() as (_, base_url):
        model = {"backend": "openai", "model": "judge", "base_url": base_url}
        content = {
            "name": "judges",
            "models": {"policy": model | {"model": "policy"}, "judge": model},
            "prompts": {"kind": "inline", "prompts": ["Why?"]},
            "synthesis": {"kind": "sample", "model": "policy", "n": 2},
            "objective": {"criteria": {"good": {"text": "It is good."}}},
            "evaluation": [
                {"kind": "rubric", "model": "judge", "criteria": ["good"], "repeats": 3, "temperature": 1},
                {"kind": "compare_judgements", "model": "judge", "criteria": ["good"], "most": 3},
            ],
            "instantiation": [{"kind": "judge_rows", "form": "pair"}, {"kind": "judge_rows"}],
        }
        run = tp.run(build_recipe(content), tmp_path / "run")
    anew = tp.instantiate(run, build_recipe(content), tmp_path / "anew")
    assert (anew.path / "examples.parquet").read_bytes() == (run.path / "examples.parquet").read_bytes()
    compared = run.judgements().filter(pl.col("about").list.len() > 0).collect()
    examples = run.examples().collect()
    assert {*examples["kind"]} == {"pair", "sft"}
    shown = shown_of(run, compared["id"][0])
    assert " then ".join(compared["about"][0]) in shown
    assert shown.count("\njudgement ") == 3
    pair = shown_of(run, examples.filter(kind="pair")["id"][0])
    assert "shown in training:" in pair
    assert '{"rationale": "Seen' in pair


def shown_of(run, row_id):
    done = subprocess.run(
        [sys.executable, "-m", "triptych", "show", str(run.path), row_id], capture_output=True, text=True, check=True
    )
    return done.stdout
