"""The recipe: one value from YAML and from Python, with errors that name the line and the field."""

import json
import textwrap

import jsonschema_rs
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

import triptych as tp
from triptych.errors import RecipeError
from triptych.recipes.load import load_recipe, parse_recipe, shipped_recipes
from triptych.recipes.schema import recipe_schema
from triptych.recipes.write import recipe_yaml
from triptych.templates import checked_template

GOOD = textwrap.dedent("""\
    name: good
    seed: 7
    models:
      policy: {backend: openai, model: my-7b, base_url: http://127.0.0.1:8000/v1}
      judge:  {backend: openai, model: big, price: {input: 2.5, output: 10}}
    prompts: {kind: inline, prompts: [hello]}
    synthesis:
      - {kind: sample, model: policy, n: 4, temperature: 0.9}
    objective:
      criteria:
        helpfulness: {text: It helps., weight: 2}
        honesty: {text: It is honest.}
    evaluation:
      - {kind: rubric, model: judge, criteria: [helpfulness, honesty], scale: [1, 5]}
      - {kind: verify}
    instantiation:
      kind: pairs
      choose: best_vs_worst
      min_margin: 0.5
    """)


def problems(text: str) -> list[tuple[int | None, str, str]]:
    with pytest.raises(RecipeError) as raised:
        parse_recipe(text, "recipe.yaml")
    return [(problem.line, problem.field, problem.message) for problem in raised.value.problems]


def only_problem(text: str) -> tuple[int | None, str, str]:
    found = problems(text)
    assert len(found) == 1, found
    return found[0]


def test_yaml_and_python_give_equal_recipes():
    written = tp.Recipe(
        name="good",
        seed=7,
        models={
            "policy": tp.OpenAIModel(model="my-7b", base_url="http://127.0.0.1:8000/v1"),
            "judge": tp.OpenAIModel(model="big", price=tp.Price(input=2.5, output=10)),
        },
        prompts=tp.InlinePrompts(prompts=["hello"]),
        synthesis=[tp.Sample(model="policy", n=4, temperature=0.9)],
        objective=tp.Objective(
            criteria={
                "helpfulness": tp.Criterion(text="It helps.", weight=2),
                "honesty": tp.Criterion(text="It is honest."),
            }
        ),
        evaluation=[tp.Rubric(model="judge", criteria=["helpfulness", "honesty"], scale=(1, 5)), tp.Verify()],
        instantiation=tp.Pairs(choose="best_vs_worst", min_margin=0.5),
    )
    assert written == parse_recipe(GOOD)
    assert written.id == parse_recipe(GOOD).id


def test_a_recipe_survives_being_written_as_yaml():
    for recipe in (parse_recipe(GOOD), *(load_recipe(name) for name in shipped_recipes())):
        again = parse_recipe(recipe_yaml(recipe))
        assert again == recipe
        assert again.id == recipe.id


@given(st.text(), st.text(min_size=1))
@example("1e5", "12e4567")
@example("a\nb\x85c", "x\u2028\ny")
def test_any_text_survives_being_written_as_yaml(description, criterion):
    recipe = tp.Recipe(
        name="texts",
        description=description,
        prompts=tp.InlinePrompts(prompts=["hello"]),
        synthesis=[tp.Given()],
        objective=tp.Objective(criteria={"it": tp.Criterion(text=criterion)}),
    )
    assert parse_recipe(recipe_yaml(recipe)) == recipe


def test_descriptions_and_budgets_do_not_change_what_a_recipe_is():
    one = parse_recipe(GOOD)
    two = parse_recipe(GOOD + "description: words\nbudget: {calls: 5}\n")
    assert one.id == two.id != parse_recipe(GOOD.replace("n: 4", "n: 5")).id


def test_shipped_recipes_and_the_starter_hold_together():
    assert "quickstart" in shipped_recipes()
    for name in shipped_recipes():
        assert load_recipe(name).name == name
    from importlib.resources import files

    parse_recipe((files("triptych.recipes") / "starter.yaml.txt").read_text())


