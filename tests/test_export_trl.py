"""What TRL gets: rows that `datasets` loads, messages without empty keys, and a card."""

from __future__ import annotations

import json

import polars as pl
import pytest
import yaml

from triptych.errors import TriptychError
from triptych.export import export_run
from triptych.export.card import plain
from triptych.export.trl import export_trl
from triptych.instantiation.pairs import Pairs
from triptych.records import (
    Message,
    Objective,
    ToolCall,
    make_example,
    make_judgement,
    make_prompt,
    make_response,
)
from triptych.store.run import Manifest, open_run, write_manifest
from triptych.store.tables import frame

RECIPE = {
    "name": "small",
    "description": "Tests | and *stars*.",
    "models": {
        "policy": {
            "backend": "openai",
            "model": "org/my_model",
            "version": "r1",
            "base_url": "http://127.0.0.1:8000/v1",
        },
        "judge": {
            "backend": "openai",
            "model": "big",
            "api_key_env": "JUDGE_KEY",
            "extra_body": {"x_api_key": "in-the-body-secret", "top_k": 5},
        },
    },
    "prompts": {"kind": "file", "path": "prompts.jsonl"},
    "synthesis": [{"kind": "sample", "model": "policy", "n": 3}],
    "evaluation": [{"kind": "rubric", "model": "judge"}],
    "instantiation": {"kind": "pairs", "min_margin": 0.25},
}


def say(text):
    return (Message("assistant", text),)


def make_run(folder, rows, pairs=None, recipe=None, more_examples=(), **prompt_fields):
    """A run of `rows`: a list of (prompt messages, [(response messages, score), ...])."""
    pairs = pairs or Pairs(min_margin=0.25)
    prompts, responses, judgements = [], [], []
    for messages, answers in rows:
        prompt = make_prompt(messages, **prompt_fields)
        prompts.append(prompt)
        for index, (answer, score) in enumerate(answers):
            made = make_response(
                prompt_id=prompt.id,
                generator="sample",
                generator_id="o_g",
                model="org/my_model",
                sample_index=index,
                messages=answer,
            )
            responses.append(made)
            judgements.append(
                make_judgement(
                    prompt_id=prompt.id,
                    response_ids=(made.id,),
                    criterion="helpfulness",
                    criterion_id="c",
                    evaluator="rubric",
                    evaluator_id="o_r",
                    model="big",
                    scores=(float(score),),
                    scale=(1.0, 5.0),
                )
            )
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"prompts": prompts, "responses": responses, "judgements": judgements}
    frames = {name: frame(name, table) for name, table in tables.items()}
    made = pairs.instantiate(frames["responses"].lazy(), frames["judgements"].lazy(), Objective(), 0).collect()
    frames["examples"] = pl.concat([made, frame("examples", [make(responses) for make in more_examples])])
    for name, table in frames.items():
        table.write_parquet(folder / f"{name}.parquet")
    content = RECIPE | {"instantiation": pairs.model_dump(mode="json", exclude_defaults=True)} | (recipe or {})
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    write_manifest(
        folder,
        Manifest(
            run="x",
            recipe="small",
            recipe_id="recipe_1",
            status="finished",
            prompts=len(prompts),
            set_aside=2,
            spent={"calls": 12, "tokens": 3456, "usd": 0.125},
            addresses={
                "policy": "http://me:pass@127.0.0.1:8000/v1?key=1",
                "judge": "https://api.example.com/v1",
            },
            version="0.1.0",
        ),
    )
    return open_run(folder)


def simple(count=3):
    return [
        (
            (Message("system", "Be kind."), Message("user", f"Why {i}?")),
            [(say(f"Well, ü {i}"), 5), (say("No."), 1), (say("?"), 3)],
        )
        for i in range(count)
    ]


