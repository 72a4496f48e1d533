"""Each shipped method runs to its end, and does with the responses what its paper says."""

import json
import math
import re
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import combinations, pairwise, permutations
from pathlib import Path
from statistics import NormalDist, fmean, stdev

import polars as pl
import pytest
import yaml
from datasets import load_dataset
from pydantic import ValidationError

import triptych as tp
from triptych.errors import AwaitsPolicy
from triptych.export.trainer import trainer_of
from triptych.export.trl import export_trl
from triptych.recipes.load import find_recipe, parse_recipe, shipped_recipes
from triptych.records import draw
from world import SLIP, World, quality, responses_in, token_logprobs, world

DATA = Path(__file__).parent / "data"
PROMPTS = 6
METHODS = [name for name in shipped_recipes() if name != "quickstart"]


def run_method(name, folder, base_url, prompts=PROMPTS):
    """Run a shipped method with its models at `base_url`, each called by its name in the recipe."""
    content = yaml.safe_load(find_recipe(name).read_text())
    for model in content["models"]:
        logprobs = "logprobs" in json.dumps(content)
        content["models"][model] = {"backend": "openai", "model": model, "base_url": base_url, "logprobs": logprobs}
        if "implicit_reward" in json.dumps(content):
            content["models"][model]["given_logprobs"] = "vllm"
    recipe = parse_recipe(yaml.safe_dump(content))
    try:
        return recipe, tp.run(recipe, folder, limit=prompts)
    except AwaitsPolicy:  # its first round is complete
        return recipe, tp.open_run(folder)


def of_prompts(run):
    """The responses and the examples of each prompt."""
    responses, examples = run.responses().collect(), run.examples().collect()
    judgements = list(run.judgements().collect().iter_rows(named=True))
    for prompt_id in run.prompts().collect()["id"]:
        here = {row["id"]: row for row in responses.filter(prompt_id=prompt_id).iter_rows(named=True)}
        for row in here.values():
            row["quality"] = quality(row["messages"][-1]["content"])
            row["said"] = [said for said in judgements if row["id"] in said["response_ids"]]
        yield here, list(examples.filter(prompt_id=prompt_id).iter_rows(named=True))


def qualities(here, example):
    return [here[response]["quality"] for response in example["response_ids"]]


def best_against_worst(here, examples):
    every = [row["quality"] for row in here.values()]
    assert [qualities(here, example) for example in examples] == (
        [[max(every), min(every)]] if len({*every}) > 1 else []
    )


def best_against_another(here, examples):
    every = [row["quality"] for row in here.values()]
    ((chosen, rejected),) = (qualities(here, example) for example in examples)
    assert chosen == max(every) > rejected


def all_pairs(here, examples):
    """All of a list whose places differ; two that are equally good have places, too."""
    every = [row["quality"] for row in here.values()]
    better = sorted((one, other) for one in every for other in every if one > other)
    made = [tuple(qualities(here, example)) for example in examples]
    assert sorted((one, other) for one, other in made if one != other) == better


def all_pairs_apart(here, examples):
    """On the scale from 1 to 10, rounded: at least a quarter of it."""
    scores = [round(1 + 9 * row["quality"] / 10) for row in here.values()]
    assert len(examples) == sum((one - other) / 9 >= 0.25 for one in scores for other in scores)
    assert all(example["margin"] >= 0.25 for example in examples)


def right_against_wrong(here, examples):
    right = [row["quality"] > 5 for row in here.values()]
    assert len(examples) == sum(right) * (len(right) - sum(right))
    assert all(chosen > 5 > rejected for chosen, rejected in (qualities(here, example) for example in examples))


def from_to(chosen, rejected):
    def check(here, examples):
        (example,) = examples
        assert [here[response]["generator"] for response in example["response_ids"]] == [chosen, rejected]
        assert example["labels"] == [1.0, 0.0]

    return check


def revised(here, examples):
    from_to("revision", "original")(here, examples)
    (example,) = examples
    better, original = example["response_ids"]
    assert here[better]["parent_id"] == original


def revisions_imitated(here, examples):
    assert {here[example["response_ids"][0]]["generator"] for example in examples} == {"revision"}
    chain = [row["parent_id"] for row in here.values()]
    assert chain == [None, *list(here)[:2]]


def best_imitated(here, examples):
    (example,) = examples
    assert qualities(here, example) == [max(row["quality"] for row in here.values())]


def imitated_above_a_rising_threshold(here, examples):
    """Each set holds what reaches its threshold on the scale from 1 to 10, each text once."""
    reached = {row["messages"][-1]["content"]: (round(1 + 9 * row["quality"] / 10) - 1) / 9 for row in here.values()}
    wanted = [sorted(text for text, score in reached.items() if score >= least) for least in (0.5, 0.7, 0.9)]
    made = {}
    for example in examples:
        (response,) = example["response_ids"]
        made.setdefault(example["strategy_id"], []).append(here[response]["messages"][-1]["content"])
    assert sorted(map(sorted, made.values())) == sorted(texts for texts in wanted if texts)


def right_imitated(here, examples):
    right = [row for row in here.values() if row["quality"] > 5]
    assert len(examples) == min(10, len(right))
    assert all(qualities(here, example)[0] > 5 for example in examples)


def good_and_bad(here, examples):
    assert len(examples) == len(here)
    for example in examples:
        (seen,) = qualities(here, example)
        assert example["labels"] == [float((round(1 + 9 * seen / 10) - 1) / 9 >= 0.5)]


def advantages(of, keep=True):
    def check(here, examples):
        score = [float(row["quality"] > 5) for row in here.values()]
        if len({*score}) == 1 and not keep:
            assert examples == []
            return
        (example,) = examples
        assert example["response_ids"] == list(here)
        assert example["labels"] == pytest.approx(of(score), abs=1e-9)

    return check


def centred(score):
    return [each - sum(score) / len(score) for each in score]


def standardised(score):
    spread = pl.Series(score).std() or 1.0
    return [each / spread for each in centred(score)]


def against_the_others(here, examples):
    score = [(round(1 + 9 * row["quality"] / 10) - 1) / 9 for row in here.values()]
    (example,) = examples
    others = [(sum(score) - each) / (len(score) - 1) for each in score]
    assert example["labels"] == pytest.approx([one - other for one, other in zip(score, others, strict=True)], abs=1e-9)


def in_order(here, examples):
    (example,) = examples
    seen = qualities(here, example)
    assert seen == sorted(seen, reverse=True)
    assert {*seen} == {row["quality"] for row in here.values()}


def soft_best_against_worst(here, examples):
    best_against_worst(here, examples)
    for example in examples:
        chance = 1 / (1 + math.exp(-example["margin"] / 0.25))
        assert example["labels"] == pytest.approx([chance, 1 - chance])


def labelled_by_the_judges_odds(here, examples):
    """The judge gives the better one's letter a log-probability of -0.1 and the other's -2.4, in either order."""
    best_against_worst(here, examples)
    for example in examples:
        chance = math.exp(-0.1) / (math.exp(-0.1) + math.exp(-2.4))
        assert example["labels"] == pytest.approx([chance, 1 - chance])


def labelled_under_one_principle(here, examples):
    """One question a pair, on one criterion, whose letter's odds are the label; of two alike the second is taken."""
    (said,) = {one["id"]: one for row in here.values() for one in row["said"]}.values()
    assert said["response_ids"] == list(here)
    first, second = (row["quality"] for row in here.values())
    (example,) = examples
    assert example["response_ids"] == (list(here) if first > second else list(here)[::-1])
    chance = math.exp(-0.1) / (math.exp(-0.1) + math.exp(-2.4))
    assert example["labels"] == pytest.approx([chance, 1 - chance])


def rare_against_common(here, examples):
    every = [row["quality"] for row in here.values()]
    for chosen, rejected in (qualities(here, example) for example in examples):
        assert chosen >= max(every) - 0.25 * (max(every) - min(every)) - 0.1
        assert rejected <= min(every) + 0.25 * (max(every) - min(every)) + 0.1


def creative(row):
    """Quality counts twice, each of the other signals once."""
    score = {each["criterion"]: each["scores"][each["response_ids"].index(row["id"])] for each in row["said"]}
    quality, novelty, surprise = ((score[name] - 1) / 9 for name in ("quality", "novelty", "surprise"))
    return (2 * quality + novelty + surprise + score["diversity"]) / 5


def best_by_all_signals(here, examples):
    for example in examples:
        assert example["weight"] == example["margin"] == pytest.approx(example["scores"][0] - example["scores"][1])
        assert example["scores"] == pytest.approx([creative(here[name]) for name in example["response_ids"]])
        assert qualities(here, example)[0] == max(row["quality"] for row in here.values())


def slips(row):
    """Whether each step of a solution is a slip."""
    return [SLIP in line for line in row["messages"][-1]["content"].split("\n")]


def every_step_labelled(here, examples):
    assert [example["response_ids"] for example in examples] == [[response] for response in here]
    for example in examples:
        row = here[example["response_ids"][0]]
        can_come_right = [not any(slips(row)[: place + 1]) for place in range(3)]
        assert example["labels"] == [float(right) for right in can_come_right]


def labelled_to_the_first_error(here, examples):
    assert [example["response_ids"] for example in examples] == [[response] for response in here]
    for example in examples:
        wrong = slips(here[example["response_ids"][0]])
        first = wrong.index(True) if any(wrong) else None
        assert example["labels"] == ([1.0] * 3 if first is None else [1.0] * first + [0.0])


