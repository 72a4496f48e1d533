"""What rows of each format become: one row a case, checked against what was written down by hand."""

import json

import pytest

import triptych as tp
from triptych.imports.formats import formats

U, A = "user", "assistant"


def chat(*messages):
    return [{"role": role, "content": content} for role, content in messages]


def table(run, name):
    return run.table(name).collect().to_dicts()


def texts(run):
    """Response id -> all that it says."""
    return {r["id"]: " | ".join(m["content"] for m in r["messages"]) for r in table(run, "responses")}


def prompts(run):
    return [[(m["role"], m["content"]) for m in p["messages"]] for p in table(run, "prompts")]


def pairs(run):
    """(chosen, rejected, margin) of each pair, by what they say."""
    say = texts(run)
    return [(*(say[r] for r in e["response_ids"]), e["margin"]) for e in table(run, "examples") if e["kind"] == "pair"]


def said(run, *fields):
    """Each verdict: the criterion, what it says of which text, and these fields."""
    say = texts(run)
    found = []
    for j in table(run, "judgements"):
        of = [say[r] for r in j["response_ids"]]
        values = j["scores"] if j["scores"] is not None else j["ranks"]
        about = tuple(sorted(zip(of, values or [None] * len(of), strict=True)))
        found.append((j["criterion"], about, *(j[field] for field in fields)))
    return found


def imported(tmp_path, rows, as_=None, name="data.jsonl", **options):
    file = tmp_path / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tp.import_data(file, as_, out=tmp_path / "run", **options)


HH = {
    "chosen": "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Name a fruit.\n\nAssistant: Apple.",
    "rejected": "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Name a fruit.\n\nAssistant: A dog.",
}
FRUIT = [(U, "Name a fruit.")]
TALK = [(U, "Hi"), (A, "Hello."), (U, "Name a fruit.")]
ONE = ("Apple.", "A dog.", None)

