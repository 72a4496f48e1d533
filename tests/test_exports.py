"""Exports for other trainers than TRL: the texts are the run's, and what a format can't hold is said."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import polars as pl
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from test_export_trl import make_run, of_kind, say, simple, stepwise_run
from triptych.app.cli import cli
from triptych.engines.imports import import_data
from triptych.errors import TriptychError
from triptych.export import TARGETS, export_run, find_target
from triptych.instantiation.pairs import Pairs
from triptych.records import Message, ToolCall
from triptych.records.span import Span

CHAT = (Message("user", "Hi."), Message("assistant", "Yes?"), Message("user", "Which way?"))
EVERY_KIND = (of_kind("unpaired", (1.0,)), of_kind("sft"), of_kind("group", (1.0, -1.0, 0.0)), of_kind("ranking"))


def lines(file):
    return [json.loads(line) for line in file.read_bytes().split(b"\n") if line]


def texts_of_pairs(run):
    """What the pairs of a run are, from its tables: prompt, chosen, rejected, as messages."""
    prompts = {row["id"]: row for row in run.prompts().collect().iter_rows(named=True)}
    responses = {row["id"]: row for row in run.responses().collect().iter_rows(named=True)}
    return [
        (
            [(m["role"], m["content"] or "") for m in prompts[row["prompt_id"]]["messages"]],
            *(responses[one]["messages"][-1]["content"] or "" for one in row["response_ids"]),
        )
        for row in run.examples().filter(kind="pair").collect().iter_rows(named=True)
    ]


def spoken(messages):
    return [(message["role"], message["content"]) for message in messages]


READ = {
    "openrlhf": lambda row: (spoken(row["prompt"]), row["chosen"][0]["content"], row["rejected"][0]["content"]),
    "llama-factory": lambda row: (spoken(row["messages"]), row["chosen"]["content"], row["rejected"]["content"]),
    "axolotl": lambda row: (spoken(row["messages"]), row["chosen"]["content"], row["rejected"]["content"]),
    "axolotl-orpo": lambda row: (
        ([("system", row["system"])] if row["system"] is not None else []) + spoken(row["chosen"][:-1]),
        row["chosen"][-1]["content"],
        row["rejected"][-1]["content"],
    ),
    "nemo-rl": lambda row: (
        spoken(row["context"]),
        *(one["completion"][0]["content"] for one in sorted(row["completions"], key=lambda one: one["rank"])),
    ),
    "jsonl": lambda row: (spoken(row["prompt"]), *(one[0]["content"] for one in row["completions"])),
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)


@st.composite
def chats(draw):
    system = [Message("system", draw(TEXT))] if draw(st.booleans()) else []
    turns = [(Message("user", draw(TEXT)), Message("assistant", draw(TEXT))) for _ in range(draw(st.integers(0, 2)))]
    answers = draw(st.lists(TEXT, min_size=2, max_size=2, unique=True))
    asked = (*system, *(message for turn in turns for message in turn), Message("user", draw(TEXT)))
    return asked, [(say(answers[0]), 5), (say(answers[1]), 1)]


@settings(max_examples=4, deadline=None)
@given(st.lists(chats(), min_size=1, max_size=5, unique_by=lambda chat: chat[0]))
def test_the_texts_of_every_pair_are_the_runs(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("run")
    run = make_run(folder / "run", rows)
    wanted = texts_of_pairs(run)
    assert len(wanted) == len(rows)
    for target, read in READ.items():
        result = export_run(run, target, folder / target)
        assert [read(row) for row in lines(result.path / "train.jsonl")] == wanted, target


@settings(max_examples=5, deadline=None)
@given(st.lists(chats(), min_size=1, max_size=4, unique_by=lambda chat: chat[0]))
def test_what_is_exported_comes_back_by_the_import(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("run")
    run = make_run(folder / "run", rows)
    for target in ("openrlhf", "llama-factory", "axolotl", "nemo-rl", "trl"):
        out = export_run(run, target, folder / target).path
        back = import_data(out / "train.jsonl", target, out=folder / f"{target} back")
        assert texts_of_pairs(back) == texts_of_pairs(run), target
        assert back.manifest.set_aside == 0


@pytest.mark.parametrize(("target", "kind"), [("openrlhf", "unpaired"), ("llama-factory", "unpaired"), ("llama-factory", "sft")])
def test_thumbs_and_rows_to_imitate_come_back_by_the_import(tmp_path, target, kind):
    run = make_run(tmp_path / "run", simple(2), more_examples=[of_kind("unpaired", (0.0,)), of_kind("sft")])
    out = export_run(run, target, tmp_path / "out", kinds=[kind]).path
    back = import_data(out / "train.jsonl", target, out=tmp_path / "back")
    (example,) = back.examples().collect().iter_rows(named=True)
    assert example["kind"] == kind
    assert [label for label in example["labels"] if label != 1] == ([0.0] if kind == "unpaired" else [])
    assert back.responses().collect()["messages"][0][-1]["content"] == "Well, ü 0"


@pytest.mark.parametrize("target", TARGETS)
def test_every_column_and_every_loss_is_in_the_card(tmp_path, target):
    run = make_run(tmp_path / "run", simple(2), more_examples=EVERY_KIND, reference="42")
    result = export_run(run, target, tmp_path / "out")
    card = (result.path / "README.md").read_text(encoding="utf-8")
    plain = card.replace("\\", "")
    assert all(lost in plain for lost in result.lost)
    assert sum(result.kinds.values()) == result.rows
    written = {kind for kind in ("pair", "unpaired", "sft", "group", "ranking") if kind in result.kinds}
    for kind in {"pair", "unpaired", "sft", "group", "ranking"} - written:
        assert any(f"of the kind {kind}" in lost or "binary rows have prompts" in lost for lost in result.lost)
    for file in result.files:
        if file.suffix in (".jsonl", ".parquet"):
            columns = lines(file)[0] if file.suffix == ".jsonl" else pl.read_parquet(file).columns
            assert all(f"| `{name}` |" in card for name in columns)


def test_kinds_that_a_trainer_does_not_have_are_an_error_by_name(tmp_path):
    run = make_run(tmp_path / "run", simple(2), more_examples=EVERY_KIND)
    with pytest.raises(TriptychError, match="verl has no trainer for the kind pair"):
        export_run(run, "verl", tmp_path / "out", kinds=["pair"])
    with pytest.raises(TriptychError, match=r"no format for rankings.*all_pairs"):
        export_run(run, "openrlhf", tmp_path / "out", kinds=["ranking"])
    with pytest.raises(TriptychError, match="no export to 'csv'; there are: trl, openrlhf"):
        export_run(run, "csv")


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
KINDS = ("pair", "unpaired", "sft", "group", "ranking", "stepwise")


def weighty_run(tmp_path, kind):
    """A run of one example of a kind, that has a weight, weighs a part, and whose prompt declares a tool."""
    asked = ((Message("user", "Count."),), [(say("Step 1: one.\nStep 2: two.\n\nStep 3: three."), 5), (say("No."), 1)])
    if kind == "stepwise":
        run = stepwise_run(tmp_path, (1.0, 0.0), [asked], tools=(TOOL,), reference="42")
    elif kind == "pair":
        run = make_run(tmp_path / "run", [asked], tools=(TOOL,), reference="42")
    else:
        labels = {"unpaired": (1.0,), "group": (1.0, -1.0), "ranking": (1.0, 0.0)}.get(kind, ())
        run = make_run(tmp_path / "run", [asked], Pairs(max_margin=0.1), tools=(TOOL,), reference="42", more_examples=[of_kind(kind, labels)])
    table = run.examples().collect()
    part = [{"response": 0, "message": 0, "start": 0, "end": 2, "value": 2.0}]
    dtype = table.schema["spans"]
    table.with_columns(weight=pl.lit(0.5), spans=pl.Series([part], dtype=dtype)).write_parquet(run.path / "examples.parquet")
    return run


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", TARGETS)
def test_weights_parts_and_tools_are_in_the_rows_or_their_loss_is_said(tmp_path, target, kind):
    run = weighty_run(tmp_path, kind)
    if kind not in find_target(target).formats:
        with pytest.raises(TriptychError, match=kind):
            export_run(run, target, tmp_path / "out")
        return
    result = export_run(run, target, tmp_path / "out")
    file = next(file for file in result.files if file.suffix in (".jsonl", ".parquet", ".arrow"))
    read = {".jsonl": lambda: lines(file)[0], ".parquet": lambda: pl.read_parquet(file).row(0, named=True)}
    row = read.get(file.suffix, lambda: pl.read_ipc_stream(file).row(0, named=True))()
    said = " ".join(result.lost)
    assert row.get("weight") == 0.5 or "1 groups have weights other than 1" in said
    assert row.get("spans") or "1 groups weigh or reward parts" in said
    assert row.get("tools") or "tools" in said


# --- what each trainer would skip or misread


def awkward_run(tmp_path):
    """A good row, a tie, a chat out of turns, a call of a tool, an answer of two messages."""
    twice = (Message("user", "One."), Message("user", "Two."))
    acted = (Message("assistant", "", (ToolCall("c", "f", "{}"),)), Message("tool", "4", tool_call_id="c"), *say("4"))
    rows = [
        *simple(1),
        ((Message("user", "Tie?"),), [(say("a"), 3), (say("b"), 3)]),
        (twice, [(say("a"), 5), (say("b"), 1)]),
        ((Message("user", "Tool?"),), [(acted, 5), (say("5"), 1)]),
        ((Message("user", "Twice?"),), [((*say("a"), *say("b")), 5), (say("c"), 1)]),
    ]
    return make_run(tmp_path / "run", rows, Pairs(ties="keep"))


@pytest.mark.parametrize(
    ("target", "kept", "reasons"),
    [
        ("openrlhf", 4, ["ties"]),
        ("nemo-rl", 4, ["ties"]),
        ("llama-factory", 1, ["ties", "take turns", "call tools", "several messages"]),
        ("axolotl", 2, ["ties", "call tools", "several messages"]),
        ("axolotl-orpo", 1, ["ties", "take turns", "call tools", "several messages"]),
        ("jsonl", 5, []),
    ],
)
def test_rows_that_a_trainer_would_misread_are_left_out_and_counted(tmp_path, target, kept, reasons):
    result = export_run(awkward_run(tmp_path), target, tmp_path / "out")
    assert result.rows == len(lines(result.path / "train.jsonl")) == kept
    left_out = [lost for lost in result.lost if lost.startswith("1 pairs ") and lost.endswith("are left out")]
    assert len(left_out) == len(reasons)
    for reason in reasons:
        assert sum(reason in lost for lost in left_out) == 1


def test_what_llama_factory_gets_of_several_kinds_is_read_back_by_the_entry_above_it(tmp_path):
    out = export_run(make_run(tmp_path / "run", simple(2), more_examples=EVERY_KIND), "llama-factory", tmp_path / "out").path
    back = import_data(out / "pair" / "train.jsonl", "llama-factory", out=tmp_path / "back")
    assert [chosen for _, chosen, _ in texts_of_pairs(back)] == ["Well, ü 0", "Well, ü 1"]


def test_an_empty_answer_is_no_thumb_for_llama_factory(tmp_path):
    rows = [((Message("user", "Why?"),), [(say(""), 5), (say("x"), 1)])]
    run = make_run(tmp_path / "run", rows, Pairs(max_margin=0.1), more_examples=[of_kind("unpaired", (1.0,))])
    with pytest.raises(TriptychError, match="empty answer, which the trainer takes for a bad one"):
        export_run(run, "llama-factory", tmp_path / "out")


def test_llama_factory_has_an_entry_for_each_file(tmp_path):
    run = make_run(tmp_path / "run", simple(4), more_examples=EVERY_KIND)
    several = export_run(run, "llama-factory", tmp_path / "several")
    split = export_run(run, "llama-factory", tmp_path / "split", kinds=["pair"], split=0.5)
    files = {
        several.path: {f"triptych_{kind}": f"{kind}/train.jsonl" for kind in ("pair", "unpaired", "sft")},
        split.path: {"triptych_pair": "train.jsonl", "triptych_pair_test": "test.jsonl"},
    }
    for folder, wanted in files.items():
        entries = json.loads((folder / "dataset_info.json").read_text())
        assert {name: entry["file_name"] for name, entry in entries.items()} == wanted
        for name, entry in entries.items():
            assert entry.get("ranking", False) == ("pair" in name.split("_"))
            assert set(entry["columns"].values()) <= set(lines(folder / entry["file_name"])[0])
    assert "eval_dataset: triptych_pair_test" in (split.path / "README.md").read_text()


def test_a_kind_whose_rows_are_all_held_out_is_left_out_and_said(tmp_path):
    of_seed = [
        export_run(make_run(tmp_path / str(seed), simple(2), recipe={"seed": seed}, more_examples=[of_kind("sft")]),
                   "openrlhf", split=0.5)
        for seed in range(8)
    ]  # fmt: skip
    left_out = [result for result in of_seed if "sft" not in result.kinds]
    assert 0 < len(left_out) < 8
    assert all("all SFT rows that can be held fall to those held out, and are left out" in one.lost for one in left_out)


def test_openrlhf_gets_a_mark_and_a_word_for_each_step(tmp_path):
    result = export_run(stepwise_run(tmp_path, (1.0, 1.0, 0.0)), "openrlhf", tmp_path / "out")
    (row,) = lines(result.path / "train.jsonl")
    assert row["input"] == "Count.\nStep 1: one. ки\nStep 2: two. ки\nStep 3: three. ки"
    assert row["label"] == ["+", "+", "-"]
    assert "--placeholder_token ки --reward_tokens + -" in (result.path / "README.md").read_text(encoding="utf-8")
    back = import_data(result.path / "train.jsonl", "openrlhf", out=tmp_path / "back")
    (example,) = back.examples().collect().iter_rows(named=True)
    assert (example["kind"], example["labels"]) == ("stepwise", [1.0, 1.0, 0.0])


def test_openrlhf_gets_no_step_that_it_would_misread(tmp_path):
    with pytest.raises(TriptychError, match="labels: hard"):
        export_run(stepwise_run(tmp_path, (1.0, 0.5)), "openrlhf", tmp_path / "out")
    marked = [((Message("user", "Was ist ки?"),), [(say("Step 1: one.\nStep 2: two.\n\nStep 3: three."), 5)])]
    with pytest.raises(TriptychError, match="have the mark ки in their texts"):
        export_run(stepwise_run(tmp_path / "other", (1.0,), marked), "openrlhf", tmp_path / "out")


def test_axolotl_learns_only_the_answer_of_rows_to_imitate(tmp_path):
    rows = [(CHAT, [(say("Left."), 5), (say("Right."), 1)])]
    run = make_run(tmp_path / "run", rows, Pairs(max_margin=0.1), more_examples=[of_kind("sft")])
    result = export_run(run, "axolotl", tmp_path / "out")
    (row,) = lines(result.path / "train.jsonl")
    assert [(m["content"], m["train"]) for m in row["messages"]] == [
        ("Hi.", False),
        ("Yes?", False),
        ("Which way?", False),
        ("Left.", True),
    ]
    config = yaml.safe_load((result.path / "axolotl-sft.yaml").read_text())
    assert config["datasets"][0] | {"message_field_training": "train"} == config["datasets"][0]


def test_axolotl_takes_thumbs_on_single_texts_alone(tmp_path):
    rows = [((Message("user", "Why?"),), [(say("So."), 5), (say("No."), 1)])]
    run = make_run(tmp_path / "run", rows, Pairs(max_margin=0.1), more_examples=[of_kind("unpaired", (1.0,))])
    (row,) = lines(export_run(run, "axolotl", tmp_path / "out").path / "train.jsonl")
    assert (row["prompt"], row["completion"], row["label"]) == ("Why?", "So.", True)
    with_system = make_run(tmp_path / "other", simple(1), Pairs(max_margin=0.1), more_examples=[of_kind("unpaired", (1.0,))])
    with pytest.raises(TriptychError, match="more than a user's message"):
        export_run(with_system, "axolotl", tmp_path / "other out")


def test_verl_gets_prompts_that_have_a_reference_answer(tmp_path):
    group = of_kind("group", (1.0, -1.0, 0.0))
    run = make_run(tmp_path / "run", simple(1), Pairs(max_margin=0.1), more_examples=[group], reference="42",
                   source="gsm", tags=("sums",), constraints=({"kind": "words", "max": 3},))  # fmt: skip
    table = pl.read_parquet(export_run(run, "verl", tmp_path / "out").path / "train.parquet")
    (row,) = table.to_dicts()
    assert row["data_source"] == "gsm"
    assert row["ability"] == "sums"
    assert row["reward_model"] == {"style": "rule", "ground_truth": "42"}
    assert row["prompt"][-1] == {"role": "user", "content": "Why 0?"}
    assert json.loads(row["extra_info"]["constraints"]) == [{"kind": "words", "max": 3}]
    assert row["extra_info"]["prompt_id"] == run.prompts().collect()["id"][0]
    without = make_run(tmp_path / "other", simple(1), Pairs(max_margin=0.1), more_examples=[group])
    with pytest.raises(TriptychError, match="no reference answer"):
        export_run(without, "verl", tmp_path / "other out")


def test_nemo_rl_gets_tools_as_json_and_pairs_by_rank(tmp_path):
    tools = ({"type": "function", "function": {"name": "f", "parameters": {}}},)
    run = make_run(tmp_path / "run", simple(1), more_examples=[of_kind("sft")], tools=tools)
    result = export_run(run, "nemo-rl", tmp_path / "out")
    (sft,), (pair,) = lines(result.path / "sft" / "train.jsonl"), lines(result.path / "pair" / "train.jsonl")
    assert sft["tools"] == list(tools)
    assert sft["messages"][-1] == {"role": "assistant", "content": "Well, ü 0"}
    assert [(one["rank"], one["reward"]) for one in pair["completions"]] == [(0, 1.0), (1, 0.0)]
    assert "use_preserving_dataset: true" in (result.path / "README.md").read_text()


# --- all that examples know


def whole_run(tmp_path):
    spans = (Span(0, 0, 0, 4, 2.0),)
    more = [*EVERY_KIND, of_kind("unpaired", (0.25,), spans=spans, weight=0.5), of_kind("sft", outputs=("Own.",), input=CHAT)]
    return make_run(tmp_path / "run", simple(3), more_examples=more, reference="42", tags=("a", "b"), source="here")


@pytest.mark.parametrize("target", ["jsonl", "parquet", "datasets"])
def test_nothing_that_an_example_knows_is_lost(tmp_path, target):
    import datasets

    run = whole_run(tmp_path)
    result = export_run(run, target, tmp_path / "out")
    assert result.lost == ()
    found = []
    for kind in result.kinds:
        if target == "datasets":
            found += datasets.load_from_disk(str(result.path / kind))["train"].to_list()
        elif target == "parquet":
            found += pl.read_parquet(result.path / kind / "train.parquet").to_dicts()
        else:
            found += lines(result.path / kind / "train.jsonl")
    prompts = {row["id"]: row for row in run.prompts().collect().iter_rows(named=True)}
    responses = {row["id"]: row for row in run.responses().collect().iter_rows(named=True)}
    examples = {row["id"]: row for row in run.examples().collect().iter_rows(named=True)}
    assert sorted(row["example_id"] for row in found) == sorted(examples)
    for row in found:
        example, prompt = examples[row["example_id"]], prompts[row["prompt_id"]]
        for name in ("kind", "response_ids", "judgement_ids", "labels", "scores", "margin", "weight", "spans",
                     "strategy", "strategy_id", "objective_version"):  # fmt: skip
            assert row[name] == (example[name] if example[name] is not None or name == "margin" else []), name
        assert (row["reference"], row["tags"], row["source"]) == ("42", ["a", "b"], "here")
        asked = example["input"] or prompt["messages"]
        assert spoken(row["prompt"]) == [(m["role"], m["content"]) for m in asked]
        said = example["outputs"] or [responses[one]["messages"][0]["content"] for one in example["response_ids"]]
        assert [one[0]["content"] for one in row["completions"]] == list(said)


def test_steps_are_whole_too(tmp_path):
    (row,) = lines(export_run(stepwise_run(tmp_path, (1.0, 0.25)), "jsonl", tmp_path / "out").path / "train.jsonl")
    assert (row["steps"], row["labels"]) == (["Step 1: one.", "Step 2: two."], [1.0, 0.25])


def test_datasets_opens_the_folder_with_and_without_a_split(tmp_path, monkeypatch):
    import datasets

    run = make_run(tmp_path / "run", simple(9))
    monkeypatch.setattr("triptych.export.rows._ROWS_AT_ONCE", 2)
    monkeypatch.setattr("triptych.export.files._PIECES_A_SHARD", 2)
    out = str(export_run(run, "datasets", tmp_path / "out", split=0.3).path)
    from_disk = datasets.load_from_disk(out)
    assert {name: part.num_rows for name, part in from_disk.items()} == {"train": 6, "test": 3}
    loaded = datasets.load_dataset(out, cache_dir=str(tmp_path / "cache"))
    assert {name: part.to_list() for name, part in loaded.items()} == {
        name: part.to_list() for name, part in from_disk.items()
    }
    assert list(datasets.load_from_disk(str(export_run(run, "datasets", tmp_path / "out").path))) == ["train"]


# --- splits


def families(count=40, size=2):
    """A run in which `size` prompts with a pair each are of one family."""
    def make(tmp_path, name="run"):
        run = make_run(tmp_path / name, simple(count * size))
        prompts = run.prompts().collect().with_row_index("row")
        family = pl.format("family-{}", pl.col("row") // size).alias("family_id")
        prompts.with_columns(family).drop("row").write_parquet(run.path / "prompts.parquet")
        return run

    return make


@pytest.mark.parametrize("target", ["trl", "openrlhf", "jsonl"])
def test_no_family_is_on_both_sides(tmp_path, target):
    run = families()(tmp_path)
    result = export_run(run, target, tmp_path / "out", split=0.25)
    family = dict(run.prompts().select("id", "family_id").collect().iter_rows())
    sides = {
        split: [row for file in result.files if file.name == f"{split}.jsonl" for row in lines(file)]
        for split in ("train", "test")
    }
    of = {split: {family[row["prompt_id"]] for row in rows} for split, rows in sides.items()}
    assert not of["train"] & of["test"]
    assert (len(of["test"]), len(of["train"])) == (10, 30)  # a quarter of 40 families, exactly
    assert len(sides["train"]) + len(sides["test"]) == result.rows == 80
    assert result.tests == len(sides["test"])


def test_the_draw_depends_on_the_seed_and_on_nothing_else(tmp_path):
    def held_out(name, **recipe):
        run = make_run(tmp_path / name, simple(20), recipe=recipe)
        return [row["prompt_id"] for row in lines(export_run(run, "jsonl", split=0.3).path / "test.jsonl")]

    first = held_out("a")
    assert held_out("b") == first
    assert held_out("c", seed=0) == first
    assert len(first) == len(held_out("d", seed=1)) == 6
    assert held_out("e", seed=1) != first


def test_a_split_that_can_not_be_is_an_error_and_an_old_one_is_taken_away(tmp_path):
    run = make_run(tmp_path / "run", simple(4))
    out = export_run(run, "openrlhf", tmp_path / "out", split=0.25).path
    assert (out / "test.jsonl").is_file()
    export_run(run, "openrlhf", tmp_path / "out")
    assert not (out / "test.jsonl").exists()
    with pytest.raises(TriptychError, match="less than 1"):
        export_run(run, "openrlhf", tmp_path / "out", split=1.0)
    with pytest.raises(TriptychError, match="1 prompt family"):
        export_run(make_run(tmp_path / "one", simple(1)), "openrlhf", split=0.5)


# --- the command line


def invoke(*words):
    return CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False)


def test_the_command_line_exports_for_any_target_with_a_split(tmp_path):
    run = make_run(tmp_path / "run", simple(4))
    done = invoke("export", run.path, "--to", "axolotl", "--split", "0.25", "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert "4 pairs, 1 of them held out, for Axolotl in" in done.output
    said = json.loads(invoke("export", run.path, "--to", "nemo-rl", "--out", tmp_path / "n", "--json").output)
    assert (said["rows"], said["tests"], said["kinds"]) == (4, 0, {"pair": 4})


def test_convert_imports_and_exports_in_one_step(tmp_path):
    rows = [{"prompt": f"Why {i}?", "chosen": f"So {i}.", "rejected": f"No {i}."} for i in range(5)]
    file = tmp_path / "in.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": "x", "chosen": "", "rejected": "y"}]))
    done = invoke("convert", file, "--to", "llama-factory", tmp_path / "out", "--as", "trl")
    assert done.exit_code == 0
    assert "5 pairs for LLaMA-Factory" in done.output
    assert "1 rows were set aside, see set_aside.jsonl" in done.output
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == [
        "README.md",
        "dataset_info.json",
        "set_aside.jsonl",
        "train.jsonl",
    ]
    assert [READ["llama-factory"](row) for row in lines(tmp_path / "out" / "train.jsonl")] == [
        ([("user", row["prompt"])], row["chosen"], row["rejected"]) for row in rows
    ]
    said = json.loads(invoke("convert", file, "--to", "jsonl", tmp_path / "j", "--as", "trl", "--json").output)
    assert said["rows"] == 5


def test_convert_that_fails_leaves_nothing_of_its_own(tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_text('{"prompt": "Why?", "chosen": "So.", "rejected": "No."}\n')
    with pytest.raises(TriptychError, match="verl has no trainer for the kind pair"):
        invoke("convert", file, "--to", "verl", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "own").mkdir()
    with pytest.raises(TriptychError, match="verl has no trainer for the kind pair"):
        invoke("convert", file, "--to", "verl", tmp_path / "own")
    assert list((tmp_path / "own").iterdir()) == []


# --- the hub


class Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face Hub as an upload of small files needs."""

    asked: list[tuple[str, str, bytes]]

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.path, self.headers.get("Authorization", ""), body))
        if self.path == "/api/repos/create":
            answer = {"url": f"http://{self.headers['Host']}/datasets/me/mine", "name": "me/mine", "id": "1"}
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            answer = {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in files]}
        else:
            url = f"http://{self.headers['Host']}/datasets/me/mine/commit/1"
            answer = {"commitUrl": url, "commitOid": "1", "success": True}
        said = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def do_GET(self):
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words):
        pass


