"""Examples made anew of verdicts that are there: the same as a run makes them, and without a call."""

from __future__ import annotations

import json
import subprocess
import sys

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import triptych as tp
from plain import plain_examples
from triptych.errors import OperatorFailed, RecipeError, RunFolderError
from triptych.recipes.recipe import Recipe
from triptych.records import make_example
from triptych.store.tables import records, schema
from verdict_tables import OBJECTIVE, tables
from world import world

RECIPE = """\
name: anew
models:
  policy: {{backend: openai, model: policy, base_url: "{url}"}}
  judge: {{backend: openai, model: judge, base_url: "{url}"}}
prompts: {{kind: examples, name: everyday}}
synthesis: {{kind: sample, model: policy, n: 4}}
objective:
  criteria:
    good: {{text: It is good., weight: 2}}
    short: {{text: It is short.}}
evaluation: {{kind: rubric, model: judge, criteria: [good, short], scale: [1, 10]}}
instantiation:
  - {{kind: pairs}}
  - {{kind: groups}}
"""


@pytest.fixture(scope="module")
def paid(tmp_path_factory):
    """A run, its recipe's text, and how many calls were made so far."""
    folder = tmp_path_factory.mktemp("paid")
    with world() as (asked, url):
        (folder / "recipe.yaml").write_text(RECIPE.format(url=url))
        run = tp.run(tp.load_recipe(folder / "recipe.yaml"), folder / "run")
        yield run, folder, lambda: sum(asked.asked.values())


@given(tables(), st.sampled_from([tp.Pairs(), tp.Groups(), tp.Unpaired()]), st.integers(0, 20))
@settings(deadline=None, max_examples=150)
def test_examples_are_those_of_the_same_rules_in_plain_python(made, form, seed):
    got = form.instantiate(*made.frames(), OBJECTIVE, seed).collect()
    wanted = plain_examples(form, made.responses, made.judgements, OBJECTIVE, seed)
    for one, other in zip(records("examples", got.iter_rows(named=True)), wanted, strict=True):
        assert one.response_ids == other.response_ids
        assert one.scores == pytest.approx(other.scores, abs=1e-11)
        assert one.labels == pytest.approx(other.labels, abs=1e-9)
        assert one.margin == (None if other.margin is None else pytest.approx(other.margin, abs=1e-11))
        assert (one.kind, one.weight, one.strategy, one.strategy_id) == (
            *(other.kind, other.weight, other.strategy, other.strategy_id),
        )
        assert set(one.judgement_ids) == set(other.judgement_ids)


texts, floats = st.lists(st.text(max_size=8), max_size=3), st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.fixed_dictionaries(
    {"prompt_id": st.text(max_size=8), "response_ids": texts, "judgement_ids": texts, "weight": floats}
    | {"scores": st.lists(floats, max_size=3), "labels": st.lists(floats, max_size=3), "margin": st.none() | floats}
)


@given(st.lists(ROWS, min_size=1, max_size=4), st.text(max_size=8))
@settings(deadline=None)
def test_an_example_has_the_id_that_its_content_has_elsewhere_whatever_texts_and_numbers_it_holds(rows, version):
    form, types = tp.Groups(), schema("examples")
    given = pl.LazyFrame(rows, schema={name: types[name] for name in rows[0]})
    got = form.as_examples(given, kind="group", strategy="mean_std", version=version).collect()
    shared = {"kind": "group", "strategy": "mean_std", "strategy_id": form.identity(), "objective_version": version}
    assert got["id"].to_list() == [make_example(**row, **shared).id for row in rows]


def test_what_goes_wrong_in_the_middle_is_told_as_it_is_and_leaves_no_half_of_a_table(paid, tmp_path):
    run, _, _ = paid
    said = []

    def stop(done, total):
        said.append(done)
        raise KeyError("stop here")

    with pytest.raises(KeyError, match="stop here"):
        tp.instantiate(run, tp.load_recipe(run.path / "recipe.yaml"), tmp_path / "anew", progress=stop)
    assert said
    assert not (tmp_path / "anew" / "examples.parquet").exists()
    assert not (tmp_path / "anew" / ".parts").exists()


