"""Whole runs over steps, against an endpoint that solves in steps whose correctness can be seen."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from hashlib import blake2b
from itertools import accumulate

import polars as pl
import pytest

import triptych as tp
from triptych.parts import parts
from world import World, world

STEPS, PROMPTS = 6, 5
BEGUN = re.compile(r"<response (\w+)>\n(.*?)\n</response \1>", re.DOTALL)
PART = re.compile(r"<part (\w+)>\n(.*?)\n</part \1>", re.DOTALL)

CHECK = {"kind": "verify", "use_prompt": False, "final_answer": True}
SAMPLE = {"kind": "sample", "model": "policy", "n": 4}
BISECT = {"kind": "rollouts", "model": "sure", "check": CHECK, "n": 1, "find": "first_error"}
BRANCH = {"kind": "branch", "model": "policy", "evaluator": BISECT, "n": 3}


class Stepped(World):
    """`sure` never slips; `policy` slips now and then; who slipped ends wrong. The judge sees slips in what is shown."""

    def _say(self, body, text):
        if "response_format" in body:
            judged = PART.search(text)[2] if PART.search(text) else BEGUN.search(text)[2]
            return "judge", {
                "message": {"content": json.dumps({"rationale": "r", "score": 1 if "slip" in judged else 5})}
            }
        begun = BEGUN.search(text)
        before = begun[2] if begun else ""
        lines = []
        for number in range(before.count("Step ") + 1, STEPS + 1):
            drawn = blake2b(f"{body.get('seed')} {text} {number}".encode(), digest_size=1).digest()[0]
            slips = body["model"] == "policy" and drawn % 4 == 0
            lines.append(f"Step {number}: {'a slip' if slips else 'fine'}, {drawn}.")
        end = 7 if "slip" in before + str(lines) else 42
        said = "\n".join([*lines, f"The answer is {end}."])
        return "continue" if begun else "sample", {"message": {"content": said}}


def recipe(base_url, synthesis, evaluation=(), instantiation=(), **more):
    models = {
        name: {"backend": "openai", "model": name, "base_url": base_url, "price": {"input": 1, "output": 1}}
        for name in ("policy", "sure", "judge")
    }
    content = {
        "name": "steps",
        "models": models,
        "prompts": {
            "kind": "inline",
            "prompts": [{"prompt": f"Problem {i}", "reference": "42"} for i in range(PROMPTS)],
        },
        "synthesis": synthesis,
        "objective": {"criteria": {"sound": {"text": "The step is sound."}}},
        "evaluation": evaluation,
        "instantiation": instantiation,
    }
    return tp.Recipe.model_validate(content | more)


def texts(run):
    return {row["id"]: row["messages"][-1]["content"] for row in run.responses().collect().iter_rows(named=True)}


def right(text):
    """Whether all is right up to the end of each step."""
    steps = [text[start:end] for start, end in parts(text, "step")]
    return [float(whole) for whole in accumulate(("slip" not in step for step in steps), lambda a, b: a and b)]


@pytest.fixture(scope="module")
def served():
    with world(Stepped()) as found:
        yield found


def counted(asked, what):
    """What was asked of the endpoint while doing it."""
    before = asked.asked.copy()
    done = what()
    return done, asked.asked - before


def test_labels_by_rollouts_are_what_the_steps_are(tmp_path, served):
    asked, base_url = served
    rollouts = {"kind": "rollouts", "model": "sure", "check": CHECK, "n": 2}
    one = recipe(base_url, SAMPLE, rollouts, {"kind": "stepwise"})
    run, calls = counted(asked, lambda: tp.run(one, tmp_path / "run"))
    said, rows = texts(run), run.examples().collect()
    assert rows.height == len(said) == 4 * PROMPTS
    for row in rows.iter_rows(named=True):
        assert row["kind"] == "stepwise"
        assert row["labels"] == right(said[row["response_ids"][0]])
    assert {0.0, 1.0} == {*rows["labels"].explode()}
    assert calls == {("policy", "sample"): 4 * PROMPTS, ("sure", "continue"): 4 * PROMPTS * (STEPS - 1) * 2}
    assert sum(calls.values()) <= tp.plan(one).most_calls
    shown = subprocess.run(
        [sys.executable, "-m", "triptych", "show", tmp_path / "run", "1"], capture_output=True, text=True, check=True
    ).stdout
    first = rows.row(0, named=True)
    labels = " ".join(f"{label:g}" for label in first["labels"])
    assert f"parts of #1 {first['response_ids'][0]}, labelled {labels}\n" in shown
    assert "step by rollouts  of #1, step 2\n" in shown
    located = run.judgements().collect()
    for row in located.iter_rows(named=True):
        part = said[row["response_ids"][0]][row["step"]["start"] : row["step"]["end"]]
        assert part.startswith(f"Step {row['step']['index'] + 1}:")
    paid = located["cost_usd"].sum() + run.responses().collect()["cost_usd"].sum()
    assert paid == pytest.approx(run.manifest.spent["usd"])


def test_labels_by_bisection_stop_at_the_first_error(tmp_path, served):
    asked, base_url = served
    one = recipe(base_url, SAMPLE, BISECT, {"kind": "stepwise"})
    run, calls = counted(asked, lambda: tp.run(one, tmp_path / "run"))
    said = texts(run)
    for row in run.examples().collect().iter_rows(named=True):
        whole = right(said[row["response_ids"][0]])
        assert row["labels"] == (whole[: whole.index(0.0) + 1] if 0.0 in whole else whole)
    wrong = sum(0.0 in right(text) for text in said.values())
    assert 0 < calls["sure", "continue"] <= 3 * wrong


def test_a_rubric_on_steps_gives_the_same_kind_of_rows(tmp_path, served):
    asked, base_url = served
    rubric = {"kind": "rubric", "model": "judge", "criteria": ["sound"], "unit": "step"}
    one = recipe(base_url, SAMPLE, rubric, [{"kind": "stepwise"}, {"kind": "sft", "fold": "min"}])
    run, calls = counted(asked, lambda: tp.run(one, tmp_path / "run"))
    said, rows = texts(run), run.examples().collect()
    for row in rows.filter(kind="stepwise").iter_rows(named=True):
        (text,) = (said[each] for each in row["response_ids"])
        assert row["labels"] == [float("slip" not in text[start:end]) for start, end in parts(text, "step")]
    assert calls["judge", "judge"] == 4 * PROMPTS * STEPS <= tp.plan(one).most_calls
    for row in rows.filter(kind="sft").iter_rows(named=True):
        here = run.responses().filter(pl.col("prompt_id") == row["prompt_id"]).collect()["id"]
        whole = {each: "slip" not in said[each] for each in here}
        assert any(whole.values()) == whole[row["response_ids"][0]]


def test_step_dpo_pairs_a_right_step_with_the_wrong_one_after_the_same_beginning(tmp_path, served):
    asked, base_url = served
    pairs = {"kind": "pairs", "choose": "all_pairs", "within": "prefix"}
    one = recipe(base_url, [SAMPLE, BRANCH], CHECK, pairs)
    run, calls = counted(asked, lambda: tp.run(one, tmp_path / "run"))
    said, rows = texts(run), {row["id"]: row for row in run.responses().collect().iter_rows(named=True)}
    branches = [row for row in rows.values() if row["generator"] == "branch"]
    wrong = [row for row in rows.values() if row["generator"] == "sample" and 0.0 in right(said[row["id"]])]
    assert len(branches) == 3 * len(wrong) > 0
    asked_anew = calls["policy", "sample"] - 4 * PROMPTS  # of those that are wrong from their first step on
    assert asked_anew > 0
    assert asked_anew + calls["policy", "continue"] == len(branches)
    assert len({said[row["id"]] for row in branches}) > 0.9 * len(branches)
    for branch in branches:
        parent, prefix = said[branch["parent_id"]], json.loads(branch["params"])["prefix"]
        first = right(parent).index(0.0)
        assert prefix == parts(parent, "step")[first].start
        assert said[branch["id"]].startswith(parent[:prefix])
    made = run.examples().collect()
    assert made.height > 0
    for chosen, rejected in made["response_ids"].to_list():
        assert "slip" not in said[chosen]
        assert "slip" in said[rejected]
        prefix = json.loads(rows[chosen]["params"])["prefix"]
        assert said[chosen][:prefix] == said[rejected][:prefix]
        family = {rows[chosen]["parent_id"]}
        assert {rejected, rows[rejected]["parent_id"]} & family


def test_a_search_steered_by_the_check_finds_more_than_sampling_and_replays_for_nothing(tmp_path, served):
    asked, base_url = served
    grow = {"kind": "search", "model": "policy", "evaluator": CHECK, "how": "mcts", "rounds": 6, "branching": 2}
    one = recipe(base_url, grow, CHECK, {"kind": "pairs", "choose": "all_pairs", "within": "prefix"})
    run, calls = counted(asked, lambda: tp.run(one, tmp_path / "run"))
    assert sum(calls.values()) == run.responses().collect().height <= tp.plan(one).calls
    again, nothing = counted(asked, lambda: tp.run(one, tmp_path / "again", calls=tmp_path / "run/calls.sqlite"))
    assert not nothing
    assert again.responses().collect()["id"].to_list() == run.responses().collect()["id"].to_list()
    assert again.examples().collect()["id"].to_list() == run.examples().collect()["id"].to_list()


def test_what_steered_branches_is_not_paid_for_again_where_the_same_judges(tmp_path, served):
    asked, base_url = served
    without, with_it = (recipe(base_url, [SAMPLE, BRANCH], judges) for judges in ([CHECK], [CHECK, BISECT]))
    _, calls = counted(asked, lambda: tp.run(without, tmp_path / "without"))
    run, more = counted(asked, lambda: tp.run(with_it, tmp_path / "with"))
    branches = run.responses().collect().filter(generator="branch")
    wrong = sum("slip" in message[-1]["content"] for message in branches["messages"].to_list())
    assert calls["sure", "continue"] <= more["sure", "continue"] <= calls["sure", "continue"] + 3 * wrong
    (first_errors,) = {name for name in run.judgements().collect()["evaluator"] if name == "rollouts"}
    assert first_errors == "rollouts"