@pytest.fixture
def served(monkeypatch):
    handler = type("Asked", (Hub,), {"asked": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.asked
    server.shutdown()
    server.server_close()


def test_an_export_is_uploaded_with_the_users_token_and_nothing_else_is(tmp_path, served, monkeypatch):
    import huggingface_hub

    address, asked = served
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: huggingface_hub.hf_api.HfApi(endpoint=address))
    run = make_run(tmp_path / "run", simple(3))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "private.txt").write_text("mine")
    done = invoke("export", run.path, "--to", "openrlhf", "--out", tmp_path / "out", "--push", "me/mine")
    assert "Uploaded to" in done.output
    assert "hf_very_secret" not in done.output
    create, commit = asked[0], next(one for one in asked if "/commit/" in one[0])
    told = json.loads(create[2])
    assert told.get("private") is True or told.get("visibility") == "private"
    assert all(said == "Bearer hf_very_secret" for _, said, _ in asked)
    sent = [json.loads(line) for line in commit[2].splitlines()]
    assert {line["value"]["path"] for line in sent if line["key"] == "file"} == {"train.jsonl", "README.md"}
    assert all(b"hf_very_secret" not in file.read_bytes() for file in (tmp_path / "out").iterdir())


def test_without_a_token_or_the_package_nothing_is_written(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", simple(3))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(TriptychError, match="HF_TOKEN"):
        export_run(run, "openrlhf", tmp_path / "out", push="me/mine")
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(TriptychError, match=r"triptych\[hub\]"):
        export_run(run, "openrlhf", tmp_path / "out", push="me/mine")
    assert not (tmp_path / "out").exists()


def test_convert_asks_for_the_token_before_it_reads_anything(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(TriptychError, match="HF_TOKEN"):
        invoke("convert", tmp_path / "no such file", "--to", "trl", tmp_path / "out", "--push", "me/mine")
    assert not (tmp_path / "out").exists()


def test_an_upload_that_fails_says_so_without_the_token_and_keeps_the_files(tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    nowhere = huggingface_hub.HfApi(endpoint="http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: nowhere)
    run = make_run(tmp_path / "run", simple(3))
    for repo in ("me/mine", "not a name"):
        with pytest.raises(TriptychError, match="could not be uploaded") as raised:
            export_run(run, "openrlhf", tmp_path / "out", push=repo)
        assert "hf_very_secret" not in str(raised.value)
        assert (tmp_path / "out" / "train.jsonl").is_file()
