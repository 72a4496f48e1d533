"""Operators that make or look at sets of candidates: verbalized, until_contrast, best_of_n, corrupt, diversity, consistency."""

import asyncio
import json
from itertools import permutations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

import triptych as tp
from judging import Scripted, case
from triptych.errors import RecipeError
from triptych.evaluation.consistency import Consistency
from triptych.evaluation.diversity import Diversity
from triptych.operators import Outlook
from triptych.synthesis.corrupt import Corrupt
from triptych.synthesis.verbalized import Verbalized
from world import quality, world


def recipe(base_url, synthesis, evaluation=(), prompts=("maths", None), **more):
    model = {"backend": "openai", "base_url": base_url}
    content = {
        "name": "candidates",
        "models": {"policy": model | {"model": "policy"}, "judge": model | {"model": "judge"}},
        "prompts": {"kind": "examples", "name": prompts[0]},
        "synthesis": synthesis,
        "objective": {"criteria": {"good": {"text": "It is good."}}},
        "evaluation": list(evaluation),
        "instantiation": {"kind": "pairs"},
    }
    return tp.Recipe.model_validate(content | more)


JUDGE = {"kind": "rubric", "model": "judge", "criteria": ["good"], "scale": [1, 10]}
RIGHT = {"kind": "verify", "criterion": "answer", "use_prompt": False, "final_answer": True}


def by_prompt(run):
    rows = run.responses().collect()
    return [list(rows.filter(prompt_id=one).iter_rows(named=True)) for one in run.prompts().collect()["id"]]


# --- several generators of one model


def test_a_generator_that_starts_after_another_draws_what_comes_next(tmp_path):
    sample = {"kind": "sample", "model": "policy", "n": 5}
    apart = [sample | {"n": 2}, sample | {"name": "more", "n": 3, "first": 2}]
    with world() as (_, base_url):
        whole = tp.run(recipe(base_url, sample), tmp_path / "whole", limit=4)
        parts = tp.run(recipe(base_url, apart), tmp_path / "parts", limit=4)
    for one, other in zip(by_prompt(whole), by_prompt(parts), strict=True):
        assert [row["messages"][0]["content"] for row in one] == [row["messages"][0]["content"] for row in other]
        assert [row["sample_index"] for row in other] == [0, 1, 2, 3, 4]
        assert [row["generator"] for row in other] == ["sample"] * 2 + ["more"] * 3
    with pytest.raises(ValidationError, match="makes the same rows"):
        recipe(base_url, [sample, sample | {"name": "more"}])


# --- until_contrast


