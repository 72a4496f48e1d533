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
    StepLocator,
    ToolCall,
    make_example,
    make_judgement,
    make_prompt,
    make_response,
)
from triptych.records.span import Span
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
    monkeypatch.setattr("triptych.export.rows._ROWS_AT_ONCE", 7)
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
    with pytest.raises(TriptychError, match="there are: trl, openrlhf"):
        export_run(run, "csv")


def as_sft(responses):
    return make_example(
        kind="sft",
        prompt_id=responses[0].prompt_id,
        response_ids=(responses[0].id,),
        strategy="best",
        strategy_id="o",
    )


def of_kind(kind, labels=(), **more):
    """Makes an example of a kind from the responses of a run: of all of the first prompt's, or of the first alone."""

    def make(responses):
        here = [one for one in responses if one.prompt_id == responses[0].prompt_id]
        taken = here if kind in ("group", "ranking") else here[:1]
        fields = {"scores": tuple(0.5 for _ in taken), "labels": labels, "strategy": "made", "strategy_id": "o"}
        return make_example(
            kind=kind, prompt_id=here[0].prompt_id, response_ids=tuple(one.id for one in taken), **(fields | more)
        )

    return make


def rows_in(folder):
    return [json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]


def test_each_kind_has_a_folder_that_datasets_knows_as_a_configuration(tmp_path):
    from datasets import load_dataset

    more = [of_kind("unpaired", (1.0,)), as_sft, of_kind("group", (1.0, -1.0, 0.0))]
    result = export_trl(make_run(tmp_path / "run", simple(), more_examples=more), tmp_path / "out")
    assert result.kinds == {"pair": 3, "unpaired": 1, "sft": 1, "group": 1}
    assert result.rows == 6
    assert result.named() == "3 pairs, 1 binary row, 1 SFT row, 1 prompt"
    columns = {
        "pair": ["prompt", "chosen", "rejected"],
        "unpaired": ["prompt", "completion", "label"],
        "sft": ["prompt", "completion"],
        "group": ["prompt", "reference"],
    }
    for kind, wanted in columns.items():
        data = load_dataset(str(result.path), kind, split="train", cache_dir=str(tmp_path / "cache"))
        assert (data.num_rows, data.column_names[: len(wanted)]) == (result.kinds[kind], wanted)
        assert rows_in(result.path / kind) == pl.read_parquet(result.path / kind / "train.parquet").to_dicts()
    text = (result.path / "README.md").read_text()
    assert "3 preference pairs, 1 binary row, 1 SFT row, 1 prompt" in text
    assert 'load_dataset("parquet", data_files="unpaired/train.parquet"' in text
    assert "GRPOTrainer(model=" in text
    assert "responses of 1 groups" in text


def test_only_the_kinds_that_are_asked_for_are_written(tmp_path):
    run = make_run(tmp_path / "run", simple(), more_examples=[as_sft])
    result = export_run(run, "trl", tmp_path / "out", kinds=["sft"])
    assert sorted(file.name for file in result.path.iterdir()) == ["README.md", "train.jsonl", "train.parquet"]
    (row,) = rows_in(result.path)
    assert row["prompt"][-1] == {"role": "user", "content": "Why 0?"}
    assert row["completion"] == [{"role": "assistant", "content": "Well, ü 0"}]
    with pytest.raises(TriptychError, match=r"no group for TRL: its examples are of the kind pair, sft"):
        export_trl(run, tmp_path / "other", kinds=["group"])
    with pytest.raises(TriptychError, match=r"no format for rankings.*makes pairs"):
        export_trl(run, tmp_path / "other", kinds=["ranking"])


def test_texts_of_the_example_itself_stand_in_for_those_of_prompt_and_responses(tmp_path):
    asked, answers = (Message("system", "Judge."), Message("user", "Good?")), ("yes", "no")
    own = {"input": asked, "outputs": answers[:1]}
    several = make_run(
        tmp_path / "run",
        simple(1),
        Pairs(max_margin=0.1),
        more_examples=[of_kind("sft", **own), of_kind("unpaired", (0.0,), **own), with_two_answers(asked, answers)],
    )
    result = export_trl(several, tmp_path / "out")
    shown = [{"role": "system", "content": "Judge."}, {"role": "user", "content": "Good?"}]
    said = [[{"role": "assistant", "content": text}] for text in answers]
    (pair,), (sft,), (unpaired,) = (rows_in(result.path / kind) for kind in ("pair", "sft", "unpaired"))
    assert (pair["prompt"], pair["chosen"], pair["rejected"]) == (shown, *said)
    assert (sft["prompt"], sft["completion"]) == (shown, said[0])
    assert (unpaired["prompt"], unpaired["completion"], unpaired["label"]) == (shown, said[0], False)