@pytest.mark.parametrize(
    ("wrong", "line", "field", "said"),
    [
        (("min_margin: 0.5", "min_margni: 0.5"), 19, "instantiation.min_margni", "did you mean 'min_margin'?"),
        (("n: 4", "num: 4"), 8, "synthesis.0.num", "is not a field here"),
        (("kind: sample", "kind: smaple"), 8, "synthesis.0", "'smaple' is not known; did you mean 'sample'?"),
        (
            ("backend: openai, model: my-7b", "backend: opnai, model: my-7b"),
            4,
            "models.policy",
            "did you mean 'openai'?",
        ),
        (
            ("model: judge", "model: jugde"),
            14,
            "evaluation.0.model",
            "'jugde' is not declared under models; did you mean 'judge'?",
        ),
        (("[helpfulness, honesty]", "[helpfulness, honsety]"), 14, "evaluation.0.criteria", "did you mean 'honesty'?"),
        (("n: 4", "n: none"), 8, "synthesis.0.n", "valid integer"),
        (("weight: 2", "weight: -2"), 11, "objective.criteria.helpfulness.weight", "greater than or equal to 0"),
        (("text: It is honest.", "txt: It is honest."), 12, "objective.criteria.honesty.txt", "did you mean 'text'?"),
        (("seed: 7", "sede: 7"), 2, "sede", "did you mean 'seed'?"),
        (("price: {input: 2.5, output: 10}", "price: {input: 2.5}"), 5, "models.judge.price.output", "is missing"),
        (("http://127.0.0.1:8000/v1", "127.0.0.1:8000"), 4, "models.policy.base_url", "is not an http(s) address"),
        (("http://127.0.0.1:8000/v1", "http://me:pw@h/v1"), 4, "models.policy.base_url", "holds credentials"),
        (("http://127.0.0.1:8000/v1", "http://h/v1#there"), 4, "models.policy.base_url", "holds a fragment, #there"),
        (("http://127.0.0.1:8000", "http://h:99999"), 4, "models.policy.base_url", "Port out of range"),
        (("http://127.0.0.1:8000", "http://h:80a"), 4, "models.policy.base_url", "integer value as '80a'"),
        (("http://127.0.0.1:8000", "http://h:0"), 4, "models.policy.base_url", "has the port 0"),
        (("http://127.0.0.1:8000", "http://my host"), 4, "models.policy.base_url", "is not an http(s) address"),
        (("8000/v1", "8000/v1/chat/completions"), 4, "models.policy.base_url", "ends with the path of a request"),
        (("scale: [1, 5]", "scale: [5, 1]"), 14, "evaluation.0", "the first must be the lower"),
        (("scale: [1, 5]", "read: logprobs"), 14, "evaluation.0.read", "is not declared to give log-probabilities"),
        (
            ("model: my-7b,", "model: my-7b, extra_body: {headers: {Authorization: x}},"),
            4,
            "models.policy.extra_body",
            "'Authorization' looks like a secret",
        ),
        (
            ("model: my-7b,", "model: my-7b, extra_body: {user: sk-0123456789abcdef},"),
            4,
            "models.policy.extra_body",
            "'user' looks like a secret",
        ),
        (
            ("honesty: {text: It is honest.}", "honesty: {text: It helps.}"),
            12,
            "objective.criteria.honesty",
            "says the same as the criterion 'helpfulness'",
        ),
        (
            ("model: big", "model: my-7b"),
            5,
            "models.judge",
            "has the name of model 'policy' at another address",
        ),
        (
            ("  - {kind: verify}", "  - {kind: rubric, model: judge, criteria: [honesty], name: again}"),
            15,
            "evaluation.1",
            "makes the same rows as evaluation.0",
        ),
        (
            ("objective:\n", "  - {kind: sample, model: policy, temperature: 0.9, name: more}\nobjective:\n"),
            9,
            "synthesis.1",
            "makes the same rows as synthesis.0",
        ),
        (
            (
                "instantiation:\n  kind: pairs\n  choose: best_vs_worst\n  min_margin: 0.5",
                "instantiation:\n  - {kind: pairs}\n  - {kind: pairs}",
            ),
            18,
            "instantiation.1",
            "makes the same rows as instantiation.0",
        ),
        (("model: my-7b,", "model: my-7b, api_key: sk-123,"), 4, "models.policy.api_key", "is not a field here"),
        (
            ("criteria: [helpfulness, honesty]", "template: '{{ nope }}', criteria: [honesty]"),
            14,
            "evaluation.0.template",
            "may use prompt",
        ),
    ],
)
def test_errors_name_the_line_the_field_and_the_near_word(wrong, line, field, said):
    assert wrong[0] in GOOD
    found = [each for each in problems(GOOD.replace(*wrong)) if each[1] == field]
    assert found, problems(GOOD.replace(*wrong))
    assert found[0][0] == line
    assert said in found[0][2]


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("weight: 2", "weight: {}", "objective.criteria.helpfulness.weight"),
        ("scale: [1, 5]", "scale: [1, {}]", "evaluation.0.scale.1"),
        ("scale: [1, 5]", "min_mass: {}", "evaluation.0.min_mass"),
        ("min_margin: 0.5", "min_margin: {}", "instantiation.min_margin"),
        ("temperature: 0.9", "temperature: {}", "synthesis.0.temperature"),
        ("temperature: 0.9", "top_p: {}", "synthesis.0.top_p"),
        ("input: 2.5", "input: {}", "models.judge.price.input"),
        ("input: 2.5", "cached_input: {}, input: 1", "models.judge.price.cached_input"),
        ("model: my-7b", "timeout_s: {}, model: my-7b", "models.policy.timeout_s"),
        ("model: my-7b", "patience_s: {}, model: my-7b", "models.policy.patience_s"),
        ("model: my-7b", "tokens_per_s: {}, model: my-7b", "models.policy.tokens_per_s"),
        ("seed: 7", "budget: {{usd: {}}}", "budget.usd"),
    ],
)
def test_no_number_of_a_recipe_may_be_infinite_or_none(old, new, field, value):
    found = [message for _, where, message in problems(GOOD.replace(old, new.format(value))) if where == field]
    assert found
    assert "finite number" in found[0]


