"""The six principles as rules: what breaks them, what mends that, and what they make of findings."""

from __future__ import annotations

import itertools
import json

import msgspec
import pytest

import triptych as tp
from test_audit import run as triptych
from test_findings import judged, response, told
from triptych.audit.audit import DIAGNOSTICS
from triptych.audit.data import Data
from triptych.audit.finding import Finding
from triptych.audit.principles import PRINCIPLES, RULES, broken_by, rulings
from triptych.audit.principles.coverage import ThinTags
from triptych.audit.principles.signal import OrphanRows
from triptych.planning.plan import plan
from triptych.recipes.load import build_recipe, load_recipe, shipped_recipes
from triptych.records import Message, make_example, make_prompt
from world import world

POLICY = {"backend": "openai", "model": "Org/Qwen2.5-7B-Instruct", "base_url": "http://127.0.0.1:1/v1"}
OTHER = POLICY | {"model": "llama-3.1-8b"}
KIN = POLICY | {"model": "qwen-max"}
RUBRIC = {"kind": "rubric", "model": "judge", "criteria": ["good"]}
PAIRWISE = {"kind": "pairwise", "model": "judge", "criteria": ["good"]}
VERIFY = {"kind": "verify", "constraints": [{"kind": "words", "max": 30}]}
SAMPLE = {"kind": "sample", "model": "policy", "n": 2}
STEPS = {"kind": "rubric", "model": "judge", "criteria": ["good"], "unit": "step"}
LOOP = {"rounds": 2, "train": "train-it {export}"}
METHOD = {"title": "A method", "year": 2024, "place": {"source": "online", "form": "pair"}, "data": "Pairs: of two"}


def recipe(**changes):
    criteria = {name: {"text": f"It is {name}."} for name in ("good", "harmless")}
    content = {
        "name": "ruled",
        "models": {"policy": POLICY, "judge": OTHER},
        "prompts": {"kind": "inline", "prompts": ["Say hi."]},
        "synthesis": SAMPLE,
        "objective": {"criteria": criteria},
        "evaluation": [RUBRIC, VERIFY],
        "instantiation": {"kind": "pairs", "criteria": ["good"]},
    }
    return build_recipe(content | changes)


def rules(one) -> dict[str, str]:
    return {each.rule: each.severity for each in broken_by(one) if each.severity != "info"}


def test_every_rule_of_the_principles_is_here_and_is_checked_or_says_why_not():
    numbers = {1: 3, 2: 5, 3: 7, 4: 4, 5: 4, 6: 4, 7: 5}
    assert [rule.id for rule in RULES] == [f"R{p}.{n}" for p, many in numbers.items() for n in range(1, many + 1)]
    for rule in RULES:
        assert rule.principle in PRINCIPLES
        checked = rule.static is not None or rule.modes or rule.refused
        assert bool(checked) != bool(rule.unchecked), rule.id


def test_a_recipe_without_fault_breaks_no_rule():
    assert rules(recipe()) == {}


BREAK = {
    "groups of two": ("R2.1", {"instantiation": {"kind": "groups", "criteria": ["good"]}}),
    "only others' responses, not weighed": ("R2.4", {"synthesis": SAMPLE | {"model": "judge"}, "evaluation": [VERIFY], "instantiation": {"kind": "pairs"}}),
    "judges without gold": ("R3.1", {"evaluation": [RUBRIC]}),
    "one order": ("R3.2", {"evaluation": [PAIRWISE | {"both_orders": False}, VERIFY]}),
    "a judge of the family": ("R3.4", {"models": {"policy": POLICY, "judge": KIN}}),
    "folded steps": ("R4.3", {"evaluation": [STEPS, VERIFY], "instantiation": {"kind": "pairs", "criteria": ["good"], "fold": "min"}}),
    "safety in the mean": ("R5.4", {"evaluation": [RUBRIC | {"criteria": ["good", "harmless"]}, VERIFY], "instantiation": {"kind": "pairs", "criteria": ["good", "harmless"]}}),
    "a loop that is not calibrated": ("R6.2", {"loop": LOOP}),
}  # fmt: skip