def right_step_against_wrong(here, examples):
    wrong = [row for row in here.values() if row["generator"] == "sample" and any(slips(row))]
    assert len(examples) == 4 * len(wrong)
    for example in examples:
        branch, parent = (here[response] for response in example["response_ids"])
        assert branch["parent_id"] == parent["id"]
        shared = json.loads(branch["params"])["prefix"]
        texts = [row["messages"][-1]["content"] for row in (branch, parent)]
        assert texts[0][:shared] == texts[1][:shared]
        assert SLIP not in texts[0]
        assert texts[1][shared:].startswith(("Step 2: here is a slip", "Step 3: here is a slip"))


def at_most_best_against_worst(here, examples):
    every = [row["quality"] for row in here.values()]
    assert [qualities(here, example) for example in examples] in ([], [[max(every), min(every)]])


def ties_as_well(here, examples):
    every = sorted((row["quality"] for row in here.values()), reverse=True)
    assert [qualities(here, example) for example in examples] == [every]


def scores_passed_on(here, examples):
    (example,) = examples
    assert example["labels"] == example["scores"]
    assert example["response_ids"] == list(here)


def a_pair_for_each_objective(here, examples):
    pairs = [example for example in examples if example["kind"] == "pair"]
    for name in ("helpful", "harmless"):
        best_against_worst(here, [one for one in pairs if one["strategy"] == f"best_vs_worst/{name}"])
    marks = [example for example in examples if example["kind"] == "unpaired"]
    assert len(marks) in (0, len(here))


def best_against_low(here, examples):
    every = [(round(1 + 9 * row["quality"] / 10) - 1) / 9 for row in here.values()]
    ((chosen, rejected),) = (example["scores"] for example in examples)
    low = sum(every) / len(every) - 2 * pl.Series(every).std()
    assert chosen == pytest.approx(max(every))
    assert abs(rejected - low) == pytest.approx(min(abs(score - low) for score in every if score < max(every)))


def by_checklist(here, examples):
    score = [0.25 * (row["quality"] > 4) + 0.75 * (row["quality"] > 7) for row in here.values()]
    if len({*score}) == 1:
        assert examples == []
        return
    (example,) = examples
    assert example["scores"] == pytest.approx(score)
    assert example["labels"] == pytest.approx(standardised(score), abs=1e-9)


def imitated(here, examples):
    assert [example["response_ids"] for example in examples] == [[response] for response in here]


def extremes(here, examples):
    """The best against the worst, or no pair where all are equally good."""
    every = [row["quality"] for row in here.values()]
    assert [qualities(here, example) for example in examples] == (
        [[max(every), min(every)]] if len({*every}) > 1 else []
    )


def asked_of_the_unsure(here, examples):
    """Nats a token of the policy's words: 0.05 times what they lack of 11."""
    sure = sum(0.05 * (11 - row["quality"]) for row in here.values()) / len(here) < 0.3
    assert sum(bool(row["said"]) for row in here.values()) == (0 if sure else 2)
    if sure:
        assert examples == []
    else:
        extremes(here, examples)


def second_unless_worse(here, pair):
    """Whom a judge prefers who is shown two once: the better one, the second of two equals."""
    first, second = (name for name in here if name in pair)
    return (first, second) if here[first]["quality"] > here[second]["quality"] else (second, first)


def one_pair_acquired(here, examples):
    (said,) = {judgement["id"]: judgement for row in here.values() for judgement in row["said"]}.values()
    assert (said["evaluator"], said["criterion"]) == ("acquire", "preferred")
    assert [tuple(example["response_ids"]) for example in examples] == [second_unless_worse(here, said["response_ids"])]


def two_annotated(here, examples):
    asked = {name: row for name, row in here.items() if row["said"]}
    aspects = ["helpfulness", "honesty", "instruction_following", "truthfulness"]
    assert [sorted(said["criterion"] for said in row["said"]) for row in asked.values()] == [aspects] * 2
    extremes(asked, examples)


def right_against_wrong_with_certainties(here, examples):
    """Beside the policy's eight solutions stands the given one, which all of them lose to where none is right."""
    assert sorted(row["generator"] for row in here.values()) == ["given", *["sample"] * 8]
    (given,) = (name for name, row in here.items() if row["generator"] == "given")
    wrong = {name for name, row in here.items() if row["generator"] == "sample" and row["quality"] <= 5}
    pairs = [example["response_ids"] for example in examples if example["kind"] == "pair"]
    assert {rejected for chosen, rejected in pairs if chosen == given} == wrong
    right_against_wrong(here, [example for example in examples if example["kind"] == "pair"])
    steps = [example for example in examples if example["kind"] == "stepwise"]
    assert [example["response_ids"] for example in steps] == [
        [n] for n, row in here.items() if row["model"] == "policy"
    ]
    for example in steps:
        likely = math.exp(-0.05 * (11 - qualities(here, example)[0]))
        assert example["labels"] == pytest.approx([likely - likely / math.e] * 3)


def sure_pairs_weighed(here, examples):
    def told(row):
        scores = pl.Series([(said["scores"][0] - 1) / 9 for said in row["said"]])
        return round(scores.mean(), 12), scores.var() / 3

    known = {name: told(row) for name, row in here.items()}
    means = [mean for mean, _ in known.values()]

    def certainty(chosen, rejected):
        (one, noise), (other, more) = known[chosen], known[rejected]
        error = math.sqrt(noise + more)
        return NormalDist(0, error).cdf(one - other) if error else 1.0

    for example in examples:
        chosen, rejected = example["response_ids"]
        assert (known[chosen][0], known[rejected][0]) == (max(means), min(means))
        assert example["weight"] == pytest.approx(certainty(chosen, rejected), abs=1e-6)
        assert example["weight"] >= 0.95
    if not examples and max(means) > min(means):
        best, worst = ([name for name, (mean, _) in known.items() if mean == end(means)] for end in (max, min))
        assert min(certainty(one, other) for one in best for other in worst) < 0.95


def support(here):
    """The mean over both sentences of a draft: others are as good as it, or say so of a draft as it does."""
    every = [row["quality"] for row in here.values()]
    return {n: (1 + (every.count(row["quality"]) - 1) / (len(every) - 1)) / 2 for n, row in here.items()}


def borne_out_against_alone(here, examples):
    known = support(here)
    if len({*known.values()}) == 1:
        assert examples == []
        return
    (example,) = examples
    assert example["scores"] == pytest.approx([max(known.values()), min(known.values())])
    assert [known[name] for name in example["response_ids"]] == pytest.approx(example["scores"])


def reliable_against_another(here, examples):
    """By agreement in words, by statements that are borne out, and by the policy's own yes to a principle."""
    bags = {n: {*re.findall(r"\w+", row["messages"][-1]["content"].lower())} for n, row in here.items()}
    facts = support(here)
    score = {}
    for name, row in here.items():
        alike = [len(bags[name] & bag) / len(bags[name] | bag) for other, bag in bags.items() if other != name]
        score[name] = (sum(alike) / len(alike) + facts[name] + (row["quality"] + 0.5) / 11) / 3
    (example,) = examples
    assert example["scores"] == pytest.approx([score[name] for name in example["response_ids"]])
    assert example["scores"][0] == pytest.approx(max(score.values()))


def drawn_two_by_two(here, examples):
    assert len(here) == 8
    taken = [name for example in examples for name in example["response_ids"]]
    assert len(taken) == len({*taken}) <= 8
    assert all(chosen > rejected for chosen, rejected in (qualities(here, example) for example in examples))
    assert {json.loads(row["params"])["of"] for row in here.values()} == {64}


def by_a_noisy_annotator(here, examples):
    (said,) = {judgement["id"]: judgement for row in here.values() for judgement in row["said"]}.values()
    assert said["evaluator"] in {f"annotators:{name}" for name in ("careful", "hurried", "strict", "generous")}
    wanted = second_unless_worse(here, said["response_ids"])
    flipped = said["rationale"].startswith("[flipped on purpose")
    assert flipped == (draw(0, "flip", *here) / 2**63 < 0.25)  # a quarter, drawn for each question
    assert len({each["id"] for row in here.values() for each in row["said"]}) == 1  # one annotator, asked once
    assert [tuple(example["response_ids"]) for example in examples] == [wanted[::-1] if flipped else wanted]


def by_a_rubric_that_tells_them_apart(here, examples):
    met = {name: (row["quality"] > 4) + 3 * (row["quality"] > 7) for name, row in here.items()}
    every = [row["quality"] for row in here.values()]
    best, worst = ((q > 4) + 3 * (q > 7) for q in (max(every), min(every)))
    statuses = {said["status"] for row in here.values() for said in row["said"]}
    if len({*every}) == 1:
        assert (examples, statuses) == ([], set())
    elif best == worst:
        assert (examples, statuses) == ([], {"failed"})
    else:
        (example,) = examples
        assert statuses == {"ok"}
        assert [met[name] for name in example["response_ids"]] == [max(met.values()), min(met.values())]


def by_program_checklist_and_judge(here, examples):
    score = []
    for row in here.values():
        held = [said["scores"][0] for said in row["said"] if said["evaluator"] == "verify"]
        listed = 0.25 * (row["quality"] > 4) + 0.75 * (row["quality"] > 7)
        overall = (round(1 + 9 * row["quality"] / 10) - 1) / 9
        parts = [(2, listed), (1, overall), *([(2, sum(held) / len(held))] if held else [])]
        score.append(sum(weight * each for weight, each in parts) / sum(weight for weight, _ in parts))
    if len({*(round(each, 9) for each in score)}) == 1:
        assert examples == []
        return
    (example,) = examples
    assert example["scores"] == pytest.approx(score)
    assert example["labels"] == pytest.approx(standardised(score), abs=1e-9)


def every_step_marked(here, examples):
    assert [example["response_ids"] for example in examples] == [[response] for response in here]
    for example in examples:
        assert example["labels"] == [float(not slip) for slip in slips(here[example["response_ids"][0]])]