def test_a_misspelt_field_of_a_constraint_is_met_by_the_name_that_is_written():
    wrong = GOOD.replace("{kind: verify}", "{kind: verify, constraints: [{kind: json_schema, shema: {}}]}")
    said = {field: message for _, field, message in problems(wrong)}
    assert said["evaluation.1.constraints.0.shema"] == "is not a field here; did you mean 'schema'?"


@pytest.mark.parametrize(
    ("right", "also"),
    [
        ("model: big", "model: my-7b, version: big"),
        ("  - {kind: verify}", "  - {kind: rubric, model: policy, criteria: [honesty]}"),
        ("  - {kind: verify}", "  - {kind: rubric, model: judge, criteria: [honesty], temperature: 0.1}"),
        ("model: my-7b,", "model: my-7b, extra_body: {prompt_cache_key: mine, skip_special_tokens: false},"),
    ],
)
def test_what_only_looks_alike_is_let_through(right, also):
    assert right in GOOD
    parse_recipe(GOOD.replace(right, also))


def test_a_key_in_a_recipe_is_not_repeated_in_the_error():
    with pytest.raises(RecipeError) as raised:
        parse_recipe(GOOD.replace("model: my-7b,", "model: my-7b, api_key: sk-123-secret,"))
    assert "sk-123-secret" not in str(raised.value)


def test_a_sampler_of_two_names_of_one_model_is_refused():
    """Both would give the same responses, under the same ids."""
    again = GOOD.replace(
        "  judge:", "  twin:   {backend: openai, model: my-7b, base_url: http://127.0.0.1:8000/v1}\n  judge:"
    )
    assert parse_recipe(again).models["twin"].identity == parse_recipe(again).models["policy"].identity
    both = again.replace("model: policy, n: 4", "model: [policy, twin], n: 4")
    assert only_problem(both) == (9, "synthesis.0.model", "names the same one twice")
    parse_recipe(both.replace("twin:   {", "twin:   {version: later, "))


def test_all_problems_are_said_at_once():
    text = GOOD.replace("seed: 7", "sede: 7").replace("n: 4", "n: 0")
    assert {(line, field) for line, field, _ in problems(text)} == {(2, "sede"), (8, "synthesis.0.n")}