PAIRS = {
    "hh-rlhf": ("hh-rlhf", HH, TALK, ONE),
    "ultrafeedback in pairs": (
        "ultrafeedback",
        {
            "prompt": "Name a fruit.",
            "prompt_id": "1",
            "chosen": chat(*FRUIT, (A, "Apple.")),
            "rejected": chat(*FRUIT, (A, "A dog.")),
            "messages": chat(*FRUIT, (A, "Apple.")),
            "score_chosen": 8.5,
            "score_rejected": 4.0,
        },
        FRUIT,
        ("Apple.", "A dog.", 0.5),
    ),
    "trl, explicit": (
        "trl",
        {"prompt": chat(*TALK), "chosen": chat((A, "Apple.")), "rejected": chat((A, "A dog."))},
        TALK,
        ONE,
    ),
    "trl, implicit": ("trl", {"chosen": chat(*TALK, (A, "Apple.")), "rejected": chat(*TALK, (A, "A dog."))}, TALK, ONE),
    "trl, text": ("trl", {"prompt": "Name a fruit.", "chosen": "Apple.", "rejected": "A dog."}, FRUIT, ONE),
    "trl, implicit text": (
        "trl",
        {"chosen": "The sky is blue.", "rejected": "The sky is green."},
        [(U, "The sky is")],
        (" blue.", " green.", None),
    ),
    "trl, margin": (
        "trl",
        {"prompt": "Name a fruit.", "chosen": "Apple.", "rejected": "A dog.", "margin": 2.5},
        FRUIT,
        ("Apple.", "A dog.", 2.5),
    ),
    "llama-factory, alpaca": (
        "llama-factory",
        {"instruction": "Name", "input": "a fruit.", "chosen": "Apple.", "rejected": "A dog."},
        [(U, "Name\na fruit.")],
        ONE,
    ),
    "llama-factory, sharegpt": (
        "llama-factory",
        {
            "conversations": [
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "Hello."},
                {"from": "human", "value": "Name a fruit."},
            ],
            "chosen": {"from": "gpt", "value": "Apple."},
            "rejected": {"from": "gpt", "value": "A dog."},
        },
        TALK,
        ONE,
    ),
    "openai": (
        "openai",
        {
            "input": {"messages": chat(*TALK), "tools": [], "parallel_tool_calls": True},
            "preferred_output": chat((A, "Apple.")),
            "non_preferred_output": chat((A, "A dog.")),
        },
        TALK,
        ONE,
    ),
    "axolotl": (
        "axolotl",
        {"messages": chat(*TALK), "chosen": chat((A, "Apple."))[0], "rejected": chat((A, "A dog."))[0]},
        TALK,
        ONE,
    ),
    "nemo-rl": (
        "nemo-rl",
        {
            "context": chat(*TALK),
            "completions": [
                {"rank": 1, "completion": chat((A, "A dog."))},
                {"rank": 0, "completion": chat((A, "Apple."))},
            ],
        },
        TALK,
        ONE,
    ),
    "distilabel in pairs": (
        "distilabel",
        {
            "instruction": "Name a fruit.",
            "chosen": chat(*FRUIT, (A, "Apple.")),
            "rejected": chat(*FRUIT, (A, "A dog.")),
            "chosen_rating": 5,
            "rejected_rating": 2.0,
            "chosen_model": "m1",
            "rejected_model": "m2",
        },
        FRUIT,
        ("Apple.", "A dog.", 0.75),
    ),
    "arena": (
        "arena",
        {
            "model_a": "m1",
            "model_b": "m2",
            "winner": "model_b",
            "judge": "somebody",
            "conversation_a": chat(*FRUIT, (A, "A dog.")),
            "conversation_b": chat(*FRUIT, (A, "Apple.")),
        },
        FRUIT,
        ONE,
    ),
    "arena, lists of turns": (
        "arena",
        {
            "model_a": "m1",
            "model_b": "m2",
            "prompt": json.dumps(["Name a fruit."]),
            "response_a": json.dumps(["Apple."]),
            "response_b": json.dumps(["A dog."]),
            "winner_model_a": 1,
            "winner_model_b": 0,
            "winner_tie": 0,
        },
        FRUIT,
        ONE,
    ),
    "llmbar": (
        "llmbar",
        {"input": "Name a fruit.", "output_1": "A dog.", "output_2": "Apple.", "label": 2},
        FRUIT,
        ONE,
    ),
    "judgebench": (
        "judgebench",
        {"pair_id": "1", "question": "Name a fruit.", "response_A": "Apple.", "response_B": "A dog.", "label": "A>B"},
        FRUIT,
        ONE,
    ),
    "alpaca-eval": (
        "alpaca-eval",
        {
            "instruction": "Name a fruit.",
            "output_1": "A dog.",
            "generator_1": "base",
            "output_2": "Apple.",
            "generator_2": "new",
            "annotator": "gpt-x",
            "preference": 1.9,
        },
        FRUIT,
        ONE,
    ),
}


@pytest.mark.parametrize(("form", "row", "prompt", "pair"), PAIRS.values(), ids=PAIRS)
def test_a_pair_of_each_format_is_guessed_and_becomes_a_prompt_two_responses_and_a_pair(
    tmp_path, form, row, prompt, pair
):
    run = imported(tmp_path, [row])
    assert run.manifest.imported.endswith(f"as {form}")
    assert prompts(run) == [prompt]
    assert sorted(texts(run).values()) == sorted(pair[:2])
    assert pairs(run) == [pair]
    (compared,) = [j for j in table(run, "judgements") if j["criterion"] == "preference"]
    assert compared["evaluator"] == form
    assert sorted(compared["ranks"]) == [1, 2]
    (example,) = table(run, "examples")
    assert compared["id"] in example["judgement_ids"]


def test_each_format_that_there_is_has_a_case():
    cases = {form for form, *_ in PAIRS.values()} | {"helpsteer2", "nectar", "openrlhf", "prm800k"}
    assert cases == set(formats())


