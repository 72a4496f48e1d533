"""What findings change in a recipe: each change as a diff that git applies, to a recipe that loads and has the change."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import polars as pl
import pytest
from click.testing import CliRunner

import triptych as tp
from triptych.app.cli import cli
from triptych.audit.audit import DIAGNOSTICS, audit
from triptych.audit.data import Data
from triptych.audit.diagnostic import ANY
from triptych.audit.evaluation.position import OrdersAsked
from triptych.audit.finding import Finding
from triptych.audit.instantiation.classes import balanced
from triptych.audit.intervals import Estimate
from triptych.audit.mitigations import judging, pairing, sampling, scoring, training
from triptych.audit.principles import found_in_recipe
from triptych.audit.report.changes import change, mended
from triptych.engines.instantiate import instantiate
from triptych.errors import RecipeError, TriptychError
from triptych.recipes.edit import edited
from triptych.recipes.load import known_recipes, parse_recipe, shipped_recipes
from triptych.recipes.write import recipe_yaml
from triptych.records import Message, make_example, make_judgement, make_prompt
from triptych.store.tables import frame

RECIPE = """\
name: r   # what it is called
# the trainer
method:
  title: t
  year: 2024
  place: {source: online, form: pair}
  data: "Pairs: some."
  trl: {trainer: DPOTrainer, beta: 0.1}
models:
  policy: {backend: openai, model: llama-8b, given_logprobs: vllm}  # to be trained
  reference: {backend: openai, model: llama-8b, version: first, given_logprobs: vllm}
  judge: {backend: openai, model: gpt-x, logprobs: true}
prompts: {kind: inline, prompts: [a, b]}
# who answers
synthesis:
  - {kind: sample, model: policy, n: 4, temperature: 0.7}  # cool
objective:
  criteria:
    helpful: {text: It helps.}
    safe:
      text: It harms nobody.
evaluation:
  - {kind: rubric, name: by, model: judge, criteria: [helpful, safe], scale: [1, 5]}
# what is made of it
instantiation:
  - {kind: pairs}