def with_two_answers(asked, answers):
    def make(responses):
        one = responses[0]
        return make_example(
            kind="pair", prompt_id=one.prompt_id, response_ids=(one.id, one.id), scores=(1.0, 0.0), labels=(1.0, 0.0),
            strategy="judge_rows", strategy_id="o", input=asked, outputs=answers,
        )  # fmt: skip

    return make


def stepwise_run(tmp_path, labels, rows=None, **prompt_fields):
    """A run with one row of steps, on the parts of a response of three lines."""
    said = "Step 1: one.\nStep 2: two.\n\nStep 3: three."
    rows = rows or [((Message("user", "Count."),), [(say(said), 5), (say("No."), 1)])]
    places = [(0, 12), (13, 25), (27, 41)]
    run = make_run(tmp_path / "run", rows, Pairs(max_margin=0.1), **prompt_fields)
    one = run.responses().collect().row(0, named=True)
    judged = [
        make_judgement(
            prompt_id=one["prompt_id"], response_ids=(one["id"],), criterion="sound", criterion_id="c", evaluator="r",
            evaluator_id="o", scores=(score,), scale=(0.0, 1.0), step=StepLocator("step", place, 0, *places[place]),
        )
        for place, score in enumerate(labels)
    ]  # fmt: skip
    table = pl.concat([run.judgements().collect(), frame("judgements", judged)])
    example = make_example(
        kind="stepwise", prompt_id=one["prompt_id"], response_ids=(one["id"],), scores=labels, labels=labels,
        strategy="hard", strategy_id="o", judgement_ids=tuple(each.id for each in reversed(judged)),
    )  # fmt: skip
    table.write_parquet(run.path / "judgements.parquet")
    frame("examples", [example]).write_parquet(run.path / "examples.parquet")
    return run


def test_rows_of_steps_are_written_in_the_old_stepwise_format(tmp_path):
    result = export_trl(stepwise_run(tmp_path, (1.0, 1.0, 0.0)), tmp_path / "out")
    (row,) = rows_in(result.path)
    assert row["prompt"] == "Count."
    assert row["completions"] == ["Step 1: one.", "Step 2: two.", "Step 3: three."]
    assert row["labels"] == [True, True, False]
    assert any("between steps" in lost for lost in result.lost)
    assert "PRMTrainer" not in (result.path / "README.md").read_text()


def test_a_chat_before_steps_becomes_one_text_with_roles(tmp_path):
    chat = (Message("user", "Count."), Message("assistant", "To?"), Message("user", "3"))
    rows = [(chat, [(say("Step 1: one.\nStep 2: two.\n\nStep 3: three."), 5)])]
    (row,) = rows_in(export_trl(stepwise_run(tmp_path, (1.0, 0.0), rows), tmp_path / "out").path)
    assert row["prompt"] == "user: Count.\n\nassistant: To?\n\nuser: 3"
    assert row["completions"] == ["Step 1: one.", "Step 2: two."]


def test_labels_that_are_not_yes_or_no_are_an_error_where_the_format_has_no_other(tmp_path):
    with pytest.raises(TriptychError, match=r"1 examples of the kind stepwise are left out.*labels: hard"):
        export_trl(stepwise_run(tmp_path, (1.0, 0.5)), tmp_path / "out")
    with pytest.raises(TriptychError, match="labels: hard"):  # equal ones make a tie of two responses, not of two steps
        export_trl(stepwise_run(tmp_path / "equal", (0.5, 0.5)), tmp_path / "equal out")
    run = make_run(tmp_path / "other", simple(), more_examples=[of_kind("unpaired", (0.5,))])
    result = export_trl(run, tmp_path / "out2")
    assert (result.kinds, len(result.lost)) == ({"pair": 3}, 1)
    with pytest.raises(TriptychError, match="true or false"):
        export_trl(run, tmp_path / "out3", kinds=["unpaired"])