def test_completions_with_annotations_become_scores_per_criterion_with_their_models(tmp_path):
    def completion(model, text, helpful, honest, overall):
        return {
            "model": model,
            "custom_system_prompt": "Be kind.",
            "response": text,
            "annotations": {
                "helpfulness": {"Rating": str(helpful), "Rationale": "so"},
                "honesty": {"Rating": honest, "Rationale": "thus", "Rationale For Rating": "and so"},
            },
            "overall_score": overall,
        }

    row = {
        "source": "sharegpt",
        "instruction": "Name a fruit.",
        "correct_answers": ["Apple"],
        "completions": [
            completion("m1", "Apple.", 5, "4", 8),
            completion("m2", "A dog.", 1, "2", 10),
            completion("m3", "Pear.", 4, "N/A", 7.5),
        ],
    }
    run = imported(tmp_path, [row])
    assert run.manifest.imported.endswith("as ultrafeedback")
    assert {(r["model"], texts(run)[r["id"]]) for r in table(run, "responses")} == {
        ("m1", "Apple."),
        ("m2", "A dog."),
        ("m3", "Pear."),
    }
    (prompt,) = table(run, "prompts")
    assert (prompt["source"], prompt["reference"]) == ("sharegpt", "Apple")
    verdicts = {
        (name, of): (tuple(scale), *rest) for name, of, scale, *rest in said(run, "scale", "rationale", "status")
    }
    assert verdicts["helpfulness", (("Apple.", 5.0),)] == ((1.0, 5.0), "so", "ok")
    assert verdicts["honesty", (("A dog.", 2.0),)] == ((1.0, 5.0), "thus\nand so", "ok")
    assert verdicts["honesty", (("Pear.", None),)][2] == "unparsed"
    assert verdicts["overall", (("Pear.", 7.5),)][0] == (1.0, 10.0)
    # Of aspects that weigh alike: Apple (1 + 0.75) / 2, the dog (0 + 0.25) / 2; the pear lacks honesty, overall weighs 0.
    assert pairs(run) == [("Apple.", "A dog.", 0.75)]


def test_attributes_of_two_rows_of_a_prompt_become_one_prompt_with_two_responses(tmp_path):
    def row(text, helpful):
        rest = {"correctness": 1, "coherence": 2, "complexity": 3, "verbosity": 4}
        return {"prompt": "Name a fruit.", "response": text, "helpfulness": helpful, **rest}

    talk = {**row("Pear.", 2), "prompt": "Hi<extra_id_1>Assistant\nHello.\n<extra_id_1>User\nName a fruit."}
    run = imported(tmp_path, [row("A dog.", 0), talk, row("Apple.", 3)])
    assert run.manifest.imported.endswith("as helpsteer2")
    assert prompts(run) == [FRUIT, TALK]
    assert [texts(run)[r["id"]] for r in table(run, "responses")] == ["A dog.", "Apple.", "Pear."]
    assert ("helpfulness", (("Apple.", 3.0),)) in said(run)
    assert pairs(run) == [("Apple.", "A dog.", 0.75)]  # helpfulness alone, 3 / 4 and 0


def test_ranks_of_several_answers_become_one_ranking(tmp_path):
    row = {
        "prompt": "\n\nHuman: Name a fruit. \n\nAssistant: ",
        "answers": [
            {"answer": "Apple.", "model": "m1", "rank": 1.0},
            {"answer": "Pear.", "model": "m2", "rank": 2.0},
            {"answer": "A plum.", "model": "m3", "rank": 2.0},
            {"answer": "A dog.", "model": "m4", "rank": 7.0},
        ],
        "turns": 1,
        "num_responses": 4,
        "source": ["anthropic-hh"],
        "good_natured": True,
    }
    run = imported(tmp_path, [row])
    assert run.manifest.imported.endswith("as nectar")
    assert prompts(run) == [FRUIT]
    assert said(run) == [("preference", (("A dog.", 3), ("A plum.", 2), ("Apple.", 1), ("Pear.", 2)))]
    assert pairs(run) == [("Apple.", "A dog.", 1.0)]


