"""Loops: rounds with a policy that is refreshed in between, by an endpoint or by a training command."""

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

import triptych as tp
from triptych.errors import AwaitsPolicy, BudgetReached, RunFolderError, TrainingFailed
from world import world

TRAIN = """
import json, os, pathlib, sys
trained = pathlib.Path(sys.argv[1])
rows = [json.loads(line) for line in open(os.environ["TRIPTYCH_EXPORT"] + "/train.jsonl")]
(trained / "model.json").write_text(json.dumps({"pairs": len(rows), "round": os.environ["TRIPTYCH_ROUND"]}))
with open(trained.parent.parent / "trainings", "a") as file:
    file.write(os.environ["TRIPTYCH_ROUND"])
print("trained on", len(rows))
"""


def looped(base_url, loop, **more):
    policy = {"backend": "openai", "model": "policy", "base_url": base_url, "price": {"input": 100, "output": 100}}
    return tp.Recipe.model_validate(
        {
            "name": "iterative",
            "models": {"policy": policy, "judge": policy | {"model": "judge"}},
            "prompts": {"kind": "examples", "name": "everyday"},
            "synthesis": {"kind": "sample", "model": "policy", "n": 4},
            "objective": {"criteria": {"good": {"text": "It is good."}}},
            "evaluation": {"kind": "rubric", "model": "judge", "criteria": ["good"], "scale": [1, 10]},
            "instantiation": {"kind": "pairs"},
            "loop": loop,
        }
        | more
    )


def declared(base_url, *names):
    return [{"backend": "openai", "model": name, "base_url": base_url} for name in names]