"""
PAIRWISE = "evaluation.0={kind: pairwise, name: by, model: judge, criteria: [helpful], both_orders: false, ties: true}"
COMPARED = "instantiation.0={kind: compared_pairs, contradictions: keep}"
STEPS = "evaluation.+={kind: rubric, name: steps, model: judge, criteria: [helpful], unit: step}"
CHECK = "{kind: verify, use_prompt: false, constraints: [{kind: words, min: 1}]}"
SECOND = "evaluation.+={kind: rubric, name: again, model: judge, criteria: [helpful], scale: [1, 7]}"
KTO = ["method.trl={trainer: KTOTrainer}", "instantiation.0={kind: unpaired}"]
LOOP = "loop={rounds: 2, replay: 0.1}"


def prompts(reference: str = "7") -> pl.LazyFrame:
    return frame("prompts", [make_prompt(messages=(Message("user", f"{n}?"),), reference=reference) for n in range(4)]).lazy()


def verdicts(by: str = "people", model: str | None = None) -> pl.LazyFrame:
    return frame(
        "judgements",
        [
            make_judgement(
                prompt_id=f"p_{n}", response_ids=(f"r_{n}",), criterion="helpful", criterion_id="c", evaluator=by, model=model,
                evaluator_id="o", scores=(n % 2,), scale=(0.0, 1.0),
            )
            for n in range(40)
        ],
    ).lazy()  # fmt: skip


def examples(kind: str, of_prompt: Callable[[int], int], label: Callable[[int], float] = lambda n: 1.0) -> pl.LazyFrame:
    rows = [
        make_example(
            kind=kind, prompt_id=f"p_{n}", response_ids=(f"r_{n}_{i}",), scores=(1.0,), labels=(label(n),), strategy="s",
            strategy_id="o", margin=None, weight=1.0, judgement_ids=(), objective_version="",
        )
        for n in range(9) for i in range(of_prompt(n))
    ]  # fmt: skip
    return frame("examples", rows).lazy()


class Case(NamedTuple):
    """A recipe that a mitigation changes, and what holds of it then and not before."""

    holds: Callable[[Any], Any]
    sets: tuple[str, ...] = ()
    subject: str = ""
    tables: Mapping[str, pl.LazyFrame] = {}


def kinds(panel: Any) -> list[str]:
    return [one.kind for one in panel]


def band(recipe: tp.Recipe, of: str) -> Any:
    return next((one for one in recipe.instantiation[0].keep if one.of == of), None)


PEOPLE = "evaluation.+={kind: verdicts, name: people, path: people.jsonl}"
CASES = {
    sampling.hotter: Case(lambda r: r.synthesis[0].temperature == (1.0,)),
    sampling.verbalized_too: Case(lambda r: r.synthesis[-1].kind == "verbalized" and r.synthesis[-1].model == "policy"),
    sampling.more_samples: Case(lambda r: r.synthesis[0].n == 8),
    sampling.until_contrast: Case(
        lambda r: r.synthesis[0].kind == "until_contrast" and r.synthesis[0].evaluator == r.evaluation[0] and r.synthesis[0].sampler.n == 4,
        subject="by",
    ),
    sampling.policy_too: Case(
        lambda r: {name for one in r.synthesis for name in one.model} == {"reference", "policy"},
        ("synthesis.0.model=reference",),
    ),
    sampling.policy_only: Case(
        lambda r: r.synthesis[0].model == ("policy",), ("synthesis.0.model=[reference, policy]",)
    ),
    sampling.longer: Case(lambda r: r.synthesis[0].max_tokens == 2048, subject="llama-8b"),
    sampling.stopped_at_marks: Case(lambda r: "<|im_end|>" in r.synthesis[0].stop, subject="llama-8b"),
    sampling.less_repetitive: Case(
        lambda r: r.models["policy"].extra_body == {"frequency_penalty": 0.5},
        ("models.policy.model=mine",),
        subject="mine",
    ),
    sampling.in_their_language: Case(lambda r: "language" in "".join(r.synthesis[0].system), subject="llama-8b"),
    sampling.with_final_answer: Case(lambda r: "final answer" in "".join(r.synthesis[0].system)),
    sampling.patient: Case(
        lambda r: (r.models["policy"].timeout_s, r.models["policy"].max_retries) == (240, 12), subject="llama-8b"
    ),
    judging.both_orders: Case(lambda r: r.evaluation[0].both_orders, (PAIRWISE,), subject="by"),
    judging.scored_too: Case(lambda r: kinds(r.evaluation) == ["pairwise", "rubric"], (PAIRWISE,), subject="by"),
    judging.ranked_at_once: Case(
        lambda r: r.evaluation[0].kind == "listwise" and r.evaluation[0].criteria == ("helpful",), (PAIRWISE,), "by"
    ),
    judging.finer_scale: Case(lambda r: r.evaluation[0].scale == (1, 10), subject="by: safe"),
    judging.expected_scores: Case(lambda r: r.evaluation[0].read == "logprobs", subject="by"),
    judging.without_ties: Case(lambda r: r.evaluation[0].ties is False, (PAIRWISE,), subject="by"),
    judging.repeated: Case(lambda r: (r.evaluation[0].repeats, r.evaluation[0].temperature) == (3, 0.7), subject="by"),
    judging.cooler: Case(
        lambda r: r.evaluation[0].temperature == 0, (PAIRWISE, "evaluation.0.temperature=0.9"), subject="by"
    ),
    judging.critique_first: Case(lambda r: r.evaluation[0].critic == "judge", subject="by: helpful"),
    judging.debated: Case(lambda r: getattr(r.evaluation[0], "advocate", "") == "judge", (PAIRWISE,), subject="by"),
    judging.another_judge: Case(
        lambda r: [one.model for one in r.evaluation] == ["judge", "third"] and r.instantiation[0].evaluators == ("by", "by-third"),
        ("models.third={backend: openai, model: mistral-x}", "instantiation.0.evaluators=[by]"),
    ),
    judging.verified_too: Case(
        lambda r: r.evaluation[-1].kind == "verify" and r.evaluation[-1].criterion == "helpful", tables={"prompts": prompts()}
    ),
    judging.final_answer_checked: Case(
        lambda r: r.evaluation[1].final_answer, (f"evaluation.+={CHECK}",), "verify", {"prompts": prompts()}
    ),
    judging.judged_by_steps_too: Case(
        lambda r: r.evaluation[-1].unit == "step" and r.instantiation[-1].evaluators == ("steps",)
    ),
    judging.by_rollouts: Case(
        lambda r: (r.evaluation[1].kind, getattr(r.evaluation[1], "model", "")) == ("rollouts", "policy"),
        (STEPS, f"evaluation.+={CHECK}"),
        "steps: helpful",
    ),
    judging.more_rollouts: Case(
        lambda r: r.evaluation[1].n == 12,
        (f"evaluation.+={{kind: rollouts, model: policy, n: 4, check: {CHECK}}}",),
        "rollouts",
    ),
    judging.longer_verdicts: Case(lambda r: r.evaluation[0].max_tokens == 1024, subject="by"),
    judging.patient: Case(lambda r: r.models["judge"].timeout_s == 240, subject="by"),
    judging.disregard_length: Case(lambda r: "long" in (r.evaluation[0].system or ""), subject="by"),
    judging.disregard_form: Case(lambda r: "Headings" in (r.evaluation[0].system or ""), subject="by"),
    scoring.without_length: Case(lambda r: r.instantiation[0].length == "residual"),
    scoring.without_style: Case(lambda r: r.instantiation[0].style == "residual"),
    scoring.calibrated: Case(
        lambda r: r.instantiation[0].calibrate is not None and r.instantiation[0].calibrate.gold == "people",
        (PEOPLE,), tables={"judgements": verdicts()},
    ),
    scoring.lower_bound: Case(
        lambda r: r.instantiation[0].panel is not None and r.instantiation[0].panel.combine == "lower_bound", (SECOND,)
    ),
    scoring.everybody: Case(lambda r: r.instantiation[0].evaluators is None, ("instantiation.0.evaluators=[by]", SECOND)),
    scoring.without_annotator: Case(
        lambda r: r.instantiation[0].evaluators == ("by",),
        (PEOPLE,), "people", {"judgements": pl.concat([verdicts(), verdicts("by", "gpt-x")])},
    ),
    scoring.dawid_skene: Case(
        lambda r: r.instantiation[0].panel is not None and r.instantiation[0].panel.combine == "dawid_skene", (PEOPLE,)
    ),
    scoring.lighter: Case(lambda r: r.objective.criteria["safe"].weight == 0.5, subject="safe"),
    pairing.at_least(0.05): Case(lambda r: r.instantiation[0].min_margin == 0.05, subject="best_vs_worst"),
    pairing.at_most(0.9): Case(lambda r: r.instantiation[0].max_margin == 0.9),
    pairing.chosen_from(0.5): Case(lambda r: band(r, "chosen") is not None and band(r, "chosen").min == 0.5),
    pairing.certain: Case(lambda r: band(r, "certainty") is not None),
    pairing.good_rejected: Case(lambda r: band(r, "rejected") is not None),
    pairing.like_length: Case(lambda r: r.instantiation[0].like_length == 0.2),
    pairing.pareto: Case(lambda r: r.instantiation[0].dimensions == "pareto", subject="by: helpful, safe"),
    pairing.by_margin: Case(lambda r: r.instantiation[0].weight == "margin"),
    pairing.rather_by_margin: Case(lambda r: r.instantiation[0].weight == "margin", ("instantiation.0.weight=certainty",)),
    pairing.soft: Case(lambda r: r.instantiation[0].soft_labels is not None),
    pairing.smoothed: Case(lambda r: r.instantiation[0].soft_labels is not None and r.instantiation[0].soft_labels.smoothing == 0.1),
    pairing.without_contradictions: Case(lambda r: r.instantiation[0].contradictions == "drop", (PAIRWISE, COMPARED)),
    pairing.not_the_worst: Case(lambda r: r.instantiation[0].choose == "best_vs_low"),
    pairing.distinct: Case(lambda r: r.instantiation[0].distinct, ("instantiation.0.distinct=false",)),
    pairing.centred: Case(lambda r: r.instantiation[0].advantage == "mean", ("instantiation.0={kind: groups}",), "mean_std"),
    pairing.without_zero_groups: Case(
        lambda r: r.instantiation[0].zero_variance == "drop", ("instantiation.0={kind: groups, zero_variance: keep}",)
    ),
    pairing.against_their_mean: Case(lambda r: r.instantiation[0].against == "prompt_mean", ("instantiation.0={kind: unpaired}",)),
    pairing.best_against_each: Case(lambda r: r.instantiation[0].choose == "best_vs_rest"),
    pairing.best_chosen: Case(lambda r: r.instantiation[0].choose == "best_vs_rest", ("instantiation.0.choose=all_pairs",)),
    pairing.capped: Case(lambda r: r.instantiation[0].most == 2, tables={"examples": examples("pair", lambda n: 9 if n > 6 else 2)}),
    pairing.scored_pairs: Case(
        lambda r: r.instantiation[0].kind == "pairs" and r.instantiation[0].bradley_terry is not None, (PAIRWISE, COMPARED)
    ),
    pairing.steps_apart: Case(lambda r: r.instantiation[-1].kind == "stepwise", (STEPS,)),
    pairing.by_likelihood: Case(
        lambda r: r.evaluation[-1].kind == "implicit_reward" and r.instantiation[0].weight.likelihood == r.evaluation[-1].criterion
    ),
    pairing.by_potential: Case(lambda r: r.evaluation[-1].kind == "implicit_reward" and band(r, "potential") is not None),
    training.likelihood_term: Case(
        lambda r: (r.method.trl.get("loss_type"), r.method.trl.get("loss_weights")) == (["sigmoid", "sft"], [1.0, 1.0])
    ),
    training.higher_beta: Case(lambda r: r.method.trl["beta"] == 0.2),
    training.lower_beta: Case(lambda r: r.method.trl["beta"] == 0.05),
    training.more_replay: Case(lambda r: r.loop.replay == 0.2, (LOOP,)),
    training.less_replay: Case(lambda r: r.loop.replay == 0.05, (LOOP,)),
    training.older_for_less: Case(lambda r: r.instantiation[0].decay is not None and r.instantiation[0].decay.of == "round"),
    balanced: Case(
        lambda r: r.method.trl.get("undesirable_weight") == 1.5,  # eight good rows to four bad ones: 4 * 1.5 = 8 / (4/3)
        tuple(KTO), tables={"examples": examples("unpaired", lambda n: 2 if n < 3 else 1, lambda n: float(n < 5))},
    ),
}  # fmt: skip
BY_WORDS = {each.does: case for each, case in CASES.items()}
MITIGATIONS = {each.does: each for one in DIAGNOSTICS for each in one.mitigations}
WITH_MITIGATIONS = [each for each in DIAGNOSTICS if each.mitigations and each.name != "orders_asked"]  # tested by itself


def text_of(case: Case) -> str:
    """The recipe as its user may have written it, with the comments."""
    settings = [(place, tp_yaml(value)) for place, _, value in (each.partition("=") for each in case.sets)]
    return edited(RECIPE, settings)


def tp_yaml(text: str) -> Any:
    import yaml

    return yaml.safe_load(text)


def applied(text: str, diff: str, folder) -> tp.Recipe:
    """What git makes of a diff of recipe.yaml."""
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    subprocess.run(["git", "apply", "-"], input=diff, text=True, cwd=folder, check=True, capture_output=True)
    return tp.load_recipe(folder / "recipe.yaml")


def asking(edits: Mapping[str, Any], name: str = "swap_consistency") -> Finding:
    return Finding(
        name=name, failure_mode="E1", value=0.0, low=0.0, high=0.0, n=1, prompts=30, severity="warn", message="", edits=dict(edits)
    )  # fmt: skip


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git on this machine")


@needs_git
@pytest.mark.parametrize("does", MITIGATIONS)
def test_a_mitigation_is_a_diff_that_git_applies_and_the_recipe_that_comes_out_has_it(does, tmp_path):
    case = BY_WORDS[does]
    text = text_of(case)
    before = parse_recipe(text)
    edits = MITIGATIONS[does].of(Data(case.tables, recipe=before), case.subject)
    made = change(text, [asking(edits)])
    assert made is not None
    assert made.refused == {}
    after = applied(text, made.diff, tmp_path)
    assert case.holds(after)
    assert not _holds(case, before)
    assert after == parse_recipe(text, "recipe", made.settings)
    said = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    assert all(line in (tmp_path / "recipe.yaml").read_text() for line in said)


def _holds(case: Case, recipe: tp.Recipe) -> bool:
    try:
        return bool(case.holds(recipe))
    except AttributeError:  # of an operator that is another one then
        return False


@needs_git
@pytest.mark.parametrize("diagnostic", WITH_MITIGATIONS, ids=lambda each: each.name)
def test_what_a_diagnostic_finds_comes_with_its_first_mitigation(diagnostic, tmp_path):
    case = BY_WORDS[diagnostic.mitigations[0].does]
    text = text_of(case)
    least, most = diagnostic.good
    assert diagnostic.good != ANY  # nothing would ever be found
    value = least - 1 if least > float("-inf") and (diagnostic.unit == "number" or least > 0) else most + 1
    data = Data(case.tables, recipe=parse_recipe(text))
    found = diagnostic.found(Estimate(value, value, value, 90, 90), "It is", subject=case.subject, data=data)
    assert found.severity != "info"
    made = change(text, [found])
    assert made is not None
    assert case.holds(applied(text, made.diff, tmp_path))
    unsure = diagnostic.found(Estimate(value, value, value, 3, 3), "It is", subject=case.subject, data=data)
    assert unsure.edits == {}


def test_a_judge_that_was_asked_in_one_order_comes_with_the_other_order():
    case = CASES[judging.both_orders]
    data = Data({}, recipe=parse_recipe(text_of(case)))
    told = OrdersAsked().tell(Estimate(0.0, 0.0, 0.0, 90, 90), (), ("by", "o"), data)
    assert told is not None
    assert told.edits == {"evaluation.0.both_orders": True}


def test_every_mode_that_a_recipe_can_mitigate_has_a_change():
    by_diff = {each.failure_mode for each in WITH_MITIGATIONS}
    modes = {f"S{n}" for n in range(1, 11)} | {f"E{n}" for n in range(1, 17)} | {f"I{n}" for n in range(1, 13)}
    assert modes | {"L1", "L2", "L3", "L4"} == by_diff | {"I12"}  # which prompts are a test set no recipe says
    assert all(each.change or each.mitigations or each.good == ANY for each in DIAGNOSTICS)


def test_what_a_recipe_has_already_is_not_proposed_again():
    settled = edited(RECIPE, [("synthesis.0.temperature", 1.0), ("instantiation.0.length", "residual")])
    data = Data({}, recipe=parse_recipe(settled))
    assert sampling.hotter.of(data, "") == {}
    assert scoring.without_length.of(data, "") == {}
    longer = next(each for each in DIAGNOSTICS if each.name == "chosen_longer")
    assert longer.edits(data, "best_vs_worst") == {"instantiation.0.like_length": 0.2}
    assert longer.edits(Data({}), "best_vs_worst") == {}


def test_only_the_strategy_that_a_finding_is_about_is_changed():
    recipe = parse_recipe(edited(RECIPE, [("instantiation.+", {"kind": "pairs", "choose": "all_pairs"})]))
    assert set(pairing.like_length.of(Data({}, recipe=recipe), "all_pairs/safe")) == {"instantiation.1.like_length"}


def test_a_judge_of_the_same_family_as_who_answers_is_no_other_judge():
    near = edited(RECIPE, [("models.third", {"backend": "openai", "model": "Meta-Llama-3-70B"})])
    assert judging.another_judge.of(Data({}, recipe=parse_recipe(near)), "by") == {}


def test_a_judge_to_whom_another_evaluator_passes_questions_on_is_changed_there():
    recipe = tp.load_recipe("active-ultrafeedback")
    (place,) = judging.longer_verdicts.of(Data({}, recipe=recipe), "acquire")
    assert place == "evaluation.0.evaluator.max_tokens"


def test_of_two_responses_none_is_rejected_but_the_worst():
    widest = next(each for each in DIAGNOSTICS if each.name == "widest_margins")
    data = Data({}, recipe=parse_recipe(edited(RECIPE, [("synthesis.0.n", 2)])))
    assert widest.edits(data, "best_vs_worst") == {"instantiation.0.max_margin": 0.9}


def test_imported_verdicts_are_not_dropped_for_those_of_a_program():
    alone = parse_recipe("name: r\nprompts: {kind: inline, prompts: [a]}\nsynthesis: {kind: given}\n")
    assert judging.verified_too.of(Data({"prompts": prompts()}, recipe=alone), "by") == {}


def test_references_that_are_no_numbers_are_not_checked_by_a_program():
    assert judging.verified_too.of(Data({"prompts": prompts("Paris")}, recipe=parse_recipe(RECIPE)), "by") == {}


# --- several at once


def test_of_what_several_findings_ask_all_is_taken_that_goes_together():
    keep = [asking({"instantiation.0.keep.+": {"of": of, "min": 0.1}}) for of in ("chosen", "rejected", "chosen")]
    made = change(RECIPE, [*keep, asking({"synthesis.0.temperature": 1.0}), asking({"synthesis.0.temperature": 0.5}, "novelty")])
    recipe = parse_recipe(RECIPE, "recipe", made.settings)
    assert [one.of for one in recipe.instantiation[0].keep] == ["chosen", "rejected"]
    assert recipe.synthesis[0].temperature == (1.0,)
    assert made.refused == {"synthesis.0.temperature=0.5": "novelty: a graver finding has synthesis.0.temperature"}


def test_the_settings_of_a_finding_are_taken_together_or_not_at_all():
    two = asking({"evaluation.+": {"kind": "verify", "final_answer": True}, "instantiation.0.weight": "heavy"})
    made = change(RECIPE, [two, asking({"seed": 3})])
    assert made.settings == ("seed=3",)
    assert set(made.refused) == {"evaluation.+={kind: verify, final_answer: true}", "instantiation.0.weight=heavy"}
    assert mended(RECIPE, [two]) == RECIPE


def test_a_rule_that_a_recipe_breaks_comes_with_the_setting_that_has_it_hold():
    broken = found_in_recipe(parse_recipe(text_of(CASES[judging.both_orders])))
    assert {"evaluation.0.both_orders": True} in [each.edits for each in broken if each.failure_mode == "R3.2"]


# --- the text


def test_every_shipped_recipe_keeps_its_comments_and_all_lines_that_do_not_change():
    wanted = [("evaluation.+", {"kind": "verify", "name": "more", "criterion": "x"}), ("seed", 7), ("instantiation.0.evaluators", None)]
    for name in shipped_recipes():
        text = known_recipes()[name].read_text()
        after = edited(text, wanted)
        left, came = set(text.splitlines()), set(after.splitlines())
        assert len(left - came) <= 1, name  # an operator around which there is a list now
        assert len(came - left) <= 3, name


@pytest.mark.parametrize(
    ("text", "place", "value", "line"),
    [
        ("evaluation: {kind: verify}", "evaluation.+", {"kind": "diversity"}, "evaluation: [{kind: verify}, {kind: diversity}]"),
        ("evaluation: {kind: verify}", "evaluation.0.name", "x: y", "evaluation: {kind: verify, name: 'x: y'}"),
        ("evaluation: []  # none", "evaluation.+", {"kind": "verify"}, "evaluation: [{kind: verify}]  # none"),
        ("evaluation:\n- kind: verify\n  # more\n", "evaluation.0.criterion", "a", "  criterion: a"),
        ("evaluation:\n- kind: verify # here\n", "evaluation.+", {"kind": "diversity"}, "- {kind: diversity}"),
        ("evaluation:\n", "evaluation.+", {"kind": "verify"}, "evaluation: [{kind: verify}]"),
        ("description: |\n  one\n  two\n\nseed: 1", "description", "a\nb", 'description: "a\\nb"'),
        ("description: x # why\nseed: 1", "seed", 2, "description: x # why"),
    ],
)
def test_a_setting_is_written_where_it_belongs(text, place, value, line):
    whole = f"name: r\nprompts: {{kind: examples, name: everyday}}\nsynthesis: {{kind: given}}\n{text}"
    after = edited(whole, [(place, value)])
    assert line in after.splitlines()
    assert parse_recipe(after) == parse_recipe(whole, "recipe", [f"{place}={json.dumps(value)}"])
    assert len(set(whole.splitlines()) - set(after.splitlines())) <= 3


def test_where_the_place_lies_in_an_alias_the_recipe_is_written_anew():
    models = "name: r\nmodels:\n  a: &a {backend: openai, model: x}\n  b: *a\n" + "prompts: {kind: examples, name: everyday}\nsynthesis: {kind: given}\n"
    after = edited(models, [("models.b.version", "second")])
    assert parse_recipe(after).models["a"].version == ""
    assert parse_recipe(after).models["b"].version == "second"
    assert after == recipe_yaml(parse_recipe(after))


@needs_git
def test_a_diff_applies_to_a_file_without_a_line_feed_at_its_end(tmp_path):
    text = RECIPE.rstrip("\n")
    made = change(text, [asking({"instantiation.+": {"kind": "sft"}})])
    assert kinds(applied(text, made.diff, tmp_path).instantiation) == ["pairs", "sft"]


@pytest.mark.parametrize("place", ["evaluation.7", "models.+", "name.+", "prompts.kind.+"])
def test_a_place_that_is_none_is_refused(place):
    with pytest.raises(RecipeError, match="no place in this recipe"):
        parse_recipe(RECIPE, "recipe", [f"{place}=1"])
    with pytest.raises(RecipeError):
        edited(RECIPE, [(place, 1)])


def test_a_set_adds_to_the_end_of_a_list():
    recipe = tp.load_recipe("simpo", ["evaluation.+={kind: verify, name: first}", "evaluation.+={kind: verify, name: then, criterion: b}"])
    assert [getattr(one, "name", None) for one in recipe.evaluation[-2:]] == ["first", "then"]


# --- on a run


LONGER = """\
name: longer
# thirty questions, and two answers to each
prompts: {kind: file, path: prompts.jsonl}
synthesis: {kind: given}
evaluation:
  - {kind: verify, constraints: [{kind: words, min: 5}]}  # long is good