@pytest.mark.parametrize("what", BREAK)
def test_a_recipe_that_breaks_one_rule_is_told_of_that_one(what):
    rule, changes = BREAK[what]
    assert set(rules(recipe(**changes))) == {rule}


MEND = {
    "three in a group": {"synthesis": SAMPLE | {"n": 3}, "instantiation": {"kind": "groups", "criteria": ["good"]}},
    "both orders": {"evaluation": [PAIRWISE, VERIFY]},
    "safety apart": {
        "evaluation": [RUBRIC | {"criteria": ["good", "harmless"]}, VERIFY],
        "instantiation": {"kind": "pairs", "criteria": ["good", "harmless"], "dimensions": "pareto"},
    },
    "a judge of another family beside": {
        "models": {"policy": POLICY, "judge": KIN, "second": OTHER},
        "evaluation": [RUBRIC | {"name": "a"}, RUBRIC | {"model": "second", "name": "b"}, VERIFY],
    },
}


@pytest.mark.parametrize("what", MEND)
def test_what_mends_it_is_told_of_nothing(what):
    assert rules(recipe(**MEND[what])) == {}


def test_a_policy_that_judges_itself_is_an_error_unless_something_else_has_a_say():
    judging_itself = RUBRIC | {"model": "policy"}
    assert rules(recipe(evaluation=[judging_itself]))["R3.4"] == "error"
    assert rules(recipe(evaluation=[judging_itself, VERIFY]))["R3.4"] == "warn"
    assert rules(recipe(evaluation=[judging_itself], method=METHOD))["R3.4"] == "warn"


def test_one_order_is_an_error_and_in_a_published_method_a_warning():
    once = [PAIRWISE | {"both_orders": False}, VERIFY]
    assert rules(recipe(evaluation=once)) == {"R3.2": "error"}
    assert rules(recipe(evaluation=once, method=METHOD)) == {"R3.2": "warn"}


def test_a_small_budget_wants_a_second_opinion():
    priced = {
        name: spec | {"price": {"input": 1, "output": 1}} for name, spec in (("policy", POLICY), ("judge", OTHER))
    }
    cheap = {"models": priced, "budget": {"usd": 5}}
    assert "R3.7" in rules(recipe(evaluation=[RUBRIC], **cheap))
    assert "R3.7" not in rules(recipe(evaluation=[RUBRIC | {"repeats": 3}], **cheap))
    assert "R3.7" not in rules(recipe(evaluation=[RUBRIC]))


def test_lists_thrown_away_and_policies_that_answer_once_are_for_information():
    told = {each.rule: each for each in broken_by(recipe(synthesis=SAMPLE | {"n": 4}))}
    assert told["R5.2"].evidence == ("one pair is kept of the 6 that 4 responses to a prompt make",)
    assert (told["R5.2"].severity, told["R6.1"].severity) == ("info", "info")
    assert "R6.1" not in {each.rule for each in broken_by(recipe(loop=LOOP))}


def test_no_shipped_recipe_is_told_of_an_error():
    for name in shipped_recipes():
        assert all(each.severity != "error" for each in broken_by(load_recipe(name))), name


def test_plan_tells_which_rules_a_recipe_breaks_and_ends_well(tmp_path):
    one = recipe(evaluation=[PAIRWISE | {"both_orders": False}])
    assert {each.rule for each in plan(one).principles} == {"R3.1", "R3.2", "R6.1"}
    (tmp_path / "recipe.yaml").write_text(json.dumps(one.model_dump(mode="json", exclude_defaults=True)))
    code, out, err = triptych("plan", tmp_path / "recipe.yaml")
    assert (code, err) == (0, "")
    lines = [line for line in out.splitlines() if "(R" in line]
    assert [line.partition(":")[0] for line in lines] == ["Warning", "Error"]
    assert lines[1].endswith("(R3.2, evaluation fidelity sets the upper bound).")
    told = json.loads(triptych("plan", tmp_path / "recipe.yaml", "--json")[1])["principles"]
    assert told == json.loads(msgspec.json.encode(plan(one).principles))


