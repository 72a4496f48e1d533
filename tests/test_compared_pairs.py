"""Pairs as evaluators compared them, against plain Python over the same verdicts."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import triptych as tp
from triptych.instantiation.compared_pairs import ComparedPairs
from triptych.records import Message, StepLocator, make_judgement, make_prompt, make_response
from triptych.store.tables import frame

OBJECTIVE = tp.Objective()
PROMPTS = [make_prompt((Message("user", f"prompt {i}"),)) for i in range(2)]
RESPONSES = [
    make_response(
        prompt_id=prompt.id,
        generator="given",
        generator_id="o",
        sample_index=0,
        model="m",
        messages=(Message("assistant", f"answer {i}"),),
        status="failed" if i == 3 else "ok",
    )
    for prompt in PROMPTS
    for i in range(4)
]


def judgement(number, prompt, *, of, **fields):
    chosen = [RESPONSES[4 * prompt + place] for place in of]
    shared = {"criterion_id": "c", "evaluator_id": f"o_{fields['evaluator']}", "repeat": number}
    return make_judgement(
        prompt_id=PROMPTS[prompt].id, response_ids=tuple(one.id for one in chosen), **shared, **fields
    )


def plain_pairs(judgements, *, ties, contradictions, evaluators=None, margins=None):
    """(chosen, rejected) -> (labels, margin, judgement ids), as the docstring says it."""
    good = {one.id for one in RESPONSES if one.status == "ok"}
    heard = [
        j
        for j in judgements
        if j.status == "ok" and j.step is None and (evaluators is None or j.evaluator in evaluators)
    ]
    scores, said, found = defaultdict(list), defaultdict(list), {}
    for j in heard:
        if len(j.response_ids) == 1 and j.scores and j.scale:
            low, high = j.scale
            scores[j.response_ids[0]].append(min(max((j.scores[0] - low) / (high - low), 0), 1))
        if j.criterion == margins and len(j.response_ids) == 2 and j.scores:
            one, other = j.response_ids
            said[one, other].append(j.scores[0] - j.scores[1])
            said[other, one].append(j.scores[1] - j.scores[0])
    for j in heard:
        if len(j.response_ids) != 2 or not j.ranks or not good >= set(j.response_ids):
            continue
        one, other = j.response_ids if j.ranks[0] <= j.ranks[1] else j.response_ids[::-1]
        tied = j.ranks[0] == j.ranks[1]
        if not tied or ties == "keep":
            found.setdefault((one, other, tied), []).append(j.id)
    pairs = []
    for (one, other, tied), ids in found.items():
        if contradictions == "drop" and any((other, one, each) in found for each in (False, True)):
            continue
        means = [sum(scores[each]) / len(scores[each]) if scores[each] else None for each in (one, other)]
        margin = None if None in means else means[0] - means[1]
        if said[one, other]:
            margin = sum(said[one, other]) / len(said[one, other])
        pairs.append((one, other, [0.5, 0.5] if tied else [1.0, 0.0], margin, ids))
    return pairs


verdict = st.one_of(
    st.fixed_dictionaries(
        {
            "of": st.permutations(range(4)).map(lambda order: order[:2]),
            "ranks": st.sampled_from([(1, 2), (2, 1), (1, 1)]),
            "criterion": st.just("preference"),
        }
    ),
    st.fixed_dictionaries(
        {
            "of": st.sampled_from([[0], [1], [2]]),
            "scores": st.integers(1, 5).map(lambda score: (float(score),)),
            "scale": st.just((1.0, 5.0)),
            "criterion": st.just("score"),
        }
    ),
    st.fixed_dictionaries(
        {
            "of": st.permutations(range(3)).map(lambda order: order[:2]),
            "scores": st.integers(-3, 3).map(lambda margin: (float(margin), 0.0)),
            "criterion": st.just("margin"),
        }
    ),
)
about = st.fixed_dictionaries(
    {
        "prompt": st.integers(0, 1),
        "evaluator": st.sampled_from(["people", "judge"]),
        "status": st.sampled_from(["ok", "ok", "ok", "unparsed"]),
    }
)


@settings(max_examples=60, deadline=None)
@given(
    said=st.lists(st.tuples(verdict, about), max_size=14),
    ties=st.sampled_from(["drop", "keep"]),
    contradictions=st.sampled_from(["drop", "keep"]),
    evaluators=st.sampled_from([None, ("people",)]),
    margins=st.sampled_from([None, "margin"]),
)
def test_every_comparison_is_a_pair_as_plain_python_has_it(said, ties, contradictions, evaluators, margins):
    judgements = [judgement(number, **verdict, **about) for number, (verdict, about) in enumerate(said)]
    judgements.sort(key=lambda j: [p.id for p in PROMPTS].index(j.prompt_id))
    operator = ComparedPairs(ties=ties, contradictions=contradictions, evaluators=evaluators, margins=margins)
    tables = frame("responses", RESPONSES).lazy(), frame("judgements", judgements).lazy()
    made = operator.instantiate(*tables, OBJECTIVE, 0).collect().to_dicts()
    expected = plain_pairs(judgements, ties=ties, contradictions=contradictions, evaluators=evaluators, margins=margins)
    found = [(*e["response_ids"], e["labels"], e["judgement_ids"]) for e in made]
    assert found == [(one, other, labels, ids) for one, other, labels, _, ids in expected]
    for example, (*_, margin, _ids) in zip(made, expected, strict=True):
        assert example["margin"] == (None if margin is None else pytest.approx(margin, abs=1e-9))
    told = operator.tally(*tables, OBJECTIVE, 0)
    assert told["prompts"].sum() == 2
    assert told["pairs"].sum() == len(made)


def test_verdicts_on_steps_are_no_comparisons():
    step = StepLocator(unit="step", index=0)
    judgements = [judgement(0, 0, of=[0, 1], ranks=(1, 2), evaluator="people", criterion="preference", step=step)]
    tables = frame("responses", RESPONSES).lazy(), frame("judgements", judgements).lazy()
    assert ComparedPairs().instantiate(*tables, OBJECTIVE, 0).collect().height == 0


def test_a_recipe_without_comparisons_is_told_that_nothing_would_come_of_it():
    content = {
        "name": "none",
        "prompts": {"kind": "inline", "prompts": [{"prompt": "Hi", "responses": ["a", "b"]}]},
        "synthesis": {"kind": "given"},
        "evaluation": {"kind": "verify"},
        "instantiation": {"kind": "compared_pairs"},
    }
    with pytest.raises(ValueError, match="compared_pairs needs verdicts that compare two responses"):
        tp.Recipe.model_validate(content)