def test_generations_with_ratings_become_scores_on_the_scale_that_is_said(tmp_path):
    row = {
        "instruction": "Name a fruit.",
        "system_prompt": "Be short.",
        "generations": ["Apple.", "A dog.", "Pear."],
        "generation_models": ["m1", "m2", "m3"],
        "ratings": [9, 1, None],
        "rationales": ["yes", "no", "?"],
        "model_name": "judge",
    }
    run = imported(tmp_path, [row], scale=(1, 10))
    assert run.manifest.imported.endswith("as distilabel")
    assert prompts(run) == [[("system", "Be short."), *FRUIT]]
    found = {of[0][0]: (of[0][1], *rest) for _, of, *rest in said(run, "scale", "rationale", "model", "status")}
    assert found["Apple."] == (9.0, [1.0, 10.0], "yes", "judge", "ok")
    assert found["Pear."][-1] == "unparsed"
    assert pairs(run) == [("Apple.", "A dog.", round(8 / 9, 12))]


LABELLED = {
    "trl": (
        {"prompt": "Name a fruit.", "completion": "Apple.", "label": True},
        {"prompt": "Name a fruit.", "completion": "A dog.", "label": False},
    ),
    "llama-factory": (
        {"instruction": "Name a fruit.", "output": "Apple.", "kto_tag": True},
        {"instruction": "Name a fruit.", "output": "A dog.", "kto_tag": False},
    ),
    "openrlhf": (
        {"instruction": "Name a fruit.", "response": "Apple.", "score": 1},
        {"instruction": "Name a fruit.", "response": "A dog.", "score": 0},
    ),
}


@pytest.mark.parametrize(("form", "rows"), LABELLED.items(), ids=LABELLED)
def test_thumbs_become_scores_of_0_and_1_and_unpaired_examples(tmp_path, form, rows):
    run = imported(tmp_path, rows)
    assert run.manifest.imported.endswith(f"as {form}")
    assert prompts(run) == [FRUIT]
    assert said(run, "evaluator") == [("label", (("Apple.", 1.0),), form), ("label", (("A dog.", 0.0),), form)]
    examples = [(e["kind"], *(texts(run)[r] for r in e["response_ids"]), *e["labels"]) for e in table(run, "examples")]
    assert examples == [("unpaired", "Apple.", 1.0), ("unpaired", "A dog.", 0.0)]


IMITATED = {
    "prompt and completion": {"prompt": chat(*TALK), "completion": chat((A, "Apple."))},
    "messages": {"messages": chat(*TALK, (A, "Apple."))},
    "sharegpt": {
        "conversations": [
            {"from": who, "value": what}
            for who, what in zip(("human", "gpt") * 2, ("Hi", "Hello.", "Name a fruit.", "Apple."), strict=True)
        ]
    },
    "alpaca with history": {
        "instruction": "Name a fruit.",
        "input": "",
        "output": "Apple.",
        "history": [["Hi", "Hello."]],
    },
}


@pytest.mark.parametrize("row", IMITATED.values(), ids=IMITATED)
def test_answers_to_imitate_become_supervised_examples(tmp_path, row):
    run = imported(tmp_path, [row])
    assert prompts(run) == [TALK]
    assert [(e["kind"], texts(run)[e["response_ids"][0]]) for e in table(run, "examples")] == [("sft", "Apple.")]


def test_prompts_alone_become_prompts_with_their_references(tmp_path):
    run = imported(tmp_path, [{"prompt": chat(*FRUIT), "solution": "Apple"}, {"prompt": "2 + 2?", "answer": 4}])
    assert [p["reference"] for p in table(run, "prompts")] == ["Apple", "4"]
    assert table(run, "responses") == table(run, "examples") == []


STEPS = {
    "trl": {"prompt": "2 + 2 + 2?", "completions": ["2 + 2 = 4", "4 + 2 = 7"], "labels": [True, False]},
    "openrlhf": {
        "input": "2 + 2 + 2? Step 1: 2 + 2 = 4 ки\nStep 2: 4 + 2 = 7 ки",
        "label": ["+", "-"],
    },
}