def chosen_once_on_each(here, examples):
    assert [example["strategy"] for example in examples] == ["best_vs_worst/helpful", "best_vs_worst/harmless"]
    wanted = second_unless_worse(here, [*here])
    assert [tuple(example["response_ids"]) for example in examples] == [wanted] * 2


def by_wins(here, examples):
    wins = Counter(second_unless_worse(here, pair)[0] for pair in combinations(here, 2))
    better = sorted((one, other) for one in here for other in here if wins[one] > wins[other])
    assert sorted(tuple(example["response_ids"]) for example in examples) == better


def policy_against_opponent(here, examples):
    (example,) = examples
    generators = {here[name]["generator"]: here[name]["model"] for name in example["response_ids"]}
    assert generators["policy"] == "policy"
    assert generators["opponent"] in ("policy", "reference")
    chosen, rejected = qualities(here, example)
    chance = math.exp(-0.1) / (math.exp(-0.1) + math.exp(-2.4)) if chosen > rejected else 0.5
    assert chosen >= rejected
    assert example["labels"] == pytest.approx([chance, 1 - chance])


def sentences_weighed(here, examples):
    best_against_worst(here, examples)
    for example in examples:
        text = here[example["response_ids"][0]]["messages"][-1]["content"]
        first = text.index(".") + 1  # "Quality 9." is better than "So says draft x1."
        places = [(one["response"], one["start"], one["end"], one["value"]) for one in example["spans"]]
        assert places == [(0, 0, first, 2.0), (0, first + 1, len(text), 1.0)]


def sentences_rewarded(here, examples):
    (example,) = examples
    assert example["labels"] == [round(4 * row["quality"] / 10) / 4 for row in here.values()]
    rewards = [(one["response"], one["value"]) for one in example["spans"]]
    assert rewards == [(place, pytest.approx(sign * (0.3 + 0.5))) for place in range(4) for sign in (1, -1)]


def shown_with_attributes(here, examples):
    assert {example["response_ids"][0] for example in examples} == {*here}
    for example in examples:
        mark = round(9 * here[example["response_ids"][0]]["quality"] / 10)
        line = ",".join(f"{name}:{mark}" for name in ("quality", "toxicity", "humor", "creativity"))
        assert example["input"][-1]["content"].endswith(f"\n\nThe response is to have these attributes: {line}")


def scores_of_each_attribute(here, examples):
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    assert sorted((example["strategy"], *example["response_ids"]) for example in examples) == sorted(
        (f"score/{name}", response) for name in names for response in here
    )
    for example in examples:
        assert example["labels"] == [round(4 * qualities(here, example)[0] / 10) / 4]


def answers_of_a_judge(key, count):
    """So many rows of a prompt; each shows the responses and ends with what the judge says of them."""

    def check(here, examples):
        assert len(examples) == count
        for example in examples:
            question, seen = example["input"][-1]["content"], qualities(here, example)
            assert all(here[response]["messages"][-1]["content"] in question for response in example["response_ids"])
            (said,) = map(json.loads, example["outputs"])
            assert [*said] == ["rationale", key(seen)[0]]
            assert said[key(seen)[0]] == key(seen)[1]

    return check


def score_or_choice(seen):
    return ("score", round(1 + 4 * seen[0] / 10)) if len(seen) == 1 else ("better", "A" if seen[0] > seen[1] else "B")


def verified_where_the_answer_agrees(here, examples):
    verifications = [example for example in examples if example["outputs"]]
    solutions = [example for example in examples if not example["outputs"]]
    right = [response for response, row in here.items() if row["quality"] > 5]
    assert [example["response_ids"][0] for example in solutions] == sorted(
        right, key=[example["response_ids"][0] for example in solutions].index
    )
    # The judge takes a solution of quality 3 for right, which the answer shows to be wrong.
    assert {example["response_ids"][0] for example in verifications} == {
        response for response, row in here.items() if row["quality"] != 3
    }
    for example in verifications:
        assert json.loads(example["outputs"][0])["met"] == ("yes" if qualities(here, example)[0] > 5 else "no")
        assert "<reference" not in example["input"][-1]["content"]


def yes_or_no_to_each_principle(here, examples):
    assert len(examples) == 3 * len(here)
    for example in examples:
        assert (example["outputs"], example["labels"]) == (["yes"], [float(qualities(here, example)[0] > 2)])
        assert "Is the demand met?" in example["input"][-1]["content"]


def answers_and_judgements_paired(here, examples):
    best_against_worst(here, [example for example in examples if not example["outputs"]])
    ((one, other),) = (example["response_ids"] for example in examples if example["outputs"])
    assert one == other in here
    ((chosen, rejected),) = (example["outputs"] for example in examples if example["outputs"])
    assert chosen.count("!") > rejected.count("!")  # the judge of judgements likes them


def lighter_with_age(here, examples):
    best_against_worst(here, examples)
    assert all(round(math.log(example["weight"], 0.95), 6) in range(6) for example in examples)


def valid_ones_in_a_row(here, examples):
    valid = [row for row in here.values() if row["quality"] > 5]
    described = bool(examples) and examples[0]["input"][0]["content"] != "One more."
    assert len(examples) == (len(valid) - (not described) if len(valid) > 1 else 0)
    assert all(quality > 5 for example in examples for quality in qualities(here, example))
    for place, example in enumerate(examples, start=0 if described else 1):
        assert len(example["input"]) == 2 * place + 1
        assert example["input"][-1]["content"] == ("One more." if place else example["input"][0]["content"])


def rewritten(here, examples):
    """What the prompt should have asked for, learnt from the better and the worse of two responses, if one was better."""
    one, other = (row["quality"] for row in here.values() if row["generator"] == "sample")
    if one == other:
        assert examples == []
        return
    (example,) = examples
    row = here[example["response_ids"][0]]
    assert row["generator"] == "optimise"
    assert f"Answer with Quality {max(one, other)}., not with {min(one, other)}," in row["messages"][0]["content"]
    params = json.loads(row["params"])
    assert [here[params[name]]["quality"] for name in ("better", "worse")] == [max(one, other), min(one, other)]


def said(row):
    return row["messages"][-1]["content"]


def weighed_by_likelihood(here, examples):
    best_against_worst(here, examples)
    for example in examples:
        mean = [
            fmean(logprob for _, logprob in token_logprobs("policy", "", said(here[one])))
            for one in example["response_ids"]
        ]
        assert example["weight"] == pytest.approx(math.exp(sum(mean)))


def token_weighed(here, examples):
    best_against_worst(here, examples)
    good, bad = "Give a helpful, honest and harmless response.", "Give an unhelpful and careless response."
    for example in examples:
        expected = []
        for place, one in enumerate(example["response_ids"]):
            text, at = said(here[one]), 0
            for (word, plus), (_, minus) in zip(
                token_logprobs("policy", good, text), token_logprobs("policy", bad, text), strict=True
            ):
                weight = math.exp((1, -1)[place] * min(max(plus - minus, -0.5), 1.5))
                expected.append((place, at, at + len(word), pytest.approx(weight)))
                at += len(word)
        assert [(s["response"], s["start"], s["end"], s["value"]) for s in example["spans"]] == expected


def token_rewarded(here, examples):
    scores_passed_on(here, examples)
    (example,) = examples
    expected = [
        (place, pytest.approx(0.1 * (tuned - policy)))
        for place, one in enumerate(here.values())
        for (_, tuned), (_, policy) in zip(
            token_logprobs("tuned", "", said(one)), token_logprobs("policy", "", said(one)), strict=True
        )
    ]
    assert [(s["response"], s["value"]) for s in example["spans"]] == expected