def test_responses_are_drawn_until_right_and_wrong_ones_are_there(tmp_path):
    drawing = {
        "kind": "until_contrast",
        "sampler": {"kind": "sample", "model": "policy", "n": 2},
        "evaluator": RIGHT,
        "most": 9,
    }
    with world() as (asked, base_url):
        run = tp.run(recipe(base_url, drawing, [RIGHT]), tmp_path / "run", limit=30)
        made = by_prompt(run)
        assert asked.asked["policy", "sample"] == sum(map(len, made))
    sizes = {len(responses) for responses in made}
    assert sizes <= {2, 4, 6, 8, 9}
    assert len(sizes) > 1
    for responses in made:
        right = [quality(row["messages"][0]["content"]) > 5 for row in responses]
        before_the_last = right[: 2 * ((len(right) - 1) // 2)]
        assert len({*before_the_last}) < 2  # a contrast ends it
        assert len({*right}) == 2 or len(right) == 9
        assert [row["sample_index"] for row in responses] == list(range(len(responses)))
    assert len({row["id"] for responses in made for row in responses}) == sum(map(len, made))


def seeds(run):
    """The seeds of each prompt's responses, by model and sample index."""
    return [
        {(row["model"], row["sample_index"]): json.loads(row["params"])["seed"] for row in rows}
        for rows in by_prompt(run)
    ]


def test_no_two_draws_of_a_pool_share_a_seed_and_drawing_more_leaves_the_first_as_they_are(tmp_path):
    never = {"kind": "verify", "use_prompt": False, "constraints": [{"kind": "words", "min": 0}]}
    sampler = {"kind": "sample", "model": ["policy", "judge"], "n": 2}
    drawing = {"kind": "until_contrast", "sampler": sampler, "evaluator": never}
    with world() as (_, base_url):

        def drawn(name, synthesis):
            return seeds(tp.run(recipe(base_url, synthesis, [never]), tmp_path / name, limit=3))

        more, fewer = drawn("more", drawing | {"most": 7}), drawn("fewer", drawing | {"most": 3})
        alone = drawn("alone", drawing | {"most": 7, "sampler": sampler | {"model": "policy"}})
        plain = drawn("plain", {"kind": "sample", "model": "policy", "n": 7})
    for each in more:
        assert len(each) == len({*each.values()}) == 14
    assert [{key: each[key] for key in less} for each, less in zip(more, fewer, strict=True)] == fewer
    assert alone == plain == [{key: each[key] for key in one} for each, one in zip(more, plain, strict=True)]


def test_verdicts_that_steered_are_not_paid_for_again_by_the_same_judge(tmp_path):
    drawing = {
        "kind": "until_contrast",
        "sampler": {"kind": "sample", "model": "policy", "n": 2},
        "evaluator": JUDGE,
        "most": 8,
        "spread": 0.6,
    }
    with world() as (asked, base_url):
        run = tp.run(recipe(base_url, drawing, [JUDGE]), tmp_path / "run", limit=10)
        count = run.responses().collect().height
        assert asked.asked["judge", "judge"] == count
        planned = tp.plan(recipe(base_url, drawing, [JUDGE]), limit=10)
    assert run.judgements().collect().height == count
    assert planned.most_calls >= asked.asked.total() >= planned.calls * 0.5


def test_a_nested_operator_is_checked_like_any_other():
    drawing = {"kind": "until_contrast", "sampler": {"kind": "sample", "model": "polcy"}, "evaluator": JUDGE}
    with pytest.raises(ValidationError, match=r"synthesis.0.sampler.model.*did you mean 'policy'"):
        recipe("http://127.0.0.1:1/v1", drawing)
    with pytest.raises(ValidationError, match="less than the 4"):
        recipe("http://127.0.0.1:1/v1", drawing | {"most": 2})


# --- best_of_n


@pytest.mark.parametrize("worst", [False, True])
def test_the_best_of_n_is_kept(tmp_path, worst):
    keep = {"kind": "best_of_n", "sampler": {"kind": "sample", "model": "policy", "n": 6}, "evaluator": JUDGE}
    with world() as (asked, base_url):
        run = tp.run(
            recipe(base_url, keep | {"worst": worst}, instantiation={"kind": "sft"}), tmp_path / "best", limit=8
        )
        everything = tp.run(recipe(base_url, keep["sampler"]), tmp_path / "all", limit=8)
        assert asked.asked["policy", "sample"] == 2 * 6 * 8
        assert asked.asked["judge", "judge"] == 6 * 8
    planned = tp.plan(recipe(base_url, keep, instantiation={"kind": "sft"}), limit=8)
    assert planned.calls == 12 * 8
    for kept, drawn in zip(by_prompt(run), by_prompt(everything), strict=True):
        seen = [quality(row["messages"][0]["content"]) for row in drawn]
        wanted = [max(seen), min(seen)] if worst and len({*seen}) > 1 else [max(seen)]
        assert [quality(row["messages"][0]["content"]) for row in kept] == wanted
        assert json.loads(kept[0]["params"])["of"] == 6
        assert not {row["id"] for row in kept} & {row["id"] for row in drawn}


# --- verbalized


def entries(*probabilities, text="Answer"):
    return json.dumps({"responses": [{"text": f"{text} {i}", "probability": p} for i, p in enumerate(probabilities)]})


def verbalized(says, **settings):
    script = Scripted(says)
    operator = Verbalized(model="judge", n=2, **settings)
    return asyncio.run(operator.respond(case(), script)), script, operator


def test_one_call_gives_several_responses_with_their_probabilities():
    made, script, operator = verbalized(lambda request: entries(0.1, 0.02), below=0.1)
    assert [(row.text, row.params["probability"]) for row in made] == [("Answer 0", 0.1), ("Answer 1", 0.02)]
    assert [row.cost_usd for row in made] == [0.25, 0.25]
    (request,) = script.requests
    assert "below 0.1" in request.messages[-1].content
    assert request.response_schema["properties"]["responses"]["maxItems"] == 2
    load, outlook = operator.forecast(Outlook(prompt_tokens=10))
    assert (load[0].calls, load[0].most_calls, outlook.responses) == (1, 2, 2)


def test_more_calls_are_drawn_anew():
    made, script, _ = verbalized(lambda request: entries(0.1, 0.2, text=str(request.seed)), calls=3)
    assert [row.sample_index for row in made] == list(range(6))
    assert len({request.seed for request in script.requests}) == 3
    assert len({row.id for row in made}) == 6


@pytest.mark.parametrize(
    "said",
    [
        "no JSON",
        entries(0.1),
        entries(0.1, 1.5),
        '{"responses": [{"text": "a", "probability": true}, {"text": "b", "probability": 0}]}',
        '{"responses": [{"text": " ", "probability": 0.5}, {"text": "b", "probability": 0}]}',
        '{"responses": [{"text": "a", "probability": NaN}, {"text": "b", "probability": 0}]}',
    ],
)
def test_what_can_not_be_read_is_asked_for_once_more_and_then_failed(said):
    made, script, _ = verbalized(lambda request: said)
    assert len(script.requests) == 2
    assert [row.status for row in made] == ["failed", "failed"]
    assert all(row.error and not row.messages for row in made)
    mended, _, _ = verbalized(lambda request: said if len(request.messages) == 1 else entries(0.3, 0.4))
    assert [row.status for row in mended] == ["ok", "ok"]
    assert [row.cost_usd for row in mended] == [0.5, 0.5]


# --- corrupt

TEXT = "The box holds 12 pears. Anna takes 5 of them! So 7 are left."


def corrupted(text, **settings):
    return asyncio.run(Corrupt(**settings).respond(case(text), None))


@pytest.mark.parametrize("change", ["drop_sentence", "repeat_sentence", "swap_sentences", "change_number", "truncate"])
def test_a_corruption_is_a_change_of_the_kind_that_is_recorded(change):
    one = case(TEXT)
    (made,) = asyncio.run(Corrupt(changes=[change]).respond(one, None))
    assert made.parent_id == one.responses[0].id
    assert made.params["change"] == change
    said, before = made.text.split(), TEXT.split()
    if change == "drop_sentence":
        assert made.text in {"Anna takes 5 of them! So 7 are left.", "The box holds 12 pears. So 7 are left."} | {
            "The box holds 12 pears. Anna takes 5 of them! "
        }
    elif change == "repeat_sentence":
        assert len(said) > len(before)
        assert {*said} == {*before}
    elif change == "swap_sentences":
        assert sorted(said) == sorted(before)
        assert said != before
    elif change == "change_number":
        assert [word for word, other in zip(said, before, strict=True) if word != other] != []
        assert sum(word != other for word, other in zip(said, before, strict=True)) == 1
        assert len(made.text) == len(TEXT)
    else:
        assert TEXT.startswith(made.text)
        assert len(before) / 4 <= len(said) <= 3 * len(before) / 4


@given(st.text(alphabet="aB1 .!?\n", max_size=80), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_corruptions_differ_from_the_text_and_from_one_another(text, n):
    made = [row.text for row in corrupted(text, n=n)]
    assert len({*made, text}) == len(made) + 1
    assert made == [row.text for row in corrupted(text, n=n)]


def test_nothing_is_made_of_a_text_that_no_change_applies_to():
    assert corrupted("Hi", changes=["drop_sentence", "change_number"]) == []
    assert corrupted(TEXT, of=["other"]) == []


STEPS = "Step 1: 12 + 30 = 42.\nStep 2: 42 - 2 = 40.\nStep 3: The answer is 40."


@given(st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_a_wrong_step_has_another_number_in_one_step_before_the_last_and_is_named(seed):
    (made,) = asyncio.run(Corrupt(changes=["wrong_step"]).respond(replace(case(STEPS), seed=seed), None))
    before, after = STEPS.splitlines(), made.text.splitlines()
    changed = [place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    assert changed == [made.params["step"]]
    assert changed[0] < 2
    assert after[changed[0]].startswith(f"Step {changed[0] + 1}: ")
    at = made.params["at"]
    assert [place for place in range(len(STEPS)) if made.text[place] != STEPS[place]] == [at]


def test_the_steps_of_which_one_is_made_wrong_differ_by_draw():
    found = {
        asyncio.run(Corrupt(changes=["wrong_step"]).respond(replace(case(STEPS), seed=seed), None))[0].params["step"]
        for seed in range(20)
    }
    assert found == {0, 1}


NAMED = "In 1889 the tower in Paris was built by Gustave Eiffel. I think Eiffel and I agree. Paris is old."


@given(st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_names_are_exchanged_for_one_another_or_for_those_of_the_prompt(seed):
    one = replace(case(NAMED, prompt="Was it built by Ada Lovelace or in New York?"), seed=seed)
    (made,) = asyncio.run(Corrupt(changes=["swap_names"]).respond(one, None))
    first, second = made.params["names"]
    assert {first, second} <= {"Paris", "Gustave Eiffel", "Eiffel", "Ada Lovelace", "New York"}
    assert made.text == "\0".join(part.replace(second, first) for part in NAMED.split(first)).replace("\0", second)
    assert made.text != NAMED


def test_a_text_without_names_or_with_nothing_to_exchange_them_for_is_left():
    assert corrupted("I think so. You do too. I am sure.", changes=["swap_names"]) == []
    assert corrupted("It is in Paris.", changes=["swap_names"]) == []


def test_an_inserted_fact_is_a_sentence_of_its_own_and_is_recorded():
    facts = ["Pears are blue.", "Anna is a horse."]
    found = corrupted(TEXT, changes=["insert_fact"], facts=facts, n=60)
    assert len(found) == 6  # three places, two facts
    for row in found:
        fact, at = row.params["fact"], row.params["at"]
        assert row.text[at : at + len(fact)] == fact
        assert row.text[: at - 1] + row.text[at + len(fact) :] == TEXT
    assert corrupted("Pears are blue.", changes=["insert_fact"], facts=["Pears are blue."]) == []


def test_a_mismatched_response_answers_another_prompt_and_says_which():
    others = [{"prompt": "Say hi. ", "response": "Hi!"}, {"prompt": "Name a tree.", "response": "An oak."}]
    one = case(TEXT, prompt="Say hi.")
    for seed in range(8):
        (made,) = asyncio.run(Corrupt(changes=["mismatch"], others=others).respond(replace(one, seed=seed), None))
        assert (made.text, made.params["answers"], made.model) == ("An oak.", "Name a tree.", "given")
        assert made.parent_id == one.responses[0].id
    assert asyncio.run(Corrupt(changes=["mismatch"], others=others[:1]).respond(one, None)) == []


@pytest.mark.parametrize("settings_", [{"changes": ["insert_fact"]}, {"changes": ["mismatch"]}, {"facts": ["A."]}])
def test_a_change_that_takes_from_a_pool_needs_one_and_a_pool_needs_the_change(settings_):
    with pytest.raises(ValidationError, match="give both, or neither"):
        Corrupt(**settings_)


# --- diversity and consistency


def scores(operator, *texts):
    judgements = asyncio.run(operator.judge(case(*texts), None))
    return list(judgements[0].scores) if judgements else []


def test_what_agrees_with_the_others_may_be_favoured():
    texts = ("a b c", "a b d", "x y z")
    (rare,), (common,) = (
        asyncio.run(Diversity(favour=favour).judge(case(*texts), None)) for favour in ("rare", "common")
    )
    assert common.scores == pytest.approx([1 - score for score in rare.scores])
    assert common.scores[2] < min(common.scores[:2])
    assert common.id != rare.id


def test_diversity_is_the_mean_distance_from_the_others():
    # bigrams: {a b, b c}, {a b, b d}, {x y}
    assert scores(Diversity(), "a b c", "A, b d", "x y") == pytest.approx([(2 / 3 + 1) / 2, (2 / 3 + 1) / 2, 1.0])
    assert scores(Diversity(), "same", "same") == [0.0, 0.0]
    assert scores(Diversity(), "alone") == []


@given(st.lists(st.text(alphabet="ab ", max_size=8), min_size=2, max_size=5), st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_diversity_does_not_depend_on_the_order(texts, ngram):
    found = scores(Diversity(ngram=ngram), *texts)
    assert all(0 <= score <= 1 for score in found)
    for order in list(permutations(range(len(texts))))[:6]:
        assert scores(Diversity(ngram=ngram), *(texts[i] for i in order)) == pytest.approx([found[i] for i in order])


def test_consistency_is_the_share_of_the_others_that_agree():
    texts = ["So it is 12.", "The answer is 12.0", r"\boxed{24/2}", "I get 13.", "I do not know."]
    assert scores(Consistency(), *texts) == [0.5, 0.5, 0.5, 0.0, 0.0]
    assert scores(Consistency(), "no", "nothing") == [0.0, 0.0]
    assert scores(Consistency(), "12") == []


def test_what_is_wrong_inside_of_a_nested_operator_is_told_with_its_line(tmp_path):
    good = yaml.safe_dump(
        recipe(
            "http://127.0.0.1:1/v1",
            {
                "kind": "until_contrast",
                "sampler": {"kind": "sample", "model": "policy"},
                "evaluator": {"kind": "rubric", "model": "judge", "criteria": ["good"]},
            },
        ).model_dump(mode="json", exclude_defaults=True)
    )
    file = tmp_path / "recipe.yaml"
    file.write_text(good)
    assert tp.load_recipe(file).synthesis[0].evaluator.kind == "rubric"
    for wrong, said in (
        ("scael: [1, 5]", "is not a field here; did you mean 'scale'?"),
        ("scale: [5, 1]", "the first must be the lower"),
    ):
        file.write_text(good.replace("    kind: rubric\n", f"    kind: rubric\n    {wrong}\n"))
        with pytest.raises(RecipeError) as raised:
            tp.load_recipe(file)
        (problem,) = raised.value.problems
        line = file.read_text().splitlines().index(f"    {wrong}") + 1
        assert said in problem.message
        assert problem.field.startswith("synthesis.0.evaluator")
        assert line - 6 <= problem.line <= line


def test_equal_answers_are_one_call_and_a_second_run_asks_nothing(tmp_path):
    """All four responses say the same, so that the judge is asked one thing four times."""
    with world() as (asked, base_url):
        same = recipe(base_url, {"kind": "sample", "model": "policy", "n": 4, "temperature": 0}, [JUDGE])
        first = tp.run(same, tmp_path / "run", limit=4).judgements().collect()
        before = asked.asked.total()
        again = tp.run(same, tmp_path / "run", limit=4).judgements().collect()
        assert asked.asked.total() == before
    assert asked.asked["judge", "judge"] == 4
    assert first.drop("created_at").equals(again.drop("created_at"))