def test_broken_yaml_names_its_line():
    line, _, said = only_problem(GOOD.replace("  criteria:\n", "  criteria: [\n"))
    assert line is not None
    assert line >= 10
    assert "YAML" in said


def test_a_field_given_twice_is_an_error():
    line, field, said = only_problem(GOOD + "seed: 8\n")
    assert (line, field) == (20, "seed")
    assert "given twice, first on line 2" in said


@pytest.mark.parametrize("text", ["", "- a list", "just words", "3"])
def test_what_is_no_mapping_is_no_recipe(text):
    assert "mapping" in only_problem(text)[2]


def test_a_file_that_is_not_there_and_an_unknown_name_are_said(tmp_path):
    with pytest.raises(RecipeError, match="can't be read"):
        load_recipe(tmp_path / "absent.yaml")
    with pytest.raises(RecipeError, match="did you mean 'quickstart'"):
        load_recipe("quikstart")


def test_settings_can_be_changed_from_outside():
    recipe = parse_recipe(GOOD, changes=["synthesis.0.n=8", "budget.calls=50", "models.policy.version=round-2"])
    assert recipe.synthesis[0].n == 8
    assert recipe.budget.calls == 50
    assert recipe.models["policy"].version == "round-2"
    for change in ("synthesis.3.n=8", "nonsense", "synthesis.x=1", "name.first=1"):
        with pytest.raises(RecipeError, match="--set"):
            parse_recipe(GOOD, changes=[change])


def test_a_budget_in_dollars_needs_prices():
    assert any("has no price" in said for _, _, said in problems(GOOD + "budget: {usd: 5}\n"))


def test_python_gets_the_same_errors_without_lines():
    with pytest.raises(ValidationError, match="model 'nobody' is not declared"):
        tp.Recipe(name="x", prompts={"kind": "inline", "prompts": ["a"]}, synthesis=[tp.Sample(model="nobody")])


def test_a_recipe_can_not_be_changed_in_place():
    with pytest.raises(ValidationError):
        parse_recipe(GOOD).seed = 8


def test_the_schema_for_editors_takes_good_recipes_and_refuses_bad_ones():
    validator = jsonschema_rs.validator_for(json.loads(json.dumps(recipe_schema())))
    for text in (GOOD, *(recipe_yaml(load_recipe(name)) for name in shipped_recipes())):
        assert validator.is_valid(yaml.safe_load(text)), next(iter(validator.iter_errors(yaml.safe_load(text))))
    for wrong in (("n: 4", "num: 4"), ("kind: sample", "kind: smaple"), ("scale: [1, 5]", "scale: 5")):
        assert not validator.is_valid(yaml.safe_load(GOOD.replace(*wrong)))


def test_the_schema_says_what_each_field_means():
    schema = recipe_schema()
    parts = {"Recipe": schema, **schema["$defs"]}
    silent = {
        f"{name}.{field}"
        for name, part in parts.items()
        for field, about in part.get("properties", {}).items()
        if field != "kind" and not about.get("description")
    }
    assert not silent


def test_a_name_that_yaml_takes_for_something_else_is_to_be_put_in_quotes():
    said = problems(GOOD.replace("  judge:", "  no:", 1))
    assert any("put it in quotes" in message for _, _, message in said)


def test_standard_input_can_be_set():
    text = GOOD.replace("seed: 7", "seed: 8")
    changed = parse_recipe(text, changes=["prompts={kind: file}", "prompts.path=-"])
    assert changed.prompts.path == "-"


@pytest.mark.parametrize("n", ["100000000", "99999999999999999999"])
def test_more_responses_than_anybody_wants_are_refused_at_once(n):
    assert any("10000" in message for _, _, message in problems(GOOD.replace("n: 4", f"n: {n}")))


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 10**9 }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% set a = prompt ~ prompt %}{{ a }}",
        "{{ prompt | center(1000000000) }}",
        "{{ '%1000000000d' % 1 }}",
    ],
)
def test_a_template_can_not_exhaust_the_machine(template):
    with pytest.raises(ValueError, match="templates may not"):
        checked_template(template, {"prompt": "p"})