# name: calls of the policy and of the judge for a prompt, what the examples are, and what holds of each prompt
WANTED = {
    "acpo": (8, 0, "pair", borne_out_against_alone),
    "active-ultrafeedback": (0, 8, "pair", two_annotated),
    "alpacafarm": (2, None, "pair", by_a_noisy_annotator),
    "apl": (None, None, "pair", asked_of_the_unsure),
    "hh-rlhf": (2, 2, "pair", chosen_once_on_each),
    "iupo": (8, 0, "pair stepwise", right_against_wrong_with_certainties),
    "maple": (4, 4 * 2 * 3 + 1, "pair", one_pair_acquired),
    "meta-rater": (0, 16, "sft", best_imitated),
    "nash-md": (None, 2, "pair", policy_against_opponent),
    "openrubrics": (4, None, "pair", by_a_rubric_that_tells_them_apart),
    "pairrm": (0, 12, "ranking", in_order),
    "ppa": (8, 8, "ranking", in_order),
    "ppo": (4, 4, "group", scores_passed_on),
    "prm800k": (8, 24, "stepwise", every_step_marked),
    "reward-specification": (8, 25, "group", by_program_checklist_and_judge),
    "rso": (64, 64, "pair", drawn_two_by_two),
    "summarize-from-feedback": (1, 6, "pair", by_wins),
    "udasa": (12, 0, "pair", reliable_against_another),
    "upo": (4, 12, "pair", sure_pairs_weighed),
    "versaprm": (0, 12, "stepwise", every_step_marked),
    "alignment-potential": (8, 4, "pair", at_most_best_against_worst),
    "aspo": (2, None, "pair", sentences_weighed),
    "fine-grained-rlhf": (4, None, "group", sentences_rewarded),
    "genrm": (4, 4, "sft", verified_where_the_answer_agrees),
    "helpsteer2": (2, 10, "unpaired", scores_of_each_attribute),
    "meta-rewarding": (None, 0, "pair", answers_and_judgements_paired),
    "ns-dpo": (2, 2, "pair", lighter_with_age),
    "prometheus": (5, 10, "sft", answers_of_a_judge(score_or_choice, 10)),
    "prometheus-2": (3, 12, "sft", answers_of_a_judge(score_or_choice, 12)),
    "rlbff": (2, 6, "unpaired", yes_or_no_to_each_principle),
    "spectrum-tuning": (8, 8, "sft", valid_ones_in_a_row),
    "steerlm": (4, 16, "sft", shown_with_attributes),
    "alpha-dpo": (5, 5, "pair", best_against_worst),
    "bees": (8, 4, "pair", at_most_best_against_worst),
    "cpo": (1, 3, "pair", best_against_worst),
    "crpo": (8, 24, "pair", best_by_all_signals),
    "deepseek-r1": (16, 0, "group", advantages(standardised, keep=False)),
    "divpo": (16, 16, "pair", rare_against_common),
    "dno": (5, 6, "pair", all_pairs_apart),
    "iterative-dpo": (8, 8, "pair", best_against_worst),
    "math-shepherd": (2, 0, "stepwise", every_step_labelled),
    "mmpo": (4, 4, "pair", soft_best_against_worst),
    "modpo": (4, 8, "pair", a_pair_for_each_objective),
    "mopo": (4, 8, "pair", a_pair_for_each_objective),
    "oaif": (2, 2, "pair", best_against_worst),
    "omegaprm": (4, 0, "stepwise", labelled_to_the_first_error),
    "personalized-soups": (4, 8, "pair", a_pair_for_each_objective),
    "rebel": (2, 2, "pair", ties_as_well),
    "rip": (8, 8, "pair", at_most_best_against_worst),
    "rlcf": (2, 5, "pair", at_most_best_against_worst),
    "rlvr": (8, 0, "group", scores_passed_on),
    "rto": (4, 2, "group", token_rewarded),
    "rubrics-as-rewards": (8, 17, "group", by_checklist),
    "safe-rlhf": (4, 8, "pair unpaired", a_pair_for_each_objective),
    "self-align": (1, 0, "sft", imitated),
    "selm": (4, 4, "pair", best_against_worst),
    "spo": (4, 8, "pair", a_pair_for_each_objective),
    "sppo": (5, 20, "pair", best_against_worst),
    "step-dpo": (None, 12, "pair", right_step_against_wrong),
    "sweet-spot": (16, 16, "pair", best_against_low),
    "tdpo": (2, 2, "pair", best_against_worst),
    "tis-dpo": (6, 2, "pair", token_weighed),
    "tulu3-preference": (1, 16, "pair", best_against_another),
    "verbalized-sampling": (1, 5, "pair", best_against_worst),
    "wpo": (6, 4, "pair", weighed_by_likelihood),
    "wrpo": (5, 7, "pair", best_against_worst),
    "xpo": (1, 2, "pair", best_against_worst),
    "bpo": (2, 2, "sft", rewritten),
    "copr": (2, 2, "pair", best_against_worst),
    "eva": (4, 4, "pair", best_against_worst),
    "magpie": (2 + 2, 2, "sft", best_imitated),
    "lifealign": (2, 2, "pair", best_against_worst),
    "sdpo": (2, 2, "pair", best_against_worst),
    "self-instruct": (1 + 4, 0, "sft", imitated),
    "bco": (4, 4, "unpaired", good_and_bad),
    "cdpo": (2, 2, "pair", best_against_worst),
    "clair": (1, 1, "pair", revised),
    "constitutional-ai": (5, 0, "sft", revisions_imitated),
    "constitutional-ai-rl": (2, 1, "pair", labelled_under_one_principle),
    "dapo": (16, 0, "group", advantages(standardised, keep=False)),
    "dpo": (2, 2, "pair", best_against_worst),
    "dr-grpo": (8, 0, "group", advantages(centred)),
    "grpo": (8, 0, "group", advantages(standardised)),
    "instructgpt": (6, 2, "pair", all_pairs),
    "ipo": (2, 2, "pair", best_against_worst),
    "irpo": (8, 0, "pair", right_against_wrong),
    "kto": (4, 4, "unpaired", good_and_bad),
    "lipo": (8, 28, "ranking", in_order),
    "nectar": (7, 2, "ranking", in_order),
    "orpo": (2, 2, "pair", best_against_worst),
    "pro": (4, 2, "ranking", in_order),
    "raft": (8, 8, "sft", best_imitated),
    "rdpo": (2, 2, "pair", best_against_worst),
    "rest": (16, 16, "sft", imitated_above_a_rising_threshold),
    "rest-em": (32, 0, "sft", right_imitated),
    "rlaif": (2, 2, "pair", labelled_by_the_judges_odds),
    "rlcd": (2, 0, "pair", from_to("positive", "negative")),
    "rloo": (4, 4, "group", against_the_others),
    "rrhf": (4, 5, "ranking", in_order),
    "rs-dpo": (8, 8, "pair", all_pairs_apart),
    "self-rewarding": (4 * (4 + 12), 0, "pair", best_against_worst),
    "simpo": (5, 5, "pair", best_against_worst),
    "slic-hf": (4, 12, "pair", best_against_worst),
    "spin": (1, 0, "pair", from_to("given", "policy")),
    "ultrafeedback": (4, 16, "pair", best_against_another),
    "west-of-n": (16, 16, "pair", best_against_worst),
    "zephyr": (4, 4, "pair", best_against_another),
}


OTHERS = {
    "active-ultrafeedback": {"model_a": 1, "model_b": 1, "model_c": 1, "model_d": 1, "cheap": 12},
    "alpacafarm": {"other_judge": None},
    "meta-rater": {"source": 4},
    "nash-md": {"reference": None},
    "pairrm": {"model_a": 1, "model_b": 1, "model_c": 1, "model_d": 1},
    "summarize-from-feedback": {"supervised": 1, "earlier": 1},
    "versaprm": {"solver": 4},
    "bpo": {"optimiser": None},
    "cpo": {"system_a": 1, "system_b": 1},
    "dno": {"teacher": 1},
    "math-shepherd": {"completer": 2 * 2 * 8},
    "self-rewarding": {"author": 1},
    "alignment-potential": {"reference": 4},
    "bees": {"tuned": 4},
    "rto": {"tuned": 2},
    "tulu3-preference": {"model_a": 1, "model_b": 1, "model_c": 1},
    "wpo": {"other": 2},
    "wrpo": {"source_a": 1, "source_b": 1},
    "xpo": {"reference": 1},
}
"""Calls of further models for a prompt."""
BY_WHAT_IS_SAID = {"alpacafarm", "apl", "aspo", "bpo", "fine-grained-rlhf", "math-shepherd", "meta-rewarding"} | {
    "omegaprm",
    "openrubrics",
    "prm800k",
    "reward-specification",
    "rlcf",
    "rso",
    "rubrics-as-rewards",
    "step-dpo",
    "versaprm",
}
"""Methods whose calls depend on answers or draws, so that a plan can only bound them."""


@pytest.mark.parametrize("name", METHODS)
def test_a_method_asks_whom_it_should_and_makes_of_it_what_its_paper_says(tmp_path, name):
    policy, judge, kind, holds = WANTED[name]
    with world() as (asked, base_url):
        recipe, run = run_method(name, tmp_path / "run", base_url)
    calls = Counter()
    for (model, _), count in asked.asked.items():
        calls[model] += count
    wanted = {"policy": policy, "judge": judge} | OTHERS.get(name, {})
    for model, count in wanted.items():
        assert count is None or calls[model] == count * PROMPTS
    assert {*calls} <= {*wanted, "completer"}
    planned = tp.plan(tp.Recipe(**(dict(recipe) | {"loop": None})), limit=PROMPTS)
    assert calls.total() <= planned.most_calls
    assert name in BY_WHAT_IS_SAID or planned.calls == calls.total()
    assert {*run.examples().collect()["kind"]} == {*kind.split()}
    for here, examples in of_prompts(run):
        holds(here, examples)
    anew = tp.instantiate(run, tp.load_recipe(run.path / "recipe.yaml"), tmp_path / "anew")
    assert (anew.path / "examples.parquet").read_bytes() == (run.path / "examples.parquet").read_bytes()


def run_rounds(name, folder, base_url, limit):
    """Run a shipped method through all of its rounds, each with a policy of its own; gives the rounds."""
    content = yaml.safe_load(find_recipe(name).read_text())
    endpoint = {"backend": "openai", "base_url": base_url}
    content["models"] = {model: endpoint | {"model": model} for model in content["models"]}
    later = range(2, content["loop"]["rounds"] + 1)
    content["loop"]["next"] = [endpoint | {"model": f"policy-{number}"} for number in later]
    tp.run(parse_recipe(yaml.safe_dump(content)), folder, limit=limit)
    return [tp.open_run(folder / f"round-{number}") for number in (1, *later)]


def texts(run):
    return [row["messages"][-1]["content"] for row in run.prompts().collect().iter_rows(named=True)]


def test_sdpo_goes_through_its_prompts_a_part_at_a_time(tmp_path):
    with world() as (asked, base_url):
        first, second = run_rounds("sdpo", tmp_path / "run", base_url, None)
    everyday = [row.prompt.text for row in tp.load_recipe("sdpo").prompts.rows(tmp_path)]
    assert texts(first) + texts(second) == everyday
    assert asked.asked["policy", "sample"] == asked.asked["policy-2", "sample"] == 2 * 32
    for run in (first, second):
        for here, examples in of_prompts(run):
            best_against_worst(here, examples)