def test_rankings_are_never_made_into_pairs(tmp_path):
    run = make_run(tmp_path / "run", simple(), Pairs(max_margin=0.1), more_examples=[of_kind("ranking")])
    with pytest.raises(TriptychError, match="no format for rankings"):
        export_trl(run, tmp_path / "out")


def test_what_the_trainer_does_not_read_is_said_and_kept_in_columns(tmp_path):
    parts = (Span(0, 0, 0, 4, 2.0),)
    labels = Pairs(min_margin=0.25, soft_labels={"by": "sigmoid"}, weight="margin", tier=0.0)
    run = make_run(tmp_path / "run", [(q, [(a, s) for a, s in zip((say("x"), say("y")), (4, 2), strict=True)]) for q, _ in simple()],
                   labels, more_examples=[of_kind("sft", spans=parts)])  # fmt: skip
    result = export_trl(run, tmp_path / "out")
    said = " ".join(result.lost)
    for part in ("3 pairs have weights other than 1", "3 pairs have labels between 0 and 1", "1 SFT rows weigh sentences"):
        assert part in said
        assert part in (result.path / "README.md").read_text()
    (sft,) = rows_in(result.path / "sft")
    assert sft["spans"] == [{"response": 0, "message": 0, "start": 0, "end": 4, "value": 2.0}]
    pair = rows_in(result.path / "pair")[0]
    assert 0.5 < pair["label_chosen"] < 1
    assert "spans" not in pair


@pytest.mark.parametrize(("margins", "columns"), [((None, None), [None, None]), ((0.5, None), [0.5, 0.0])])
def test_margins_are_numbers_of_all_pairs_or_of_none(tmp_path, margins, columns):
    """RewardTrainer makes a tensor of the column where it is there."""
    run = make_run(tmp_path / "run", simple(2))
    table = run.examples().collect().with_columns(margin=pl.Series(margins, dtype=pl.Float64))
    table.write_parquet(run.path / "examples.parquet")
    result = export_trl(run, tmp_path / "out")
    assert [row.get("margin") for row in rows_in(result.path)] == columns
    assert ("margin" in pl.read_parquet(result.path / "train.parquet").columns) == (0.5 in margins)
    assert any("1 pairs have no margin" in lost for lost in result.lost) == (0.5 in margins)


def test_steps_after_calls_of_tools_are_left_out_and_counted(tmp_path):
    called = (Message("user", "Count."), Message("assistant", "", (ToolCall("c", "f", "{}"),)), Message("tool", "4", tool_call_id="c"))
    run = stepwise_run(tmp_path, (1.0, 0.0), [(called, [(say("Step 1: one.\nStep 2: two.\n\nStep 3: three."), 5)])])
    with pytest.raises(TriptychError, match="1 step rows call tools"):
        export_trl(run, tmp_path / "out")


def test_reference_and_constraints_reach_the_reward_functions(tmp_path):
    run = make_run(
        tmp_path / "run", simple(1), Pairs(max_margin=0.1), more_examples=[of_kind("group", (1.0, -1.0, 0.0))],
        reference="42", constraints=({"kind": "words", "max": 3},),
    )  # fmt: skip
    (row,) = rows_in(export_trl(run, tmp_path / "out").path)
    assert (row["reference"], json.loads(row["constraints"])) == ("42", [{"kind": "words", "max": 3}])
    assert row["prompt"][-1]["content"] == "Why 0?"
    assert "chosen" not in row


def test_ties_are_left_out_and_counted(tmp_path):
    rows = [*simple(2), ((Message("user", "Even?"),), [(say("a"), 3), (say("b"), 3)])]
    result = export_trl(make_run(tmp_path / "run", rows, Pairs(ties="keep")), tmp_path / "out")
    assert (result.rows, result.ties) == (2, 1)
    assert "Pairs left out, since they are ties | 1" in (result.path / "README.md").read_text()


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (Pairs(max_margin=0.1), "3 prompts: margin above the band"),
        (Pairs(criteria=("other",)), "3 prompts: fewer than two scored responses"),
    ],
)
def test_no_pair_is_an_error_that_says_why_and_leaves_nothing(tmp_path, pairs, said):
    run = make_run(tmp_path / "run", simple(), pairs)
    with pytest.raises(TriptychError, match=said):
        export_trl(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


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