def test_rows_have_the_prompt_and_both_continuations(tmp_path):
    run = make_run(tmp_path / "run", simple())
    result = export_trl(run, tmp_path / "out")
    assert (result.rows, result.ties, result.path) == (3, 0, tmp_path / "out")
    assert [f.name for f in result.files] == ["train.parquet", "train.jsonl", "README.md"]
    assert sorted(f.name for f in result.path.iterdir()) == ["README.md", "train.jsonl", "train.parquet"]
    rows = [json.loads(line) for line in (result.path / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    examples = run.examples().collect()
    responses = {r["id"]: r for r in run.responses().collect().iter_rows(named=True)}
    assert [row["example_id"] for row in rows] == examples["id"].to_list()
    for number, (row, example) in enumerate(zip(rows, examples.iter_rows(named=True), strict=True)):
        assert row["prompt"] == [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": f"Why {number}?"},
        ]
        assert row["chosen"] == [{"role": "assistant", "content": f"Well, ü {number}"}]
        assert row["rejected"] == [{"role": "assistant", "content": "No."}]
        assert [row["chosen_id"], row["rejected_id"]] == example["response_ids"]
        assert responses[row["rejected_id"]]["messages"][0]["content"] == "No."
        assert (row["margin"], row["weight"], row["score_chosen"], row["score_rejected"]) == (
            1.0,
            1.0,
            1.0,
            0.0,
        )
        assert (row["strategy"], row["objective_version"], row["prompt_id"]) == (
            "best_vs_worst",
            "v1",
            example["prompt_id"],
        )
        assert "tools" not in row
    assert "ü" in (result.path / "train.jsonl").read_text(encoding="utf-8")  # as itself, not escaped


@pytest.mark.parametrize("form", ["parquet", "json"])
def test_datasets_loads_it_with_nothing_but_roles_and_contents(tmp_path, form):
    from datasets import load_dataset

    result = export_trl(make_run(tmp_path / "run", simple()), tmp_path / "out")
    file = str(result.path / {"parquet": "train.parquet", "json": "train.jsonl"}[form])
    data = load_dataset(form, data_files=file, split="train", cache_dir=str(tmp_path / "cache"))
    assert data.num_rows == 3
    assert data[1]["chosen"] == [{"role": "assistant", "content": "Well, ü 1"}]
    assert data[1]["prompt"][0] == {"role": "system", "content": "Be kind."}
    assert data.column_names == [
        "prompt", "chosen", "rejected", "margin", "weight", "score_chosen", "score_rejected", "example_id",
        "prompt_id", "chosen_id", "rejected_id", "strategy", "objective_version",
    ]  # fmt: skip


def test_both_files_say_the_same(tmp_path):
    result = export_trl(make_run(tmp_path / "run", simple(20)), tmp_path / "out")
    lines = (result.path / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert pl.read_parquet(result.path / "train.parquet").to_dicts() == [json.loads(line) for line in lines]


def with_tools(tmp_path):
    call = ToolCall("call_1", "search", '{"q": "x"}')
    acted = (
        Message("assistant", "", (call,)),
        Message("tool", "found", tool_call_id="call_1"),
        Message("assistant", "Yes"),
    )
    rows = [((Message("user", "Look"),), [(acted, 5), (say("No"), 1)])]
    tools = ({"type": "function", "function": {"name": "search", "parameters": {}}},)
    return export_trl(make_run(tmp_path / "run", rows, tools=tools), tmp_path / "out"), tools


def test_tool_calls_are_written_as_openai_writes_them(tmp_path):
    result, tools = with_tools(tmp_path)
    (row,) = [json.loads(line) for line in (result.path / "train.jsonl").read_text().splitlines()]
    function = {"name": "search", "arguments": '{"q": "x"}'}
    assert row["chosen"] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "found", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "Yes"},
    ]
    assert row["rejected"] == [{"role": "assistant", "content": "No"}]
    assert json.loads(row["tools"]) == list(tools)
    table = pl.read_parquet(result.path / "train.parquet")
    assert table["chosen"][0][0]["tool_calls"] == row["chosen"][0]["tool_calls"]
    assert "name" not in table["chosen"][0][0]
    assert "`tools`" in (result.path / "README.md").read_text()


def test_more_pairs_than_are_held_at_once_stay_in_order(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", simple(25), Pairs(choose="all_pairs"))
    monkeypatch.setattr("triptych.export.trl._ROWS_AT_ONCE", 7)
    result = export_trl(run, tmp_path / "out")
    table = pl.read_parquet(result.path / "train.parquet")
    assert result.rows == table.height == 75
    assert table["example_id"].to_list() == run.examples().collect()["id"].to_list()
    asked = table.select(pl.col("prompt").list.last().struct.field("content")).to_series().to_list()
    assert asked == [f"Why {i // 3}?" for i in range(75)]


def test_one_format_alone_and_the_card_names_its_file(tmp_path):
    run = make_run(tmp_path / "run", simple())
    result = export_trl(run, tmp_path / "out", formats=("jsonl",))
    assert sorted(f.name for f in result.path.iterdir()) == ["README.md", "train.jsonl"]
    assert 'load_dataset("json", data_files="train.jsonl"' in (result.path / "README.md").read_text()
    with pytest.raises(TriptychError, match="there are: parquet, jsonl"):
        export_trl(run, tmp_path / "out", formats=("csv",))  # type: ignore[arg-type]


def test_exporting_again_replaces_what_was_there(tmp_path):
    run = make_run(tmp_path / "run", simple())
    first = export_run(run)
    before = [f.read_bytes() for f in first.files]
    assert first.path == tmp_path / "run" / "export" / "trl"
    assert [f.read_bytes() for f in export_run(run, "trl").files] == before
    with pytest.raises(TriptychError, match="there is: trl"):
        export_run(run, "csv")


def as_sft(responses):
    return make_example(
        kind="sft",
        prompt_id=responses[0].prompt_id,
        response_ids=(responses[0].id,),
        strategy="best",
        strategy_id="o",
    )


def test_other_kinds_of_examples_are_left_out(tmp_path):
    run = make_run(tmp_path / "run", simple(), more_examples=[as_sft])
    assert run.examples().collect().height == 4
    assert export_trl(run, tmp_path / "out").rows == 3


def test_ties_are_left_out_and_counted(tmp_path):
    rows = [*simple(2), ((Message("user", "Even?"),), [(say("a"), 3), (say("b"), 3)])]
    result = export_trl(make_run(tmp_path / "run", rows, Pairs(ties="keep")), tmp_path / "out")
    assert (result.rows, result.ties) == (2, 1)
    assert "Pairs left out, since they are ties | 1" in (result.path / "README.md").read_text()


@pytest.mark.parametrize(
    ("pairs", "more", "said"),
    [
        (Pairs(max_margin=0.1), (), "3 prompts: margin above the band"),
        (Pairs(criteria=("other",)), (), "3 prompts: fewer than two scored responses"),
        (Pairs(max_margin=0.1), (as_sft,), "its examples are of the kind sft"),
    ],
)
def test_no_pair_is_an_error_that_says_why_and_leaves_nothing(tmp_path, pairs, more, said):
    run = make_run(tmp_path / "run", simple(), pairs, more_examples=more)
    with pytest.raises(TriptychError, match=said):
        export_trl(run, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_ties_alone_are_no_pairs(tmp_path):
    rows = [((Message("user", "Even?"),), [(say("a"), 3), (say("b"), 3)])]
    run = make_run(tmp_path / "run", rows, Pairs(ties="keep"))
    with pytest.raises(TriptychError, match="all 1 are ties"):
        export_trl(run, tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    run = make_run(tmp_path / "run", simple())
    (tmp_path / "file").write_text("")
    with pytest.raises(TriptychError, match="can't write"):
        export_trl(run, tmp_path / "file" / "out")


def card_of(tmp_path, rows=None, **more):
    return (
        export_trl(make_run(tmp_path / "run", rows or simple(30), **more), tmp_path / "out").path / "README.md"
    ).read_text()


def test_the_card_says_what_the_data_are_and_what_they_cost(tmp_path):
    text = card_of(tmp_path)
    front = yaml.safe_load(text.split("---")[1])
    assert front["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "train.parquet"}]}]
    assert front["size_categories"] == ["n<1K"]
    for said in (
        "30 preference pairs",
        "`recipe_1`",
        "| policy | openai | org/my\\_model | r1 | http://127.0.0.1:8000/v1 |",
        "| judge | openai | big | not declared | https://api.example.com/v1 |",
        "| Prompts | 30 |",
        "| Rows set aside, since they could not be prompts | 2 |",
        "| Responses | 90 (90 ok) |",
        "| Judgements | 90 (90 ok) |",
        "| Examples | 30 pair |",
        "| `best_vs_worst` | pair | 30 | 30 |",
        "| Calls | 12 |",
        "| Tokens | 3,456 |",
        "| US dollars | 0.1250 |",
        "DPOTrainer",
        "min_margin: 0.25",
        "Tests \\| and \\*stars\\*.",
    ):
        assert said in text, said
    assert "`tools`" not in text


def test_the_card_shows_the_findings_with_their_intervals(tmp_path):
    text = card_of(tmp_path)
    (row,) = [line for line in text.splitlines() if "`chosen_longer` (I5)" in line]
    # The chosen response, "Well, ü 0", is always longer than "No.".
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert (cells[0], cells[2], cells[4]) == ("error", "1.000", "30")
    low, high = cells[3].split(" to ")
    assert 0.8 < float(low) < float(high) == 1.0


def test_the_card_says_why_prompts_have_no_pair(tmp_path):
    text = card_of(tmp_path, [*simple(2), ((Message("user", "Even?"),), [(say("a"), 3), (say("b"), 3)])])
    assert "| `best_vs_worst` | all tied | 1 | 0 |" in text


def test_no_secret_is_in_the_card(tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret")
    text = card_of(tmp_path, recipe={"description": "the key is sk-very-secret"})
    assert "sk-very-secret" not in text
    assert "in-the-body-secret" not in text
    assert "me:pass" not in text
    assert "key=1" not in text
    assert "the key is [left out]" in text
    assert "api_key_env: JUDGE_KEY" in text


def test_text_in_the_card_cannot_be_markup(tmp_path):
    assert plain("a|b\n<img> `x` [l](u) *b* _i_") == "a\\|b \\<img\\> \\`x\\` \\[l\\](u) \\*b\\* \\_i\\_"
    text = card_of(tmp_path, recipe={"prompts": {"kind": "inline", "prompts": ["```\n# Not a heading\n<script>"]}})
    fence = next(line for line in text.splitlines() if line.endswith("````yaml"))
    assert text.rstrip().endswith(fence.removesuffix("yaml"))


def test_an_operator_that_is_not_installed_leaves_the_card_without_its_counts(tmp_path):
    text = card_of(
        tmp_path, recipe={"instantiation": [{"kind": "from_elsewhere"}], "evaluation": [{"kind": "strange"}]}
    )
    assert "30 preference pairs" in text
    assert "What became of the prompts" not in text