def test_eva_evolves_the_prompts_on_which_responses_differed_in_the_round_before(tmp_path):
    with world() as (asked, base_url):
        runs = run_rounds("eva", tmp_path / "run", base_url, 12)
    assert [run.manifest.prompts for run in runs] == [12, 3 * 4, 3 * 4]
    assert asked.asked["creator", "evolve"] == 2 * 3 * 4
    passed_over = 0
    for before, after in pairwise(runs):
        gap = {next(iter(here.values()))["prompt_id"]: max(q) - min(q) for here, _ in of_prompts(before) for q in [[row["quality"] for row in here.values()]]}  # fmt: skip
        made = after.prompts().collect()
        drawn = made["parent_id"].unique(maintain_order=True).to_list()
        assert drawn == [each for each in gap if each in drawn], "in the order of the round before"
        assert all(gap[each] > 0 for each in drawn), "one whose responses are all alike is never drawn before others"
        assert made["parent_id"].to_list() == [each for each in drawn for _ in range(4)]
        passed_over += any(gap[one] > gap[other] for other in drawn for one in {*gap} - {*drawn})
        assert {*made["source"]} == {"evolve by creator"}
        for here, examples in of_prompts(after):
            best_against_worst(here, examples)
    assert passed_over, "a greater gap is likelier to be drawn, and no more than that"


@pytest.mark.parametrize(("name", "share"), [("copr", 0.05), ("lifealign", 0.2)])
def test_methods_with_a_memory_train_on_earlier_tasks_again(tmp_path, name, share):
    with world() as (_, base_url):
        first, second = run_rounds(name, tmp_path / "run", base_url, 20)
    maths = [row.prompt.text for row in tp.load_recipe("dapo").prompts.rows(tmp_path)]
    assert texts(second) == maths
    export_trl(second, tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out/train.jsonl").read_text().splitlines()]
    made = {run.path.name: run.examples().collect()["id"].to_list() for run in (first, second)}
    trained_on = {run: [row["example_id"] for row in rows if row["run"] == run] for run in made}
    assert trained_on["round-2"] == made["round-2"]
    assert {*trained_on["round-1"]} < {*made["round-1"]}
    assert len(trained_on["round-1"]) == int(share * len(made["round-1"]) + 0.5) > 0
    assert len(rows) == sum(map(len, trained_on.values()))


def test_self_rewarding_makes_its_own_prompts_from_other_seeds_in_each_round(tmp_path):
    with world() as (asked, base_url):
        runs = run_rounds("self-rewarding", tmp_path / "run", base_url, 3)
    assert asked.asked["author", "instruct"] == 3 * 3
    everyday = [row.prompt.id for row in tp.load_recipe("self-rewarding").prompts.rows(tmp_path)]
    for number, run in enumerate(runs):
        seeds = everyday[20 * number : 20 * number + 3]
        assert run.prompts().collect()["parent_id"].to_list() == [each for each in seeds for _ in range(4)]
        assert {*run.prompts().collect()["source"]} == {"self_instruct by author"}
    assert len({text for run in runs for text in texts(run)}) == 3 * 12


def told_before(asked):
    """By what a model said: all that it was told before the last message."""
    return {call.said: call.messages[:-1] for call in asked.heard if call.kind == "sample"}


def test_rlcd_chooses_the_response_to_the_good_instruction(tmp_path):
    with world() as (asked, base_url):
        _, run = run_method("rlcd", tmp_path / "run", base_url)
    told = told_before(asked)
    for here, examples in of_prompts(run):
        (example,) = examples
        instructions = [told[said(here[name])][0] for name in example["response_ids"]]
        assert [one["role"] for one in instructions] == ["system"] * 2
        assert [one["content"].split()[:3] for one in instructions] == [
            ["Give", "a", "helpful,"],
            ["Give", "an", "unhelpful"],
        ]


def test_self_align_shows_principles_and_an_example_that_its_rows_leave_out(tmp_path):
    with world() as (asked, base_url):
        _, run = run_method("self-align", tmp_path / "run", base_url)
    told = told_before(asked)
    for here, examples in of_prompts(run):
        (row,), (example,) = here.values(), examples
        assert [one["role"] for one in told[said(row)]] == ["system", "user", "assistant"]
        assert "ethical, informative and candid" in told[said(row)][0]["content"]
        assert not example["input"], "the row is the prompt as it is"
        assert [one["role"] for one in row["messages"]] == ["assistant"]


def test_deepseek_r1_rewards_the_right_answer_and_the_thought_between_its_tags(tmp_path):
    class Thinking(World):
        """Thinks between the tags in two of three answers, if it is told to."""

        def _say(self, body, text):
            kind, message = super()._say(body, text)
            if "<think>" in body["messages"][0]["content"] and body["seed"] % 3:
                message["message"]["content"] = f"<think>Hm.</think> {message['message']['content']}"
            return kind, message

    with world(Thinking()) as (_, base_url):
        _, run = run_method("deepseek-r1", tmp_path / "run", base_url)
    for here, examples in of_prompts(run):
        thought = [said(row).startswith("<think>") for row in here.values()]
        assert {*thought} == {True, False}
        score = [((row["quality"] > 5) + tags) / 2 for row, tags in zip(here.values(), thought, strict=True)]
        (example,) = examples
        assert example["labels"] == pytest.approx(standardised(score), abs=1e-9)


def cheap_scores(asked, model, parts):
    """Of each response by its text: mean and standard error of its scores, on a scale from 1 to 10.

    Its criteria are told apart by a part of their texts, and count alike.
    """
    scores = {}
    for call in asked.heard:
        verdict = json.loads(call.said) if (call.model, call.kind) == (model, "judge") else {}
        for part in parts:
            if "score" in verdict and part in call.messages[-1]["content"]:
                (text,) = responses_in(call.messages[-1]["content"])
                scores.setdefault(text, {}).setdefault(part, []).append((verdict["score"] - 1) / 9)
    assert {len(each) for by_part in scores.values() for each in by_part.values()} == {3}
    return {
        text: (
            fmean(map(fmean, by_part.values())),
            math.sqrt(sum(stdev(each) ** 2 / 3 for each in by_part.values())) / len(parts),
        )
        for text, by_part in scores.items()
    }


def test_active_ultrafeedback_annotates_what_may_be_the_best_and_what_may_be_the_worst(tmp_path):
    with world() as (asked, base_url):
        _, run = run_method("active-ultrafeedback", tmp_path / "run", base_url, prompts=24)
    scores = cheap_scores(asked, "cheap", ["of use"])
    furthest = 0
    for here, _ in of_prompts(run):
        known = {name: scores[said(row)] for name, row in here.items()}
        annotated = [name for name, row in here.items() if row["said"]]

        def may_be(high, low, known=known):
            least = max(mean - error for mean, error in known.values())
            most = min(sum(known[name]) for name in known if name != high)
            return sum(known[high]) >= least and known[low][0] - known[low][1] <= most

        assert may_be(*annotated) or may_be(*annotated[::-1])
        gaps = {abs(known[one][0] - known[other][0]) for one, other in combinations(known, 2)}
        furthest += math.isclose(abs(known[annotated[0]][0] - known[annotated[1]][0]), max(gaps))
    assert 0 < furthest < 24, "scores are drawn, so that the furthest apart are likelier, and no more than that"


def test_maple_asks_about_the_pair_whose_verdict_tells_most(tmp_path):
    with world() as (asked, base_url):
        _, run = run_method("maple", tmp_path / "run", base_url)
    scores = cheap_scores(asked, "judge", ["of use to who wrote", "plainly worded"])

    def entropy(chance):
        return -chance * math.log(chance) - (1 - chance) * math.log(1 - chance)

    def information(one, other):
        """How much less the entropy of the choice would be if the means were known, by their normal errors."""
        gap, error = one[0] - other[0], math.hypot(one[1], other[1])
        points = [NormalDist().inv_cdf((place + 0.5) / 2000) for place in range(2000)]
        chances = [1 / (1 + math.exp(-(gap + error * point) / 0.25)) for point in points]
        return entropy(fmean(chances)) - fmean(map(entropy, chances))

    for here, examples in of_prompts(run):
        known = {name: scores[said(row)] for name, row in here.items()}
        told = {frozenset(pair): information(*(known[name] for name in pair)) for pair in combinations(here, 2)}
        (example,) = examples
        assert told[frozenset(example["response_ids"])] == pytest.approx(max(told.values()), rel=0.02)


@pytest.mark.parametrize("name", ["zephyr", "tulu3-preference", "ultrafeedback"])
def test_the_best_stands_against_any_other_and_not_always_the_worst(tmp_path, name):
    with world() as (_, base_url):
        _, run = run_method(name, tmp_path / "run", base_url, prompts=16)
    worst = Counter()
    for here, examples in of_prompts(run):
        best_against_another(here, examples)
        worst[qualities(here, examples[0])[1] == min(row["quality"] for row in here.values())] += 1
    assert worst[True]
    assert worst[False]


def test_rso_keeps_a_response_by_how_much_better_the_best_policy_would_like_it(tmp_path):
    with world() as (_, base_url):
        _, run = run_method("rso", tmp_path / "run", base_url, prompts=12)
    kept = [(round(1 + 9 * row["quality"] / 10) - 1) / 9 for here, _ in of_prompts(run) for row in here.values()]
    # The four qualities are drawn alike; each is taken with the chance exp((score - best) / beta).
    chance = {score: math.exp((score - max(kept)) / 0.5) for score in kept}
    for score, weight in chance.items():
        share = weight / sum(chance.values())
        assert abs(kept.count(score) / len(kept) - share) < 3 * math.sqrt(share * (1 - share) / len(kept))


IN_ROUNDS = {"apl", "copr", "dno", "eva", "hh-rlhf", "irpo", "iterative-dpo", "iupo", "lifealign", "meta-rewarding"} | {
    "oaif",
    "raft",
    "rebel",
    "rest",
    "rest-em",
    "sdpo",
    "self-rewarding",
    "selm",
    "spin",
    "sppo",
    "upo",
    "xpo",
}
"""Methods that train and sample in turns."""


def test_a_method_with_rounds_has_a_loop_that_brings_in_the_next_policy():
    loops = {name: tp.load_recipe(name).loop for name in METHODS}
    assert {name for name, loop in loops.items() if loop is not None} == IN_ROUNDS
    assert all(loop.rounds > 1 and loop.refresh == "policy" for loop in loops.values() if loop is not None)


def test_ultrafeedback_writes_each_response_under_one_drawn_principle_of_four(tmp_path):
    with world() as (asked, base_url):
        _, run = run_method("ultrafeedback", tmp_path / "run", base_url, prompts=24)
    told = told_before(asked)
    drawn = Counter(
        message["content"] for here, _ in of_prompts(run) for row in here.values() for message in told[said(row)]
    )
    assert drawn.total() == 24 * 4
    assert {text.split(":")[0].split()[1] for text in drawn} == {"helpful", "truthful", "honest", "how"}
    assert min(drawn.values()) > 10


def test_constitutional_ai_draws_the_principle_of_each_revision_and_shows_it_to_critic_and_reviser(tmp_path):
    with world() as (asked, base_url):
        _, run = run_method("constitutional-ai", tmp_path / "run", base_url, prompts=24)
    principles = tp.load_recipe("constitutional-ai").synthesis[1].principles
    assert len(principles) == 3
    shown = {
        kind: Counter(
            principle
            for call in asked.heard
            if call.kind == kind
            for principle in principles
            if principle in call.messages[-1]["content"]
        )
        for kind in ("critique", "revise")
    }
    assert shown["critique"] == shown["revise"]
    assert shown["revise"].total() == 2 * 24
    assert min(shown["revise"][principle] for principle in principles) > 5
    two = [[json.loads(row["params"]).get("principle") for row in here.values()][1:] for here, _ in of_prompts(run)]
    assert any(first != second for first, second in two), "each round draws anew"


def test_constitutional_ai_s_second_stage_draws_one_principle_for_each_pair_and_shows_no_other(tmp_path):
    with world() as (asked, base_url):
        recipe, run = run_method("constitutional-ai-rl", tmp_path / "run", base_url, prompts=32)
    texts = {criterion.text: name for name, criterion in recipe.objective.criteria.items()}
    questions = [call.messages[-1]["content"] for call in asked.heard if call.kind == "judge"]
    shown = [[name for text, name in texts.items() if text in question] for question in questions]
    assert all(len(names) == 1 for names in shown)
    recorded = run.judgements().collect()
    assert sorted(name for (name,) in shown) == sorted(recorded["criterion"])
    assert {recipe.objective.criteria[name].id for name in texts.values()} == {*recorded["criterion_id"]}
    assert min(Counter(recorded["criterion"]).values()) > 2, "by draw, so that each has about a quarter"


def test_self_rewarding_scores_from_0_to_5_and_takes_the_mean_of_three(tmp_path):
    with world() as (_, base_url):
        _, run = run_method("self-rewarding", tmp_path / "run", base_url, prompts=1)
    for here, _ in of_prompts(run):
        for row in here.values():
            assert [one["scale"] for one in row["said"]] == [[0.0, 5.0]] * 3


def test_sweet_spot_rejects_what_is_bad_and_not_the_outlier_that_is_worst(tmp_path):
    class Mostly(World):
        """Good as a rule, bad at times and now and then as bad as can be."""

        def _say(self, body, text):
            kind, message = super()._say(body, text)
            if kind == "sample":
                drawn = ([9] * 14 + [3, 0])[body["seed"] % 16]
                message["message"]["content"] = f"Quality {drawn}. {body['seed']}"
            return kind, message

    with world(Mostly()) as (_, base_url):
        _, run = run_method("sweet-spot", tmp_path / "run", base_url)
    spared = 0
    for here, examples in of_prompts(run):
        best_against_low(here, examples)
        spared += qualities(here, examples[0])[1] > min(row["quality"] for row in here.values())
    assert spared == PROMPTS


def test_meta_rewarding_takes_the_shortest_of_the_best_and_the_longest_of_the_worst(tmp_path):
    class Wordy(World):
        """Says as much as it likes, and is not sure how good that was."""

        def _say(self, body, text):
            kind, message = super()._say(body, text)
            said = message["message"]["content"]
            if kind == "sample":
                message["message"]["content"] = f"{said} {'so ' * (body['seed'] % 89)}"
            elif kind == "judge":
                unsure = json.loads(said)
                unsure["score"] = round(1 + 0.6 * unsure["score"]) + body["seed"] % 3 - 1
                message["message"]["content"] = json.dumps(unsure)
            return kind, message

    with world(Wordy()) as (_, base_url):
        _, run = run_method("meta-rewarding", tmp_path / "run", base_url, prompts=20)
    others = {"chosen": 0, "rejected": 0}
    for here, examples in of_prompts(run):
        score = {
            name: fmean(told["scores"][0] for told in row["said"] if told["evaluator"] == "rubric")
            for name, row in here.items()
        }
        length = {name: len(row["messages"][0]["content"]) for name, row in here.items()}
        best, worst = max(score.values()), min(score.values())
        near = 0.1 * (best - worst) + 1e-9
        top = [name for name in here if score[name] >= best - near]
        bottom = [name for name in here if score[name] <= worst + near]
        chosen, rejected = min(top, key=length.__getitem__), max(bottom, key=length.__getitem__)
        pairs = [example["response_ids"] for example in examples if not example["outputs"]]
        assert pairs == ([[chosen, rejected]] if best > worst else [])
        others["chosen"] += score[chosen] < best
        others["rejected"] += score[rejected] > worst
    assert min(others.values()) > 0, "the length decided on both sides where the scores alone would not have"


def test_spectrum_tuning_draws_the_order_of_the_outputs(tmp_path):
    with world() as (_, base_url):
        _, run = run_method("spectrum-tuning", tmp_path / "run", base_url, prompts=12)
    orders = [
        [place for example in examples for place, name in enumerate(here) if name in example["response_ids"]]
        for here, examples in of_prompts(run)
    ]
    assert sum(order != sorted(order) for order in orders) > 4


def test_clair_asks_for_no_more_change_than_is_needed(tmp_path):
    with world() as (asked, base_url):
        run_method("clair", tmp_path / "run", base_url)
    revisions = [call for call in asked.heard if call.kind == "revise"]
    assert len(revisions) == PROMPTS
    assert all("change as little as that needs" in call.messages[-1]["content"] for call in revisions)


def test_magpie_writes_prompts_from_the_bare_template(tmp_path):
    with world() as (asked, base_url):
        _, run = run_method("magpie", tmp_path / "run", base_url)
    assert asked.asked["policy", "completion"] == asked.asked["policy", "sample"] == 2 * PROMPTS
    prompts = run.prompts().collect()
    assert prompts.height == prompts["id"].n_unique() == 2 * PROMPTS
    assert prompts["parent_id"].null_count() == prompts.height, "the rows of the source are shown to nobody"
    assert {*prompts["source"]} == {"magpie by policy"}
    assert all(text.startswith("Explain") and text == text.strip() for text in texts(run))


def test_self_instruct_takes_no_prompt_over_and_none_that_repeats_a_seed(tmp_path):
    """A model that says a seed again, with a word more, and something new."""

    class Repeating(World):
        def _say(self, body, text):
            if "new prompts of this sort" not in text:
                return super()._say(body, text)
            seed = next(each for each in everyday if each in text)
            said = [
                f"{seed} Please.",
                "Tell me why bees dance in their hive.",
                "Tell me why bees dance in a hive.",
                seed,
            ]
            return "instruct", {"message": {"content": json.dumps({"prompts": said})}}

    everyday = [row.prompt.text for row in tp.load_recipe("self-instruct").prompts.rows(tmp_path)]
    with world(Repeating()) as (_, base_url):
        _, run = run_method("self-instruct", tmp_path / "run", base_url)
    assert texts(run) == ["Tell me why bees dance in their hive."], "one of six, since all rows come to the same"
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "run/unmade.jsonl").read_text().splitlines()]
    assert Counter("ROUGE-L" in reason for reason in reasons) == {True: 6 * 3, False: 5}


