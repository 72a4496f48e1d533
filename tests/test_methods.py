"""Each shipped method runs to its end, and does with the responses what its paper says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from datasets import load_dataset

import triptych as tp
from triptych.export.trainer import trainer_of
from triptych.export.trl import export_trl
from triptych.recipes.load import find_recipe, parse_recipe, shipped_recipes
from world import quality, world

DATA = Path(__file__).parent / "data"
PROMPTS = 6
METHODS = [name for name in shipped_recipes() if name != "quickstart"]


def run_method(name, folder, base_url, prompts=PROMPTS):
    """Run a shipped method with its models at `base_url`, each called by its name in the recipe."""
    content = yaml.safe_load(find_recipe(name).read_text())
    for model in content["models"]:
        logprobs = "logprobs" in json.dumps(content)
        content["models"][model] = {"backend": "openai", "model": model, "base_url": base_url, "logprobs": logprobs}
    recipe = parse_recipe(yaml.safe_dump(content))
    return recipe, tp.run(recipe, folder, limit=prompts)


def of_prompts(run):
    """The responses and the examples of each prompt."""
    responses, examples = run.responses().collect(), run.examples().collect()
    for prompt_id in run.prompts().collect()["id"]:
        here = {row["id"]: row for row in responses.filter(prompt_id=prompt_id).iter_rows(named=True)}
        for row in here.values():
            row["quality"] = quality(row["messages"][-1]["content"])
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


# name: calls of the policy and of the judge for a prompt, what the examples are, and what holds of each prompt
WANTED = {
    "bco": (4, 4, "unpaired", good_and_bad),
    "cdpo": (2, 2, "pair", best_against_worst),
    "clair": (1, 1, "pair", revised),
    "constitutional-ai": (5, 0, "sft", revisions_imitated),
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
    "rest-em": (32, 0, "sft", right_imitated),
    "rlaif": (2, 2, "pair", best_against_worst),
    "rlcd": (2, 0, "pair", from_to("positive", "negative")),
    "rloo": (4, 4, "group", against_the_others),
    "rrhf": (4, 5, "ranking", in_order),
    "rs-dpo": (8, 8, "pair", all_pairs_apart),
    "self-rewarding": (16, 0, "pair", best_against_worst),
    "simpo": (5, 5, "pair", best_against_worst),
    "slic-hf": (4, 12, "pair", best_against_worst),
    "spin": (1, 0, "pair", from_to("given", "policy")),
    "ultrafeedback": (4, 16, "pair", best_against_another),
    "west-of-n": (16, 16, "pair", best_against_worst),
    "zephyr": (4, 4, "pair", best_against_another),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_asks_whom_it_should_and_makes_of_it_what_its_paper_says(tmp_path, name):
    policy, judge, kind, holds = WANTED[name]
    with world() as (asked, base_url):
        recipe, run = run_method(name, tmp_path / "run", base_url)
    calls = {model: sum(n for (who, _), n in asked.asked.items() if who == model) for model in ("policy", "judge")}
    assert calls == {"policy": policy * PROMPTS, "judge": judge * PROMPTS}
    assert tp.plan(recipe, limit=PROMPTS).calls == sum(calls.values())
    assert set(run.examples().collect()["kind"]) == {kind}
    for here, examples in of_prompts(run):
        holds(here, examples)


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


def test_a_method_may_be_told_by_its_place_alone():
    places = {name: tp.load_recipe(name).method.place for name in METHODS}
    assert places["grpo"].form == "group"
    assert places["ultrafeedback"].dimensions == "several"
    assert {place.source for place in places.values()} == {"offline", "online", "mixed"}


@pytest.mark.parametrize("name", METHODS)
def test_what_a_recipe_says_of_its_method_holds_together(name):
    method = tp.load_recipe(name).method
    assert set(method.survey) <= set(type(method.place).model_fields)
    assert all(getattr(method.place, axis) != value for axis, value in method.survey.items())
    assert_known_to_trl(method.trl)
    assert re.match(r"(Pairs|Lists|Groups|Binary rows|Rows to imitate): ", method.data)


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
        assert load_dataset(settings.pop("dataset_name"))["train"].num_rows == PROMPTS
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
    shown = triptych("methods", "show", "clair").stdout
    assert "1 synthesis" in shown
    assert "2 calls: 1 of policy (sample), 1 of judge (revise)" in shown
    assert "TRL" in shown
    (tmp_path / "mine.yaml").write_text(triptych("methods", "use", "clair").stdout)
    assert tp.load_recipe(tmp_path / "mine.yaml") == tp.load_recipe("clair")


@pytest.mark.parametrize("command", ["show", "use"])
def test_a_method_that_is_not_there_is_an_error_that_names_the_near_one(command):
    done = triptych("methods", command, "dqo")
    assert done.returncode == 2
    assert "did you mean 'dpo'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["dpo", "kto", "grpo", "constitutional-ai", "spin", "rlcd", "clair", "nectar", "rlaif", "ultrafeedback"]
)
def test_methods_of_different_shape_run_on_the_embedded_model(tmp_path, name):
    pytest.importorskip("xllamacpp", reason="needs triptych[embedded]")
    content = yaml.safe_load(find_recipe(name).read_text())
    for operator in (*content["synthesis"], *content["evaluation"]):  # so small a model may talk for a long time
        if "model" in operator:
            operator["max_tokens"] = 40
    recipe = parse_recipe(yaml.safe_dump(content))
    run = tp.run(recipe, tmp_path / "run", limit=2)
    assert run.manifest.status == "finished"
    assert run.manifest.spent["calls"] >= tp.plan(recipe, limit=2).calls  # questions may be asked again
    assert set(run.responses().collect()["status"]) == {"ok"}
    judged = run.judgements().collect()
    assert set(judged["status"]) <= {"ok", "unparsed"}
    assert judged.height >= 2