def test_the_same_recipe_makes_the_same_bytes_and_no_call(paid, tmp_path):
    run, _, calls = paid
    before = calls()
    anew = tp.instantiate(run, tp.load_recipe(run.path / "recipe.yaml"), tmp_path / "anew")
    assert (anew.path / "examples.parquet").read_bytes() == (run.path / "examples.parquet").read_bytes()
    assert run.examples().collect().height > 0
    assert calls() == before


def test_several_instantiations_stand_as_in_a_run_beyond_one_part(tmp_path):
    prompts = [
        {
            "prompt": f"Is {n} even?",
            "constraints": [{"kind": "includes", "words": ["yes"]}],
            "responses": ["Yes.", "No."],
        }
        for n in range(2100)
    ]
    recipe = Recipe(
        name="many",
        prompts=tp.InlinePrompts(prompts=prompts),
        synthesis=tp.Given(),
        evaluation=tp.Verify(),
        instantiation=[tp.Pairs(), tp.Groups(), tp.Sft(length="residual")],
    )
    run = tp.run(recipe, tmp_path / "run")
    assert run.examples().collect()["kind"].rle().struct.field("value").to_list() == ["pair", "group"] * 3 + ["sft"]
    anew = tp.instantiate(run, recipe, tmp_path / "anew")
    assert (anew.path / "examples.parquet").read_bytes() == (run.path / "examples.parquet").read_bytes()


def test_other_weights_make_the_examples_that_a_run_with_them_makes(paid, tmp_path):
    run, folder, calls = paid
    before = calls()
    changed = tp.load_recipe(
        folder / "recipe.yaml", ["objective.criteria.good.weight=0", "instantiation.0.choose=all_pairs"]
    )
    anew = tp.instantiate(run, changed, tmp_path / "anew")
    replayed = tp.run(changed, tmp_path / "replayed", calls=run.calls_path)
    assert calls() == before
    assert anew.examples().collect().equals(replayed.examples().collect())
    assert not anew.examples().collect().equals(run.examples().collect())


def test_what_is_made_anew_can_be_shown_and_exported(paid, tmp_path):
    run, _, _ = paid
    done = _triptych(
        "instantiate", run.path, "--out", tmp_path / "anew", "--set", "instantiation.0.choose=all_pairs", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["manifest"]["verdicts_of"] == str(run.path.resolve())
    shown = _triptych("show", tmp_path / "anew", "1")
    assert "pair by all_pairs" in shown.stdout
    exported = _triptych("export", tmp_path / "anew", "--to", "trl")
    assert exported.returncode == 0, exported.stderr
    rows = pl.read_parquet(tmp_path / "anew/export/trl/pair/*.parquet")
    assert rows.height > run.examples().filter(kind="pair").collect().height


def test_a_criterion_that_says_something_else_than_was_judged_is_refused(paid, tmp_path):
    run, folder, _ = paid
    changed = tp.load_recipe(folder / "recipe.yaml", ["objective.criteria.short.text=It is brief."])
    with pytest.raises(RecipeError, match=r"objective\.criteria\.short: has another text than the one that was judged"):
        tp.instantiate(run, changed, tmp_path / "anew")
    assert not (tmp_path / "anew").exists()


def test_a_run_that_was_paid_for_is_never_written_over(paid, tmp_path):
    run, _, _ = paid
    recipe = tp.load_recipe(run.path / "recipe.yaml")
    for place in (run.path, run.path / "../run"):
        with pytest.raises(RunFolderError, match="holds a run that calls were made for"):
            tp.instantiate(run, recipe, place)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"notes\.txt"):
        tp.instantiate(run, recipe, tmp_path / "other")
    assert (tmp_path / "other/notes.txt").read_text() == "mine"


def _triptych(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "triptych", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_what_broke_off_is_taken_up_again_in_its_folder(paid, tmp_path, monkeypatch):
    run, folder, _ = paid
    recipe = tp.load_recipe(folder / "recipe.yaml")
    with monkeypatch.context() as patch:
        patch.setattr(tp.Pairs, "instantiate", lambda *_: 1 / 0)
        with pytest.raises(OperatorFailed, match="an instantiation of the recipe failed with ZeroDivisionError"):
            tp.instantiate(run, recipe, tmp_path / "again")
    assert tp.open_run(tmp_path / "again").manifest.status == "running"
    done = tp.instantiate(run, recipe, tmp_path / "again")
    assert done.manifest.status == "finished"
    assert done.examples().collect().equals(run.examples().collect())