def test_rip_keeps_a_prompt_by_three_medians_over_all_prompts(tmp_path):
    class Varied(World):
        """Some prompts get better responses, some longer ones, some that differ more."""

        def _say(self, body, text):
            kind, message = super()._say(body, text)
            if kind == "sample":
                about, drawn = sum(map(ord, text)), body["seed"]
                good = min(about % 5 + drawn % (2 + about % 4), 5)  # the judge's scale tells these apart
                message["message"]["content"] = f"Quality {good}. {'And on. ' * (about % 7 + good % 3)}"
            return kind, message

    with world(Varied()) as (_, base_url):
        _, run = run_method("rip", tmp_path / "run", base_url, prompts=40)
    said = {}
    for here, _ in of_prompts(run):
        rows = sorted(here.values(), key=lambda row: row["quality"])
        score = [round(1 + 9 * row["quality"] / 10) for row in rows]
        if score[0] < score[-1]:
            (prompt_id,) = {row["prompt_id"] for row in rows}
            said[prompt_id] = (score[0], len(rows[0]["messages"][0]["content"]), score[-1] - score[0])
    worst, length, gap = (pl.Series(each).quantile(0.5, "nearest") for each in zip(*said.values(), strict=True))
    wanted = [each for each, seen in said.items() if seen[0] >= worst and seen[1] >= length and seen[2] <= gap]
    assert run.examples().collect()["prompt_id"].to_list() == wanted
    assert 0 < len(wanted) < len(said)