instantiation: {kind: pairs}  # for DPO
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Pairs whose chosen response is always the longer one."""
    folder = tmp_path_factory.mktemp("mended")
    rows = [{"prompt": f"What is {n}?", "responses": [f"It is {n}, as one can see by counting.", f"{n}"]} for n in range(30)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(LONGER)
    return tp.run(tp.load_recipe(folder / "recipe.yaml"), out=folder / "run", folder=folder)


def test_the_mended_recipe_is_that_of_the_user_with_the_changes(run, tmp_path):
    mine, new = run.path.parent / "recipe.yaml", run.path.parent / "mended.yaml"  # where relative paths start
    told = CliRunner().invoke(cli, ["audit", str(run.path), "--recipe", str(mine), "--mended", str(new)])
    assert told.exit_code == 0, told.output
    assert "--set instantiation.0.length=residual" in told.output
    assert "+instantiation: {kind: pairs, length: residual}  # for DPO" in told.output
    after = new.read_text()
    assert "# thirty questions" in after
    assert "# long is good" in after
    assert tp.load_recipe(new).instantiation[0].length == "residual"
    assert CliRunner().invoke(cli, ["plan", str(new)]).exit_code == 0
    again = CliRunner().invoke(cli, ["instantiate", str(run.path), "--recipe", str(new), "--out", str(tmp_path / "again")])
    assert again.exit_code == 0, again.output
    before, now = ({each.name for each in audit(Data.of(one)).findings if each.severity != "info"} for one in (run, tp.open_run(tmp_path / "again")))
    assert "chosen_longer" in before
    assert "chosen_longer" not in now


def test_another_recipe_than_the_runs_is_refused(run, tmp_path):
    (tmp_path / "other.yaml").write_text(LONGER.replace("min: 5", "min: 6"))
    told = CliRunner().invoke(cli, ["audit", str(run.path), "--recipe", str(tmp_path / "other.yaml")])
    assert isinstance(told.exception, TriptychError)
    assert "is not the recipe that made" in str(told.exception)


def test_the_json_has_the_diff_of_each_statistic_and_of_all(run, tmp_path):
    told = json.loads(CliRunner().invoke(cli, ["audit", str(run.path), "--json"]).stdout)
    assert told["change"]["settings"]
    for diff in [told["change"]["diff"], *told["diffs"].values()]:
        assert diff.startswith("--- recipe.yaml\n+++ recipe.yaml\n")
        assert applied(run.recipe_text(), diff, tmp_path) != parse_recipe(run.recipe_text())
    assert msgspec.json.encode(told["change"]["refused"])


def test_a_finding_about_a_round_changes_the_recipe_of_its_loop(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "loop" / "round-2")
    looped = LONGER + "models: {policy: {backend: embedded}}\nloop: {rounds: 3}\n"
    (tmp_path / "loop" / "recipe.yaml").write_text(looped)
    shutil.copy(run.path.parent / "prompts.jsonl", tmp_path / "loop")
    data = Data.of(tp.open_run(tmp_path / "loop"))
    assert data.recipe == parse_recipe(run.recipe_text())
    forgets = next(each for each in DIAGNOSTICS if each.name == "backward_transfer")
    assert forgets.edits(data, "") == {"loop.replay": 0.2}
    new = tmp_path / "loop" / "mended.yaml"
    told = CliRunner().invoke(cli, ["audit", str(tmp_path / "loop"), "--mended", str(new), "--quiet"])
    assert told.exit_code == 0, told.output
    assert new.read_text() == looped.replace("{kind: pairs}", "{kind: pairs, length: residual}")
    (tmp_path / "loop" / "recipe.yaml").write_text(LONGER)  # no loop, so it is there for another reason
    assert forgets.edits(Data.of(tp.open_run(tmp_path / "loop")), "") == {}


# --- and what the mended recipe makes of the same verdicts

JUDGED = """\
name: judged
prompts: {kind: file, path: prompts.jsonl}
synthesis: {kind: given}
objective: {criteria: {helpful: {text: It helps., weight: 3}, safe: {text: It harms nobody.}}}
evaluation: {kind: verdicts, path: verdicts.jsonl, scale: [0, 1]}
instantiation:
  - {kind: pairs}