@pytest.mark.parametrize(
    ("fail_on", "orders", "exit_code"),
    [("warn", True, 8), ("error", True, 0), ("error", False, 9), ("never", False, 0)],
)
def test_a_plan_can_be_gated_on_the_rules_it_breaks(tmp_path, fail_on, orders, exit_code):
    one = recipe(evaluation=[PAIRWISE | {"both_orders": orders}])
    (tmp_path / "recipe.yaml").write_text(json.dumps(one.model_dump(mode="json", exclude_defaults=True)))
    assert triptych("plan", tmp_path / "recipe.yaml", "--fail-on", fail_on)[0] == exit_code


def test_an_audit_is_gated_on_the_rules_that_the_recipe_breaks_until_a_baseline_accepts_them(tmp_path):
    with world() as (_, base_url):
        models = {name: {"backend": "openai", "base_url": base_url, "model": name} for name in ("policy", "judge")}
        one = recipe(models=models, evaluation=[PAIRWISE | {"both_orders": False}])
        tp.run(one, tmp_path / "run")
    code, out, _ = triptych("audit", tmp_path / "run", "--fail-on", "error", "--json")
    told = [each for each in json.loads(out)["findings"] if each["name"] == "rule_broken_by_recipe"]
    assert {each["failure_mode"]: each["severity"] for each in told} == rules(one)
    assert (code, rules(one)["R3.2"]) == (9, "error")
    assert "rule_broken_by_recipe" in triptych("audit", tmp_path / "run")[1]
    triptych("audit", tmp_path / "run", "--write-baseline", tmp_path / "known.json", "--quiet")
    assert triptych("audit", tmp_path / "run", "--baseline", tmp_path / "known.json", "--fail-on", "warn")[0] == 0


NAMES = {"E1": "swap_consistency", "E2": "judge_prefers_longer", "S2": "unique_answers"}


def finding(mode, severity="info", prompts=50, name=None):
    fields = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 50, "message": f"{mode} said.", "severity": severity}
    return Finding(name=name or NAMES[mode], failure_mode=mode, prompts=prompts, **fields)


def ruled(rule, findings, one=None):
    return next(each for each in rulings(one, findings) if each.rule == rule)


@pytest.mark.parametrize(
    ("findings", "state", "severity"),
    [
        ([], "unmeasured", "info"),
        ([finding("E2")], "unmeasured", "info"),
        ([finding("S2", prompts=5)], "unmeasured", "info"),
        ([finding("S2")], "holds", "info"),
        ([finding("S2"), finding("S2", "warn")], "broken", "warn"),
        ([finding("S2", "error"), finding("S2", "warn")], "broken", "error"),
    ],
)
def test_a_rule_about_data_is_decided_by_the_findings_of_its_failure_modes(findings, state, severity):
    told = ruled("R2.2", findings)
    assert (told.state, told.severity) == (state, severity)
    if state == "broken":
        assert told.rests_on == ("unique_answers",)
        assert told.evidence[-1] == "S2 said."


def test_a_judge_that_answers_is_not_thereby_compared_with_gold():
    assert ruled("R3.1", [finding("E4", name="unparsed_judgements")]).state == "unmeasured"
    assert ruled("R3.1", [finding("E4", name="judge_verifier_agreement")]).state == "holds"


ANSWERS = {"kind": "verify", "final_answer": True, "use_prompt": False}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"synthesis": SAMPLE | {"model": "judge"}}, ["responses of the policy itself", "groups; here there are pairs"]),
        ({"synthesis": SAMPLE | {"n": 8}}, ["groups; here there are pairs"]),
        ({"synthesis": SAMPLE | {"n": 8}, "instantiation": {"kind": "groups"}}, []),
        ({"synthesis": SAMPLE | {"model": "judge"}, "method": METHOD}, []),
        ({"evaluation": [VERIFY]}, []),  # a number of words says nothing of the scenario
    ],
)
def test_a_recipe_whose_answers_are_checked_is_told_what_it_does_otherwise_than_is_recommended(changes, said):
    given = {"evaluation": [ANSWERS], "instantiation": {"kind": "pairs"}, "prompts": {"kind": "inline", "prompts": [{"prompt": "1 + 1?", "reference": "2"}]}}  # fmt: skip
    told = [each for each in broken_by(recipe(**(given | changes))) if each.rule == "R7.5"]
    evidence = [sentence for each in told for sentence in each.evidence]
    assert len(evidence) == len(said)
    assert all(part in sentence for part, sentence in zip(said, evidence, strict=True))
    assert {each.severity for each in told} <= {"info"}