@pytest.mark.parametrize("name", ["bees", "alignment-potential"])
def test_pairs_are_kept_by_the_external_and_the_implicit_margin(tmp_path, name):
    tuned, base = ("tuned", "policy") if name == "bees" else ("policy", "reference")
    with world() as (_, base_url):
        _, run = run_method(name, tmp_path / "run", base_url, prompts=12)
    prompts = [here for here, _ in of_prompts(run)]

    def likelihood(model, row):
        return sum(logprob for _, logprob in token_logprobs(model, "", said(row)))

    implicit = {
        one: 0.1 * (likelihood(tuned, row) - likelihood(base, row)) for here in prompts for one, row in here.items()
    }
    mean, spread = fmean(implicit.values()), stdev(implicit.values())
    score = {one: 1 / (1 + math.exp(-(value - mean) / spread)) for one, value in implicit.items()}
    found = {tuple(example["response_ids"]) for _, examples in of_prompts(run) for example in examples}
    value = {}
    for here in prompts:
        every = {one: (round(1 + 9 * row["quality"] / 10) - 1) / 9 for one, row in here.items()}
        couples = [
            (one, other)
            for one in every
            for other in every
            if every[one] == max(every.values()) > every[other] == min(every.values())
        ]
        if not couples:
            continue
        # of several as good, those that the run drew, where it kept the pair; all else must be kept or not as one
        for one, other in couples:
            m, n = every[one] - every[other], score[one] - score[other]
            p, q = (1 + m) / 2, (1 + n) / 2
            value[one, other] = p * q / (p * q + (1 - p) * (1 - q)) if name == "bees" else m - n
    assert found
    assert found <= set(value)
    share = 0.1 if name == "bees" else 0.4
    decided = [here for here in prompts if len({row["quality"] for row in here.values()}) > 1]
    assert len(found) == pytest.approx(share * len(decided), abs=1)
    kept = min(value[pair] for pair in found)
    for here in decided:  # a prompt whose every possible pair is better than one that was kept has its pair kept
        mine = [value[pair] for pair in value if pair[0] in here]
        if min(mine) > kept:
            assert any(pair[0] in here for pair in found)


@pytest.mark.parametrize("name", ["dpo", "rlaif", "slic-hf"])
def test_a_pair_is_shown_in_both_orders(tmp_path, name):
    with world() as (asked, base_url):
        run_method(name, tmp_path / "run", base_url, prompts=2)
    shown = [tuple(seen) for seen in asked.shown]
    assert sorted(shown) == sorted(seen[::-1] for seen in shown)


def test_a_ranked_list_is_shown_in_different_orders(tmp_path):
    with world() as (asked, base_url):
        run_method("nectar", tmp_path / "run", base_url, prompts=1)
    one, other = asked.shown
    assert one != other
    assert sorted(one) == sorted(other)


def test_a_share_of_the_pool_of_annotators_errs_on_purpose(tmp_path):
    with world() as (_, base_url):
        _, run = run_method("alpacafarm", tmp_path / "run", base_url, prompts=64)
    flipped, heard = 0, set()
    for here, examples in of_prompts(run):
        by_a_noisy_annotator(here, examples)
        heard |= {said["evaluator"] for row in here.values() for said in row["said"]}
        flipped += any(said["rationale"].startswith("[flipped") for row in here.values() for said in row["said"])
    assert heard == {f"annotators:{name}" for name in ("careful", "hurried", "strict", "generous")}
    assert abs(flipped / 64 - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 64)


def test_pairs_that_may_as_well_be_the_other_way_are_dropped_and_close_ones_weigh_less(tmp_path):
    with world() as (_, base_url):
        _, run = run_method("upo", tmp_path / "run", base_url, prompts=64)
    weights = []
    for here, examples in of_prompts(run):
        sure_pairs_weighed(here, examples)
        weights += [example["weight"] for example in examples]
    assert 0.95 <= min(weights) < 0.99 < max(weights)
    assert len(weights) < 64


def test_rubrics_that_tell_nothing_apart_are_thrown_away(tmp_path):
    with world() as (_, base_url):
        _, run = run_method("openrubrics", tmp_path / "run", base_url, prompts=64)
    outcomes = Counter()
    for here, examples in of_prompts(run):
        by_a_rubric_that_tells_them_apart(here, examples)
        outcomes[len(examples), *sorted({said["status"] for row in here.values() for said in row["said"]})] += 1
    assert outcomes[1, "ok"] > 40
    assert outcomes[0, "failed"] > 0


def test_a_method_may_be_told_by_its_place_alone():
    places = {name: tp.load_recipe(name).method.place for name in METHODS}
    assert places["grpo"].form == "group"
    assert places["ultrafeedback"].dimensions == "several"
    assert {place.source for place in places.values()} == {"offline", "online", "mixed"}


def test_each_who_judges_is_found_in_some_methods_and_none_in_all():
    judging = {name: tp.load_recipe(name).method.place.adjudicator for name in METHODS}
    assert all(judging.values())  # a recipe of one's own may leave it out
    found = Counter(each for judges in judging.values() for each in set(judges))
    assert set(found) == {"human", "judge", "self", "reward_model", "implicit", "verifier", "given"}
    assert max(found.values()) < len(METHODS)
    assert sum(found.values()) == sum(map(len, judging.values())), "nobody is named twice"
    assert set(judging["dpo"]) == {"human", "judge"}
    assert set(judging["constitutional-ai"]) == {"self", "judge"}
    assert judging["self-rewarding"] == ("self",)
    assert "verifier" in judging["grpo"]
    assert judging["simpo"] == ("reward_model",)
    assert judging["spin"] == ("given",)


def test_who_judges_is_named_plainly_or_in_a_list_and_is_somebody():
    place = tp.load_recipe("spin").method.place
    other = place.model_dump(exclude={"adjudicator"})
    assert type(place)(**other, adjudicator="given") == type(place)(**other, adjudicator=["given"]) == place
    for nobody in ([], "", "oracle", None):
        with pytest.raises(ValidationError):
            type(place)(**other, adjudicator=nobody)


def answering(name):
    """The models that answer the prompts of a recipe, or `given`."""
    made = yaml.safe_load(find_recipe(name).read_text())["synthesis"]
    models = [each.get("model", "given") for each in (made if isinstance(made, list) else [made])]
    return {model for each in models for model in (each if isinstance(each, list) else [each])}


@pytest.mark.parametrize("name", METHODS)
def test_what_a_recipe_says_of_its_method_holds_together(name):
    method = tp.load_recipe(name).method
    survey = method.survey or {}
    assert set(survey) <= set(type(method.place).model_fields)
    assert all(getattr(method.place, axis) != value for axis, value in survey.items())
    assert_known_to_trl(method.trl)
    assert (
        method.place.source != "offline" or answering(name) != {"policy"} or "the policy's own" in method.approximated
    )
    assert re.match(r"(Pairs|Lists|Groups|Binary rows|Regression rows|Rows to imitate|Step rows): ", method.data)


CLASSIFIED = {
    "offline/random/none outcome/one point": "kto ppo:online wpo wrpo",
    "offline/random/none outcome/one pair": "dpo simpo orpo ipo",
    "offline/random/none outcome/one group": "rrhf pro lipo ppa",
    "offline/random/none outcome/several point": "meta-rater steerlm helpsteer2 prometheus",
    "offline/random/none step/one point": "omegaprm genrm versaprm math-shepherd",
    "offline/random/none atomic/one pair": "tis-dpo aspo tdpo",
    "offline/margin/none outcome/one pair": "bees mmpo alpha-dpo",
    "offline/random/spanning outcome/one point": "spectrum-tuning",
    "online/random/none outcome/one pair": "iterative-dpo spin selm",
    "online/margin/none outcome/one pair": "rs-dpo",
    "online/random/none outcome/one group": "sppo grpo",
    "online/uncertainty/none outcome/one pair": "apl maple upo",
    "online/uncertainty/none step/one pair": "iupo",
    "online/uncertainty/none outcome/several pair": "udasa",
    "online/random/verbalized outcome/one pair": "verbalized-sampling",
    "online/margin/diversity outcome/one pair": "divpo",
    "online/random/multi_signal outcome/several pair": "crpo",
}
"""The survey's own table of 41 methods: source, selection, exploration; granularity, dimensions; form."""


def test_the_surveys_table_is_that_of_the_recipes_with_its_labels_where_they_differ():
    wanted = {}
    for place, names in CLASSIFIED.items():
        for name, _, source in (each.partition(":") for each in names.split()):
            wanted[name] = f"{source}/{place.partition('/')[2]}" if source else place
    assert len(wanted) == 41
    found = {}
    for name in METHODS:
        method = tp.load_recipe(name).method
        if method.survey is not None:
            on = method.place.model_dump() | method.survey
            found[name] = "{source}/{selection}/{exploration} {granularity}/{dimensions} {form}".format(**on)
    assert found == wanted


def assert_known_to_trl(settings):
    """Every trainer, field and loss is one of TRL's; the last release but its own fields are all that is known here."""
    if not settings:
        return
    known, trainer = json.loads((DATA / "trl_settings.json").read_text()), settings["trainer"]
    assert {*settings} - {"trainer"} <= {*known["settings"][trainer]["fields"]}
    losses = settings.get("loss_type", [])
    assert {*([losses] if isinstance(losses, str) else losses)} <= {*known["losses"].get(trainer, [])}
    assert trainer_of(settings)[1] == known["settings"][trainer]["module"]