"""


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """120 prompts with 5 or 30 responses, the longer the more helpful and the less safe; half of them scored all alike, and some nearly."""
    folder = tmp_path_factory.mktemp("judged")
    rng = random.Random(5)
    asks, said = [], []
    for n in range(120):
        prompt, texts = f"What of {n}?", []
        for i in range(30 if n % 6 == 1 else 5):
            quality = rng.random()
            words = rng.choices(["so", "it", "is", "done", "well", "then", "now", "more"], k=int(4 + 60 * quality))
            texts.append(f"Answer {i} to {n}: {' '.join(words)}")
            apart = 0.0 if n % 2 == 0 else 0.04 if n % 4 == 1 else 1.0
            scores = {"helpful": apart * quality, "safe": apart * rng.uniform(0, 1 - quality)}
            said += [
                {"prompt": prompt, "response": texts[-1], "score": round(score, 3), "criterion": criterion, "annotator": by}
                for criterion, score in scores.items()
                for by in ("ann", "ben")
            ]
        asks.append({"prompt": prompt, "responses": texts})
    for name, rows in (("prompts", asks), ("verdicts", said)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(JUDGED)
    return tp.run(tp.load_recipe(folder / "recipe.yaml"), out=folder / "run", folder=folder)


@pytest.mark.parametrize(
    ("name", "sets"),
    [
        ("chosen_longer", {}),
        ("label_auc_from_length", {}),
        ("chosen_length_effect", {}),
        ("margin_follows_length", {}),
        ("pareto_incomparable_pairs", {}),
        ("relations_kept", {}),
        ("pairs_without_margin", {"instantiation.0": {"kind": "pairs", "choose": "all_pairs"}}),
        ("advantage_moved_by_normaliser", {"instantiation.0": {"kind": "groups"}}),
        ("advantage_follows_length", {"instantiation.0": {"kind": "groups"}}),
        ("zero_advantage_groups", {"instantiation.0": {"kind": "groups", "zero_variance": "keep"}}),
        ("good_rows", {"instantiation.0": {"kind": "unpaired", "good": 0.0}}),
        ("gini_of_rows_per_prompt", {"instantiation.0.choose": "all_pairs"}),
        ("effective_prompts_share", {"instantiation.0.choose": "all_pairs"}),
        ("chosen_below_floor", {"instantiation.0.choose": "all_pairs"}),
    ],
)
def test_what_the_mended_recipe_makes_is_better(name, sets, judged, tmp_path):
    diagnostic = next(each for each in DIAGNOSTICS if each.name == name)
    text = edited(JUDGED, list(sets.items()))
    before = audit(Data.of(instantiate(judged, parse_recipe(text), tmp_path / "before")), [diagnostic]).findings
    (found,) = [each for each in before if each.severity != "info"]
    after = instantiate(judged, parse_recipe(mended(text, [found])), tmp_path / "after")
    assert after.examples().select(pl.len()).collect().item() >= 20
    (now,) = audit(Data.of(after), [diagnostic]).findings
    assert now.severity == "info" or name == "relations_kept"  # of thirty responses, pairs with the best are still few
    least, most = diagnostic.good
    beyond = [max(least - each.value, each.value - most) for each in (found, now)]
    assert beyond[1] < beyond[0] - 0.05