def test_groups_of_two_are_an_error_and_in_a_published_method_a_warning():
    two = {"instantiation": {"kind": "groups", "criteria": ["good"]}}
    assert rules(recipe(**two))["R2.1"] == "error"
    assert rules(recipe(**two, method=METHOD))["R2.1"] == "warn"


def tagged(many, examples=True):
    """Prompts by tag, of which so many have a pair, or a judge's preference."""
    tables = {"prompts": [], "responses": [], "judgements": [], "examples": []}
    for tag, (prompts, contrasts) in many.items():
        for number in range(prompts):
            asked = make_prompt(messages=(Message("user", f"{tag} {number}"),), tags=(tag,))
            a, b = (response(asked.id, n, f"{tag} {n}") for n in range(2))
            tables["prompts"].append(asked)
            tables["responses"] += [a, b]
            if number < contrasts:
                tables["judgements"].append(judged([a, b], ranks=(1, 2)))
                if examples:
                    row = {"kind": "pair", "prompt_id": asked.id, "response_ids": (a.id, b.id), "strategy": "s"}
                    tables["examples"].append(make_example(**row, strategy_id="o"))
    return tables


@pytest.mark.parametrize("examples", [True, False])
def test_tags_with_too_few_prompts_that_tell_responses_apart_are_told(examples):
    many = {"easy": (30, 30), "hard": (40, 7), "rare": (4, 4), "one": (1, 1)}
    (found,) = told(ThinTags(), **tagged(many, examples))
    assert (found.value, found.n, found.prompts) == (pytest.approx(2 / 3), 3, 74)
    assert found.message.endswith("usable contrast: rare (4), hard (7).")
    assert (found.severity, ruled("R2.3", [found]).state) == ("warn", "broken")
    (found,) = told(ThinTags(), **tagged({"easy": (30, 30), "hard": (40, 20)}, examples))
    assert (found.value, found.severity, ruled("R2.3", [found]).state) == (0.0, "info", "holds")


def test_groups_of_equal_advantages_are_no_contrast():
    tables = tagged({"easy": (25, 0)})
    for asked in tables["prompts"]:
        ids = tuple(each.id for each in tables["responses"] if each.prompt_id == asked.id)
        row = {"kind": "group", "prompt_id": asked.id, "response_ids": ids, "strategy": "s", "strategy_id": "o"}
        tables["examples"].append(make_example(**row, scores=(1.0, 1.0), labels=(0.0, 0.0)))
    (found,) = told(ThinTags(), **tables)
    assert (found.value, found.severity) == (1.0, "warn")


def test_prompts_without_tags_are_not_ruled_on():
    assert ThinTags().lacks(Data({})).what.startswith("tags")
    assert ruled("R2.3", []).state == "unmeasured"
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.modes], ids=lambda rule: rule.id)
def test_a_rule_rests_on_statistics_that_are_there_and_are_of_its_failure_modes(rule):
    there = {each.name: each.failure_mode for each in DIAGNOSTICS}
    assert {there[name] for name in rule.statistics} == set(rule.modes)


