"""Loops: rounds with a policy that is refreshed in between, by an endpoint or by a training command."""

import json
import subprocess
import sys

import polars as pl
import pytest
from pydantic import ValidationError

import triptych as tp
from triptych.errors import AwaitsPolicy, BudgetReached, RunFolderError, TrainingFailed
from triptych.export.trl import export_trl
from world import quality, world

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
        ({"rounds": 2, "prompts": [{"kind": "examples", "name": "maths"}] * 2}, "2 sources for the 1 rounds"),
        ({"rounds": 2, "prompts": {"kind": "runs"}}, "'runs'"),
        ({"rounds": 2, "evolution": {"kind": "evolve", "model": "polcy"}}, "did you mean 'policy'"),
        ({"rounds": 2, "replay": 1.5}, "less than or equal to 1"),
    ],
)
def test_a_loop_that_does_not_fit_says_so(loop, said):
    with pytest.raises(ValidationError, match=said):
        looped("http://127.0.0.1:1/v1", loop)


def rounds(out, count):
    return [tp.open_run(out / f"round-{number}") for number in range(1, count + 1)]


def gap_of(run):
    """The gap between the best and the worst response to each prompt, from 1 to 10 as the judge rounds it."""
    scores = {}
    for row in run.responses().collect().iter_rows(named=True):
        scores.setdefault(row["prompt_id"], []).append(round(1 + 9 * quality(row["messages"][-1]["content"]) / 10))
    return {prompt_id: max(some) - min(some) for prompt_id, some in scores.items()}


def test_later_rounds_evolve_the_prompts_that_the_round_before_found_informative(tmp_path):
    """12 prompts; of the quarter with the largest gaps 2 new ones each, and itself; and again."""
    loop = {
        "rounds": 3,
        "prompts": {"kind": "run", "path": "{run}", "by": "gap", "share": 0.25},
        "evolution": {"kind": "evolve", "model": "policy", "n": 2, "keep": True},
    }
    with world() as (asked, base_url):
        recipe = looped(base_url, loop | {"next": declared(base_url, "second", "third")})
        planned = tp.plan(recipe, limit=12)
        tp.run(recipe, tmp_path / "run", limit=12)
    first, second, third = rounds(tmp_path / "run", 3)
    assert [run.manifest.prompts for run in (first, second, third)] == [12, 9, 9]
    assert [asked.asked[model, "evolve"] for model in ("policy", "second", "third")] == [0, 6, 6]
    for before, after, author in ((first, second, "second round-2"), (second, third, "third round-3")):
        taken = after.prompts().collect()
        sources = [row["id"] for row in taken.iter_rows(named=True) if row["id"] in gap_of(before)]
        assert sources == [each for each in gap_of(before) if each in {*sources}], "in the order of the round before"
        assert min(gap_of(before)[each] for each in sources) >= max(
            gap for each, gap in gap_of(before).items() if each not in sources
        )
        new = taken.filter(~pl.col("id").is_in(sources))
        assert new["parent_id"].to_list() == [each for each in sources for _ in range(2)]
        assert set(new["source"]) == {f"evolve by {author}"}
    # 12 prompts in the first round; 3 rows of 3 prompts in the second, 9 * 0.25 = 2.25 rows of 3 in the third.
    assert {stage.stage: stage.calls for stage in planned.stages} == {
        "synthesis.0 sample": 4 * (12 + 9) + 27,
        "evaluation.0 rubric": 4 * (12 + 9) + 27,
        "loop.evolution.0 evolve": 2 * 3 + 4,  # 4.5 is rounded to even
    }


def test_rounds_may_go_through_a_sequence_of_sources(tmp_path, trainer):
    sources = [{"kind": "examples", "name": "maths"}, {"kind": "inline", "prompts": ["One.", "Two.", "Three."]}]
    with world() as (_, base_url):
        recipe = looped(base_url, {"rounds": 4, "train": trainer, "prompts": sources, "prompts_per_round": 2})
        assert tp.plan(recipe).calls == 4 * 2 * 8
        tp.run(recipe, tmp_path / "run")
    taken = [[row["messages"][0]["content"] for row in run.prompts().collect().iter_rows(named=True)] for run in rounds(tmp_path / "run", 4)]  # fmt: skip
    assert taken[2:] == [["One.", "Two."]] * 2, "the last source goes on"
    maths = [row.prompt.text for row in tp.load_recipe("dapo").prompts.rows(tmp_path)]
    assert taken[1] == maths[:2]
    assert taken[0] != taken[1]