@pytest.fixture
def trainer(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    return f"{sys.executable} {script} {{trained}}"


def test_a_loop_waits_for_each_policy_and_goes_on_with_it(tmp_path):
    out = tmp_path / "run"
    with world() as (asked, base_url):
        for names, waits_after in (((), 1), (("second",), 2)):
            with pytest.raises(AwaitsPolicy, match=f"round {waits_after} of 3 is complete") as raised:
                tp.run(looped(base_url, {"rounds": 3, "next": declared(base_url, *names)}), out, limit=5)
            assert raised.value.exit_code == 6
        whole = looped(base_url, {"rounds": 3, "next": declared(base_url, "second", "third")})
        last = tp.run(whole, out, limit=5)
        sampled = {model: count for (model, kind), count in asked.asked.items() if kind == "sample"}
        before = asked.asked.total()
        tp.run(whole, out, limit=5)
        assert asked.asked.total() == before
    assert sampled == {"policy": 20, "second": 20, "third": 20}
    assert last.path == out / "round-3"
    assert tp.open_run(out).path == last.path
    for number, name in enumerate(("policy", "second", "third"), start=1):
        made = tp.open_run(out / f"round-{number}").responses().collect()
        assert {*made["model"]} == {name}
        assert {*made["model_version"]} == ({""} if number == 1 else {f"round-{number}"})


def test_a_training_command_runs_once_on_what_the_round_made(tmp_path, trainer):
    out = tmp_path / "run"
    with world() as (asked, base_url):
        recipe = looped(base_url, {"rounds": 3, "train": trainer})
        tp.run(recipe, out, limit=5)
        assert asked.asked["policy", "sample"] == 60
        tp.run(recipe, out, limit=5)
        assert asked.asked["policy", "sample"] == 60
    assert (out / "trainings").read_text() == "23"
    for number in (1, 2):
        pairs = tp.open_run(out / f"round-{number}").examples().collect().height
        said = json.loads((out / f"round-{number}/trained/model.json").read_text())
        assert said == {"pairs": pairs, "round": str(number + 1)}
        assert f"trained on {pairs}" in (out / f"round-{number}/train.log").read_text()


def test_other_data_or_another_command_are_trained_on_anew(tmp_path, trainer):
    out = tmp_path / "run"
    with world() as (_, base_url):
        loop = {"rounds": 2, "train": trainer}
        tp.run(looped(base_url, loop), out, limit=5)
        tp.run(looped(base_url, loop, seed=1), out, limit=5)
        assert (out / "trainings").read_text() == "22"
        tp.run(looped(base_url, {"rounds": 2, "train": f"{trainer} --again"}, seed=1), out, limit=5)
    assert (out / "trainings").read_text() == "222"


def test_a_training_command_that_fails_costs_nothing_that_was_paid_for(tmp_path, trainer):
    out = tmp_path / "run"
    broken = f"{sys.executable} -c 'import sys; print(1 / 0)'"
    with world() as (asked, base_url):
        with pytest.raises(TrainingFailed, match="ended with 1"):
            tp.run(looped(base_url, {"rounds": 2, "train": broken}), out, limit=5)
        assert "ZeroDivisionError" in (out / "round-1/train.log").read_text()
        with pytest.raises(TrainingFailed, match="can't be started"):
            tp.run(looped(base_url, {"rounds": 2, "train": "/no/such/trainer"}), out, limit=5)
        assert asked.asked["policy", "sample"] == 20
        tp.run(looped(base_url, {"rounds": 2, "train": trainer}), out, limit=5)
        assert asked.asked["policy", "sample"] == 40


def test_the_trained_policy_may_lie_where_training_left_it(tmp_path, trainer):
    with world() as (asked, base_url):
        where = {"backend": "openai", "model": "{trained}/model", "base_url": base_url}
        out = tmp_path / "run"
        tp.run(looped(base_url, {"rounds": 2, "train": trainer, "next": where}), out, limit=2)
    assert asked.asked[f"{out.resolve()}/round-1/trained/model", "sample"] == 8


def test_rounds_may_take_prompts_of_their_own(tmp_path, trainer):
    recipe = looped("http://127.0.0.1:1/v1", {"rounds": 3, "train": trainer, "prompts_per_round": 4})
    assert tp.plan(recipe).calls == 12 * 8
    assert tp.plan(recipe, limit=3).calls == 9 * 8
    with world() as (_, base_url):
        recipe = looped(base_url, {"rounds": 3, "train": trainer, "prompts_per_round": 4})
        tp.run(recipe, tmp_path / "run")
    rounds = [tp.open_run(tmp_path / f"run/round-{number}").prompts().collect()["id"].to_list() for number in (1, 2, 3)]
    assert [len(ids) for ids in rounds] == [4, 4, 4]
    assert len({each for ids in rounds for each in ids}) == 12


def test_a_budget_is_that_of_all_rounds(tmp_path, trainer):
    out = tmp_path / "run"
    with world() as (asked, base_url):

        def within(calls):
            recipe = looped(base_url, {"rounds": 2, "train": trainer}, budget={"calls": calls})
            slow = recipe.models["policy"].model_copy(update={"concurrency": 2})
            return tp.Recipe(**(dict(recipe) | {"models": recipe.models | {"policy": slow}}))

        with pytest.raises(BudgetReached, match="budget is spent"):
            tp.run(within(50), out, limit=5)
        assert 50 <= asked.asked.total() < 60
        tp.run(within(80), out, limit=5)
        assert asked.asked["policy", "sample"] == 40


def test_a_plan_tells_of_all_rounds_and_of_the_command(tmp_path):
    recipe = looped("http://127.0.0.1:1/v1", {"rounds": 2, "train": "make-policy {export}"})
    plan = tp.plan(recipe, limit=5)
    assert plan.calls == 80
    assert any("make-policy {export}" in note for note in plan.notes)
    waiting = tp.plan(looped("http://127.0.0.1:1/v1", {"rounds": 2}))
    assert any("ends in order after round 1" in note for note in waiting.notes)


@pytest.mark.parametrize(
    ("loop", "said"),
    [
        ({"rounds": 1}, "greater than or equal to 2"),
        ({"rounds": 2, "refresh": "polcy"}, "did you mean 'policy'"),
        ({"rounds": 2, "train": "go {modle}"}, "{modle}"),
        ({"rounds": 2, "next": declared("http://a/v1", "b", "c")}, "2 policies for the 1 rounds"),
    ],
)
def test_a_loop_that_does_not_fit_says_so(loop, said):
    with pytest.raises(ValidationError, match=said):
        looped("http://127.0.0.1:1/v1", loop)


def test_a_folder_of_a_run_without_rounds_is_not_taken(tmp_path, trainer):
    with world() as (_, base_url):
        tp.run(looped(base_url, None), tmp_path / "run", limit=2)
        with pytest.raises(RunFolderError, match="without rounds"):
            tp.run(looped(base_url, {"rounds": 2, "train": trainer}), tmp_path / "run", limit=2)


def test_the_command_line_runs_and_shows_a_loop(tmp_path, trainer):
    with world() as (_, base_url):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(json.dumps(looped(base_url, {"rounds": 2}).model_dump(mode="json", exclude_defaults=True)))
        ran = triptych("run", recipe, "--out", tmp_path / "run", "--limit", 3)
        assert ran.returncode == 6
        assert "round 1 of 2 is complete" in ran.stderr
        assert "Traceback" not in ran.stderr
        ran = triptych("run", recipe, "--out", tmp_path / "run", "--limit", 3, "--set", f"loop.train={trainer}")
        assert ran.returncode == 0
    assert "round-2" in triptych("show", tmp_path / "run").stdout


def triptych(*arguments):
    command = [sys.executable, "-m", "triptych", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