@pytest.mark.parametrize(
    ("rule", "mode", "name"),
    [
        ("R1.2", "S3", "widest_margins"),
        ("R1.2", "S3", "implicit_accuracy"),
        ("R1.2", "I3", "margin_variation"),
        ("R2.4", "S1", "ranking_accuracy"),
        ("R2.5", "I5", "margin_follows_length"),
        ("R3.1", "E4", "unparsed_judgements"),
        ("R3.3", "E2", "markup_coefficient"),
        ("R4.1", "I1", "steps_folded_into_label"),
        ("R4.2", "E12", "step_score_error"),
        ("R4.4", "E12", "label_density"),
        ("R5.1", "E11", "criterion_dominance"),
        ("R5.3", "I3", "pairs_within_noise"),
        ("R6.1", "L1", "rounds_since_gold"),
        ("R6.3", "E10", "proxy_follows_bullets"),
        ("R6.3", "S7", "margin_ratio"),
        ("R6.4", "S6", "gold_prefers_rejected"),
        ("R7.2", "I6", "second_opinion_against_label"),
        ("R7.3", "S9", "gini_of_rows_per_prompt"),
        ("R7.3", "S9", "effective_prompts_share"),
    ],
)
def test_a_statistic_that_measures_something_else_decides_no_rule(rule, mode, name):
    assert {each.name: each.failure_mode for each in DIAGNOSTICS}[name] == mode
    told = ruled(rule, [finding(mode, "error", name=name)])
    assert told.state != "broken"
    assert told.rests_on == ()


def test_many_rows_of_one_prompt_are_no_prompt_that_copies_another(tmp_path):
    rows = [{"prompt": "Why?", "chosen": f"Since {n} is odd.", "rejected": f"No {n}."} for n in range(400)]
    words = ["red", "blue", "green", "seven", "nine", "tree", "house", "sea", "hill", "moon"]
    rows += [
        {"prompt": f"{a} {b} {c} {a} {c}?", "chosen": f"Yes, {b} {c}.", "rejected": f"{a}, no."}
        for a, b, c in itertools.islice(itertools.permutations(words, 3), 0, 720, 30)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = json.loads(triptych("audit", tmp_path / "rows.jsonl", "--json")[1])
    assert {each["name"] for each in told["findings"] if each["severity"] != "info"} >= {"gini_of_rows_per_prompt"}
    rule = next(each for each in told["principles"] if each["rule"] == "R7.3")
    assert (rule["state"], rule["severity"]) == ("holds", "info"), rule


def test_what_is_not_checked_says_why():
    told = ruled("R1.3", [])
    assert (told.state, told.severity) == ("unchecked", "info")
    assert "two runs" in told.evidence[0]


def test_a_recipe_and_its_data_are_ruled_on_together():
    once = recipe(evaluation=[PAIRWISE | {"both_orders": False}, VERIFY])
    told = ruled("R3.2", [finding("E1", "warn")], once)
    assert (told.state, told.severity) == ("broken", "error")
    assert told.places == ("evaluation.0.both_orders",)
    assert len(told.evidence) == 2


def whole():
    asked = make_prompt(messages=(Message("user", "Say hi."),))
    a, b = (response(asked.id, n) for n in range(2))
    said = [judged([a, b], ranks=(1, 2))]
    row = make_example(kind="pair", prompt_id=asked.id, response_ids=(a.id, b.id), strategy="s", strategy_id="o", judgement_ids=(said[0].id,))  # fmt: skip
    return {"prompts": [asked], "responses": [a, b], "judgements": said, "examples": [row]}


def test_whole_tables_have_no_orphans():
    (found,) = told(OrphanRows(), **whole())
    assert (found.value, found.n, found.severity, found.rows) == (0.0, 4, "info", ())


@pytest.mark.parametrize(
    ("lost", "orphans"),
    [("prompts", 4), ("responses", 2), ("judgements", 1)],
)
def test_rows_that_point_at_nothing_are_an_error_however_few(lost, orphans):
    tables = whole()
    (found,) = told(OrphanRows(), **(tables | {lost: []}))
    left = sum(len(rows) for name, rows in tables.items() if name not in ("prompts", lost))
    assert (found.n, found.severity) == (left, "error")
    assert found.value == orphans / left if lost != "prompts" else found.value == 1.0
    assert len(found.rows) == min(orphans, left)


def test_nothing_at_all_has_no_orphans_and_is_no_finding():
    assert told(OrphanRows()) == []