REPLAYED = """
import json, os, sys
rows = [json.loads(line) for line in open(os.environ["TRIPTYCH_EXPORT"] + "/train.jsonl")]
open(sys.argv[1] + "/rows.json", "w").write(json.dumps([[row.get("run"), row["example_id"]] for row in rows]))
"""


def test_a_share_of_earlier_rounds_is_trained_on_again_and_each_row_walks_back(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(REPLAYED)
    out = tmp_path / "run"
    with world() as (_, base_url):
        loop = {"rounds": 4, "train": f"{sys.executable} {script} {{trained}}", "replay": 0.3, "prompts_per_round": 10}
        recipe = looped(base_url, loop)
        tp.run(recipe, out)
        assert tp.load_recipe(out / "recipe.yaml") == recipe
        before = {file: file.read_bytes() for file in out.glob("round-*/replay.parquet")}
        tp.run(recipe, out)
        assert {file: file.read_bytes() for file in out.glob("round-*/replay.parquet")} == before
    ids = [run.examples().collect()["id"].to_list() for run in rounds(out, 4)]
    assert json.loads((out / "round-1/trained/rows.json").read_text()) == [[None, each] for each in ids[0]]
    remembered = {}
    for number in (2, 3):
        rows = json.loads((out / f"round-{number}/trained/rows.json").read_text())
        own = [example for run, example in rows if run == f"round-{number}"]
        assert own == ids[number - 1]
        for earlier in range(1, number):
            again = [example for run, example in rows if run == f"round-{earlier}"]
            assert len(again) == int(0.3 * len(ids[earlier - 1]) + 0.5)
            assert again == [each for each in ids[earlier - 1] if each in {*again}], "in the order of their round"
            assert remembered.setdefault(earlier, again) == again, "the same ones in every later round"
        assert [run for run, _ in rows] == sorted(
            (run for run, _ in rows), key=lambda run: (run != f"round-{number}", run)
        )
    assert remembered[1] != ids[0][: len(remembered[1])], "drawn, not the first ones"
    export_trl(tp.open_run(out), out / "export")
    card = (out / "export/README.md").read_text()
    assert f"| Examples replayed from round-1 | {len(remembered[1])} |" in card
    assert "| `run` |" in card


def test_another_seed_replays_others_and_no_replay_none(tmp_path, trainer):
    drawn = []
    with world() as (_, base_url):
        for seed, share in ((0, 0.5), (1, 0.5), (0, 0.0)):
            out = tmp_path / f"run-{seed}-{share}"
            recipe = looped(base_url, {"rounds": 2, "train": trainer, "replay": share}, seed=seed)
            drawn.append([each["example_id"].to_list() for each in [pl.read_parquet(file) for file in [tp.run(recipe, out, limit=20).path / "replay.parquet"] if file.exists()]])  # fmt: skip
            if share:
                again = tp.run(looped(base_url, {"rounds": 2, "train": trainer}, seed=seed), out, limit=20)
                assert not (again.path / "replay.parquet").exists(), "what was remembered goes with the setting"
    assert drawn[0] != drawn[1]
    assert drawn[2] == []


def test_a_round_that_is_gone_can_not_be_replayed_and_is_named(tmp_path, trainer):
    with world() as (_, base_url):
        out = tmp_path / "run"
        last = tp.run(looped(base_url, {"rounds": 2, "train": trainer, "replay": 1.0}), out, limit=5)
        out.rename(tmp_path / "moved")
        export_trl(tp.open_run(tmp_path / "moved"), tmp_path / "export")
        (tmp_path / "moved/round-1/run.json").unlink()
        with pytest.raises(RunFolderError, match="round-1 are to be replayed"):
            export_trl(tp.open_run(tmp_path / "moved/round-2"), tmp_path / "export")
    assert last.path == out / "round-2"


def test_a_round_without_pairs_of_its_own_trains_on_what_is_replayed(tmp_path):
    """The prompts of the second round have no contrast."""
    script = tmp_path / "train.py"
    script.write_text(REPLAYED)
    with world() as (_, base_url):
        loop = {"rounds": 3, "train": f"{sys.executable} {script} {{trained}}", "replay": 1.0, "prompts": {"kind": "inline", "prompts": [{"prompt": "Hm?", "responses": ["a"]}]}}  # fmt: skip
        given = {"kind": "inline", "prompts": [{"prompt": "Say.", "responses": ["Quality 1.", "Quality 9."]}]}
        tp.run(looped(base_url, loop, prompts=given, synthesis={"kind": "given"}), tmp_path / "run")
    ((run, _),) = json.loads((tmp_path / "run/round-2/trained/rows.json").read_text())
    assert run == "round-1"


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