@pytest.mark.parametrize(("name", "command"), [("cdpo", "trl dpo"), ("simpo", None)])
def test_an_export_says_how_its_method_is_trained(tmp_path, name, command):
    with world() as (_, base_url):
        recipe, run = run_method(name, tmp_path / "run", base_url)
    export_trl(run, tmp_path / "out")
    written = (tmp_path / "out/trl.yaml").read_text()
    wanted = {key: value for key, value in recipe.method.trl.items() if key != "trainer"}
    settings = yaml.safe_load(written)
    if command:
        pairs = run.examples().collect().height
        assert load_dataset(settings.pop("dataset_name"))["train"].num_rows == pairs > 0
    assert settings == wanted
    assert (command or "trl.experimental.cpo.CPOTrainer") in written
    card = (tmp_path / "out/README.md").read_text()
    assert f"{recipe.method.trl['trainer']}(model=" in card
    assert all(f"{key}={value!r}" in card for key, value in wanted.items())


def test_the_method_is_no_part_of_a_recipes_identity():
    dpo = tp.load_recipe("dpo")
    assert dpo.id == dpo.model_copy(update={"method": None}).id


def triptych(*arguments):
    done = subprocess.run([sys.executable, "-m", "triptych", *arguments], capture_output=True, text=True, check=False)
    return done


def test_methods_are_listed_by_their_place_shown_and_used(tmp_path):
    listed = triptych("methods", "--form", "group", "--source", "online").stdout
    assert "grpo" in listed
    assert "dpo " not in listed
    assert "operators" not in listed
    judged = json.loads(triptych("methods", "--adjudicator", "human", "--form", "pair", "--json").stdout)["recipes"]
    assert {"dpo", "instructgpt"} <= set(judged), "of several who judge each is found"
    assert {"simpo", "kto"}.isdisjoint(judged), "another judges, and another form"
    assert "human/judge" in triptych("methods", "--adjudicator", "judge").stdout
    assert "adjudicator human/judge" in triptych("methods", "show", "dpo").stdout
    shown = triptych("methods", "show", "clair").stdout
    assert "1 synthesis" in shown
    assert "2 calls: 1 of policy (sample), 1 of judge (revise)" in shown
    assert "TRL" in shown
    (tmp_path / "mine.yaml").write_text(triptych("methods", "use", "clair").stdout)
    assert tp.load_recipe(tmp_path / "mine.yaml") == tp.load_recipe("clair")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("oaif", "4 calls, at most 6: 2 of policy (sample), 2 of judge (pairwise); in each of 10 rounds"),
        ("nash-md", "1 of policy (sample), 0.5 of policy (sample), 0.5 of reference (sample), 2 of judge"),
        (
            "eva",
            "8 calls, at most 12: 4 of policy (sample), 4 of judge (rubric); in each of the 2 later rounds 36 calls",
        ),
        ("spin", "1 call: 1 of policy (sample); in each of 4 rounds"),
        ("apl", "responses with log-probabilities"),
        ("wpo", "log-probabilities of given texts of policy"),
        ("tis-dpo", "log-probabilities of given texts of policy"),
        ("rto", "log-probabilities of given texts of tuned and policy"),
        ("versaprm", "prompts with a reference"),
    ],
)
def test_what_a_prompt_costs_in_a_round_and_what_a_method_needs_is_shown(name, said):
    assert said in " ".join(triptych("methods", "show", name).stdout.split())


@pytest.mark.parametrize("command", ["show", "use"])
def test_a_method_that_is_not_there_is_an_error_that_names_the_near_one(command):
    done = triptych("methods", command, "dqo")
    assert done.returncode == 2
    assert "did you mean 'dpo'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("called", "name"),
    [("DPO", "dpo"), ("WebGPT", "summarize-from-feedback"), ("rewarded soups", "personalized-soups")],
)
def test_a_method_is_found_by_its_name_in_capitals_and_by_that_of_another_whose_data_flow_alike(called, name):
    assert triptych("methods", "use", called).stdout == find_recipe(name).read_text()
    assert triptych("methods", "show", called).stdout.startswith(f"{name}: ")


def test_a_folder_that_is_called_like_a_method_does_not_stand_in_its_way(tmp_path, monkeypatch):
    """Such as that of an earlier run: triptych run dpo --out dpo."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dpo").mkdir()
    assert tp.load_recipe("dpo").method.title.startswith("Direct Preference Optimization")
    assert triptych("methods", "use", "dpo").stdout == find_recipe("dpo").read_text()
    (tmp_path / "kto").write_text(find_recipe("dpo").read_text())
    assert tp.load_recipe("kto").name == "dpo", "a file is what its path says"
    assert triptych("methods", "show", "kto").stdout.startswith("kto: KTO"), "methods are those that come with Triptych"


def shorter(operators):
    """Operators with answers of 40 tokens, verdicts of 120, and few responses: so small a model may talk for a long time."""
    for operator in operators:
        if "model" in operator:
            operator["max_tokens"] = 120 if "criteria" in operator else 40
        for field in operator.keys() & {"n", "keep"}:
            operator[field] = min(operator[field], 3)
        shorter(value for value in operator.values() if isinstance(value, dict))


def means(said, step):
    """The mean place on its scale of what is said of each response, as a whole or of its steps, by plain Python."""
    of = defaultdict(list)
    for one in said:
        if one["status"] != "ok" or (one["step"] is not None) != step:
            continue
        if one["scores"] is not None:
            low, high = one["scale"]
            places = [(score - low) / (high - low) for score in one["scores"]]
        else:
            places = [sum(other > rank for other in one["ranks"]) / (len(one["ranks"]) - 1) for rank in one["ranks"]]
        for response, place in zip(one["response_ids"], places, strict=True):
            of[response].append(place)
    return {response: fmean(places) for response, places in of.items()}


def a_pair_where_they_differ(here, said):
    unread = {frozenset(one["response_ids"]) for one in said if one["status"] != "ok" and len(one["response_ids"]) == 2}
    found = means([one for one in said if frozenset(one["response_ids"]) not in unread], step=False)
    return 1 if max(found.values(), default=0) - min(found.values(), default=0) > 1e-9 else 0


def a_pair_by_their_parts(here, said):
    found = means(said, step=True)
    return 1 if max(found.values()) - min(found.values()) > 1e-9 else 0


def one_for_each_score(here, said):
    return len(means(said, step=False))


def one_of_all(here, said):
    return 1 if len(means(said, step=False)) > 1 else 0


def one_for_each_with_parts(here, said):
    return len(means(said, step=True))


def two_by_two(here, said):
    """As many as two by two differ, in whichever order they are drawn; at least so many as in the worst."""
    scores = list(means(said, step=False).values())
    drawn = [zip(order[::2], order[1::2], strict=False) for order in permutations(scores)]
    return {sum(abs(one - other) > 1e-9 for one, other in pairs) for pairs in drawn}


def so_many(number):
    return lambda here, said: number


SHAPES = {
    "dpo": ("pair", a_pair_where_they_differ),
    "kto": ("unpaired", one_for_each_score),
    "grpo": ("group", one_of_all),
    "constitutional-ai": ("sft", so_many(2)),
    "constitutional-ai-rl": ("pair", a_pair_where_they_differ),
    "spin": ("pair", so_many(1)),
    "clair": ("pair", so_many(1)),
    "nectar": ("ranking", one_of_all),
    "prm800k": ("stepwise", one_for_each_with_parts),
    "rso": ("pair", two_by_two),
    "acpo": ("pair", a_pair_by_their_parts),
    "self-instruct": ("sft", lambda here, said: sum(row["status"] == "ok" for row in here)),
}
"""Methods of different shape: what their examples are, and how many a prompt's responses and verdicts are to give. Pairs by
two orders, binary rows, groups, revisions, one order and a drawn criterion by log-probabilities, rounds, an edit, lists,
steps, a search that asks a judge, sentences, new prompts."""


def run_of_shape(name, folder, models):
    """Run a method with few and short answers; of one in rounds, the first."""
    content = yaml.safe_load(find_recipe(name).read_text())
    content["models"] |= {model: models(model) for model in content["models"] if models(model)}
    shorter([*content["synthesis"], *content["evaluation"]])
    recipe = parse_recipe(yaml.safe_dump(content))
    assert (name == "spin") == (recipe.loop is not None)
    try:
        return tp.run(recipe, folder, limit=2)
    except AwaitsPolicy:
        return tp.open_run(folder)


def made_as_it_should(name, run):
    """Whether each prompt has as many examples as its responses and verdicts are to give; gives their number."""
    kind, wanted = SHAPES[name]
    tables = [table.collect() for table in (run.responses(), run.judgements(), run.examples())]
    assert set(tables[2]["kind"]) <= {kind}
    for prompt in run.prompts().collect()["id"]:
        here, said, made = (list(table.filter(prompt_id=prompt).iter_rows(named=True)) for table in tables)
        should = wanted(here, said)
        assert len(made) in (should if isinstance(should, set) else {should})
    return tables[2].height


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_expected_of_methods_of_different_shape_is_what_an_endpoint_gets(tmp_path, name):
    """So that what the embedded model gets, of which nobody knows beforehand what it says, can be held against it."""
    with world() as (_, base_url):
        endpoint = {"backend": "openai", "base_url": base_url, "logprobs": True}
        run = run_of_shape(name, tmp_path / "run", lambda model: endpoint | {"model": model})
    assert made_as_it_should(name, run) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_methods_of_different_shape_run_on_the_embedded_model(tmp_path, name):
    pytest.importorskip("xllamacpp", reason="needs triptych[embedded]")
    run = run_of_shape(name, tmp_path / "run", lambda model: None)
    assert run.manifest.status == "finished"
    assert set(run.responses().collect()["status"]) == {"ok"}
    assert set(run.judgements().collect()["status"]) <= {"ok", "unparsed"}
    made_as_it_should(name, run)