@pytest.mark.parametrize(("form", "row"), STEPS.items(), ids=STEPS)
def test_labels_of_steps_become_judgements_of_the_places_where_the_steps_stand(tmp_path, form, row):
    run = imported(tmp_path, [row])
    assert run.manifest.imported.endswith(f"as {form}")
    assert prompts(run) == [[(U, "2 + 2 + 2?")]]
    (text,) = texts(run).values()
    parts = [text[j["step"]["start"] : j["step"]["end"]] for j in table(run, "judgements")]
    assert [part.removeprefix("Step 1: ").removeprefix("Step 2: ") for part in parts] == ["2 + 2 = 4", "4 + 2 = 7"]
    assert "\n".join(parts) == text
    (example,) = table(run, "examples")
    assert (example["kind"], example["labels"]) == ("stepwise", [1.0, 0.0])


def test_alternative_steps_become_branches_that_can_be_paired_with_what_they_branch_from(tmp_path):
    def step(*completions, chosen=0):
        return {
            "completions": [{"text": text, "rating": rating, "flagged": None} for text, rating in completions],
            "human_completion": None,
            "chosen_completion": chosen,
        }

    row = {
        "labeler": "somebody",
        "question": {"problem": "2 + 2 + 2?", "ground_truth_answer": "6"},
        "label": {"steps": [step(("2 + 2 = 4", 1)), step(("4 + 2 = 6", 1), ("4 + 2 = 7", -1), ("Hm.", 0))]},
    }
    run = imported(tmp_path, [row])
    assert run.manifest.imported.endswith("as prm800k")
    assert table(run, "prompts")[0]["reference"] == "6"
    whole, wrong, idle = table(run, "responses")
    assert list(texts(run).values()) == ["2 + 2 = 4\n4 + 2 = 6", "2 + 2 = 4\n4 + 2 = 7", "2 + 2 = 4\nHm."]
    assert [one["parent_id"] for one in (whole, wrong, idle)] == [None, whole["id"], whole["id"]]
    assert [e["labels"] for e in table(run, "examples")] == [[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    change = {"kind": "pairs", "choose": "best_vs_worst", "within": "prefix", "fold": "last"}
    recipe = tp.load_recipe(run.path / "recipe.yaml").model_copy(update={"instantiation": ()})
    recipe = tp.Recipe.model_validate(recipe.model_dump() | {"instantiation": [change]})
    anew = tp.instantiate(run, recipe, tmp_path / "anew")
    assert pairs(anew) == [("2 + 2 = 4\n4 + 2 = 6", "2 + 2 = 4\n4 + 2 = 7", 1.0)]


def test_a_tie_of_a_battle_is_kept_as_a_verdict_and_makes_no_pair(tmp_path):
    row = dict(PAIRS["arena"][1], winner="tie (bothbad)")
    run = imported(tmp_path, [row])
    assert said(run) == [("preference", (("A dog.", 1), ("Apple.", 1)))]
    assert pairs(run) == []


def test_tools_of_a_prompt_are_kept(tmp_path):
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    row = dict(PAIRS["openai"][1])
    row["input"] = row["input"] | {"tools": [tool]}
    run = imported(tmp_path, [row])
    assert json.loads(table(run, "prompts")[0]["tools"]) == [tool]


def test_dataset_info_names_the_columns_and_tags_of_a_file(tmp_path):
    info = {
        "mine": {
            "file_name": "data.jsonl",
            "formatting": "sharegpt",
            "ranking": True,
            "columns": {"messages": "talk", "chosen": "good", "rejected": "bad"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
                "system_tag": "system",
            },
        }
    }
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    row = {"talk": chat(*TALK), "good": chat((A, "Apple."))[0], "bad": chat((A, "A dog."))[0]}
    run = imported(tmp_path, [row], "llama-factory")
    assert (prompts(run), pairs(run)) == ([TALK], [ONE])


def test_a_verdict_whose_order_is_not_known_does_not_put_the_better_one_first(tmp_path):
    rows = [{"prompt": f"Name fruit {i}.", "chosen": "Apple.", "rejected": "A dog."} for i in range(400)]
    run = imported(tmp_path, rows)
    first = sum(j["ranks"] == [1, 2] for j in table(run, "judgements"))
    assert 140 < first < 260  # one in two, give or take six standard deviations


def test_the_order_in_which_a_battle_was_shown_is_kept(tmp_path):
    rows = [
        dict(
            PAIRS["arena"][1],
            conversation_a=chat((U, f"Name fruit {i}."), (A, "A dog.")),
            conversation_b=chat((U, f"Name fruit {i}."), (A, "Apple.")),
        )
        for i in range(40)
    ]
    run = imported(tmp_path, rows)
    say = texts(run)
    assert {say[j["response_ids"][0]] for j in table(run, "judgements")} == {"A dog."}


RATED = {
    "ultrafeedback": {
        "source": "s",
        "instruction": "Name a fruit.",
        "correct_answers": ["Apple"],
        "completions": [
            {
                "model": "m1",
                "custom_system_prompt": "Be kind.",
                "response": text,
                "annotations": {"honesty": {"Rating": "3", "Rationale": "so"}},
                "overall_score": 3,
                "critique": "fine",
            }
            for text in ("Apple.", "A dog.")
        ],
    },
    "helpsteer2": {"prompt": "Name a fruit.", "response": "Apple.", "helpfulness": 3, "verbosity": 1},
    "nectar": {
        "prompt": "\n\nHuman: Name a fruit.\n\nAssistant: ",
        "answers": [{"answer": "Apple.", "model": "m", "rank": 1}, {"answer": "A dog.", "model": "n", "rank": 2}],
        "source": ["x"],
    },
    "distilabel": {
        "instruction": "Name a fruit.",
        "system_prompt": "Be short.",
        "generations": ["Apple.", "A dog."],
        "generation_models": ["m", "n"],
        "ratings": [5, 1],
        "rationales": ["yes", "no"],
        "model_name": "j",
    },
    "prm800k": {
        "labeler": "l",
        "question": {"problem": "2 + 2?", "ground_truth_answer": "4"},
        "label": {
            "steps": [
                {
                    "completions": [{"text": "4", "rating": 1}, {"text": "5", "rating": -1}],
                    "human_completion": {"text": "four"},
                    "chosen_completion": 0,
                }
            ],
            "finish_reason": "solution",
        },
    },
}
JUNK = (
    None,
    True,
    0,
    -1,
    2.5,
    "",
    " ",
    "junk",
    "[1]",
    "[{",
    [],
    [None],
    [5],
    ["a", "b", "c"],
    {},
    {"a": 1},
    [{}],
    [[]],
)


def spoiled(value):
    """The value with each of its parts, one at a time, replaced by each sort of junk, or left out."""
    yield from JUNK
    if isinstance(value, dict):
        for key in value:
            yield {other: inner for other, inner in value.items() if other != key}
            yield from ({**value, key: inner} for inner in spoiled(value[key]))
    elif isinstance(value, list):
        for place in range(len(value)):
            yield from ([*value[:place], inner, *value[place + 1 :]] for inner in spoiled(value[place]))


WHOLE = (
    [(form, row) for form, row, *_ in PAIRS.values()]
    + [(form, row) for form, rows in LABELLED.items() for row in rows[:1]]
    + [*RATED.items(), *STEPS.items()]
    + [("llama-factory" if {"conversations", "instruction"} & row.keys() else "trl", row) for row in IMITATED.values()]
)


@pytest.mark.parametrize(("form", "row"), WHOLE, ids=[f"{form} {place}" for place, (form, _) in enumerate(WHOLE)])
def test_no_junk_in_any_field_of_a_row_ends_an_import_or_takes_a_good_row_with_it(tmp_path, form, row):
    rows = [row, *(junk for junk in spoiled(row) if isinstance(junk, dict) and junk)]
    run = imported(tmp_path, rows, form)
    assert run.manifest.prompts >= 1
    lines = map(json.loads, (tmp_path / "run" / "set_aside.jsonl").read_text().splitlines())
    aside = {line["row"]: line["reason"] for line in lines}
    assert 1 not in aside
    assert len(aside) > 3
    assert all(reason and "Traceback" not in reason and reason[0] != "'" for reason in aside.values())
