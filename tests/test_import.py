"""Importing whole files: real data, rows that come back, broken files, and going on from there."""

import gzip
import json
import sys
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from polars.testing import assert_frame_equal

import triptych as tp
from triptych.app.cli import _guarded, cli
from triptych.engines.imports import imported_run
from triptych.errors import PromptError, RunFolderError
from triptych.imports import formats as known
from triptych.imports.fields import text
from triptych.imports.item import Format, pair
from triptych.prompts.row import prompt_messages
from triptych.records import Message
from triptych.store import gather

DATA = Path(__file__).parent / "data"
_PLACES = [parent / "shared" / "data" for parent in Path(__file__).resolve().parents]
REAL = next((place for place in _PLACES if place.is_dir()), None)
real = pytest.mark.skipif(
    REAL is None, reason="the real data sets are not here: they stand in shared/data beside a checkout"
)


def write(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def table(run, name):
    return run.table(name).collect()


def pairs(run):
    """(prompt, chosen, rejected, margin) by what they say, of each pair in its order."""
    say = {r["id"]: r["messages"][-1]["content"] for r in table(run, "responses").to_dicts()}
    ask = {p["id"]: tuple((m["role"], m["content"]) for m in p["messages"]) for p in table(run, "prompts").to_dicts()}
    return [
        (ask[e["prompt_id"]], *(say[r] for r in e["response_ids"]), e["margin"])
        for e in table(run, "examples").to_dicts()
        if e["kind"] == "pair"
    ]


def set_aside(run):
    """Row number -> reason."""
    lines = (run.path / "set_aside.jsonl").read_bytes().splitlines()
    return {row["row"]: row["reason"] for row in map(json.loads, lines)}


def preference(i, chosen="good", rejected="bad", **more):
    return {"prompt": f"Question {i}?", "chosen": f"{chosen} {i}", "rejected": f"{rejected} {i}", **more}


# --- real data


def last_turn(transcript):
    """The dialogue before the last answer, and the answer: found from the end, as nobody here parses turns."""
    place = transcript.rindex("\n\nAssistant:")
    return transcript[:place], transcript[place + len("\n\nAssistant:") :].strip()


def flat(messages):
    return "".join(f"\n\n{'Human' if role == 'user' else 'Assistant'}: {said}" for role, said in messages)


def hh(path):
    content = path.read_bytes()
    return list(map(json.loads, (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()))


def check_hh(run, rows):
    bad = set_aside(run)
    kept = [row for number, row in enumerate(rows, 1) if number not in bad]
    squeezed = [(" ".join(flat(asked).split()), chosen, rejected) for asked, chosen, rejected, _ in pairs(run)]
    expected = []
    for row in kept:
        (asked, chosen), (same, rejected) = last_turn(row["chosen"]), last_turn(row["rejected"])
        assert asked == same
        expected.append((" ".join(asked.split()), chosen, rejected))
    assert Counter(squeezed) == Counter(expected)
    return bad


def test_an_excerpt_of_hh_rlhf_gives_its_dialogues(tmp_path):
    run = tp.import_data(DATA / "hh_rlhf_excerpt.jsonl", out=tmp_path / "run")
    assert check_hh(run, hh(DATA / "hh_rlhf_excerpt.jsonl")) == {}
    assert max(len(asked) for asked, *_ in pairs(run)) == 9


@real
def test_the_whole_of_a_test_set_of_hh_rlhf_gives_its_dialogues_but_for_broken_ones(tmp_path):
    file = REAL / "hh_harmless_base_test.jsonl.gz"
    run = tp.import_data(file, out=tmp_path / "run")
    reasons = Counter(reason.split(":")[0] for reason in check_hh(run, hh(file)).values())
    assert reasons == {"chosen is empty": 4, "roles do not alternate": 9}


def judged(run):
    """(evaluator, better of two by their texts, first shown) of each verdict on two responses."""
    say = {r["id"]: r["messages"][-1]["content"] for r in table(run, "responses").to_dicts()}
    for j in table(run, "judgements").to_dicts():
        one, other = (say[r] for r in j["response_ids"])
        if j["ranks"]:
            better = None if j["ranks"][0] == j["ranks"][1] else one if j["ranks"] < j["ranks"][::-1] else other
            yield j["evaluator"], frozenset((one, other)), better, one


def test_verdicts_of_judges_are_joined_to_their_instances_with_the_order_shown(tmp_path):
    instances = DATA / "llmbar_excerpt.jsonl"
    run = tp.import_data(instances, out=tmp_path / "run", verdicts=DATA / "llmbar_verdicts_excerpt.jsonl")
    rows = {row["index"]: row for row in map(json.loads, instances.read_text().splitlines())}
    expected = Counter()
    for said in map(json.loads, (DATA / "llmbar_verdicts_excerpt.jsonl").read_text().splitlines()):
        row = rows[said["index"]]
        shown = row["output_2" if said["swapped"] else "output_1"]
        both = frozenset((row["output_1"], row["output_2"]))
        expected[f"{said['judge']}/{said['strategy']}", both, row[f"output_{said['winner']}"], shown] += 1
    assert Counter(one for one in judged(run) if one[0] != "llmbar") == expected
    gold = {(both, better) for evaluator, both, better, _ in judged(run) if evaluator == "llmbar"}
    assert gold == {(frozenset((r["output_1"], r["output_2"])), r[f"output_{r['label']}"]) for r in rows.values()}
    rated = table(run, "judgements").filter(pl.col("evaluator") == "GPT-4/Rating")
    assert rated["scale"].to_list() == [[0.0, 10.0]] * 8
    assert len(pairs(run)) == 4  # the judges' verdicts make none


@real
def test_first_order_accuracies_of_judgebench_come_out_of_the_tables(tmp_path):
    run = tp.import_data(
        REAL / "judgebench_gpt4o_instances.jsonl.gz",
        out=tmp_path / "run",
        verdicts=REAL / "judgebench_gpt4o_verdicts.jsonl.gz",
    )
    rows = hh(REAL / "judgebench_gpt4o_instances.jsonl.gz")
    first = {frozenset((r["response_A"], r["response_B"])): r["response_A"] for r in rows}
    said = list(judged(run))
    gold = {both: better for evaluator, both, better, _ in said if evaluator == "judgebench"}
    right = Counter(
        evaluator
        for evaluator, both, better, shown in said
        if evaluator != "judgebench" and shown == first[both] and better == gold[both]
    )
    assert right["o1-mini-2024-09-12/arena_hard"] == 248
    assert right["Skywork_Skywork-Reward-Llama-3.1-8B"] == 218


@real
def test_published_accuracies_of_llmbar_come_out_of_the_tables(tmp_path):
    run = tp.import_data(
        REAL / "llmbar_instances.jsonl.gz", out=tmp_path / "run", verdicts=REAL / "llmbar_verdicts.jsonl.gz"
    )
    published = [
        row
        for row in hh(REAL / "llmbar_published_statistics.jsonl.gz")
        if (row["judge"], row["strategy"], row["subset"]) == ("GPT-4", "Vanilla", "Adversarial_Neighbor")
    ]
    rows = [row for row in hh(REAL / "llmbar_instances.jsonl.gz") if row["subset"] == "Adversarial_Neighbor"]
    about = {frozenset((r["output_1"], r["output_2"])): r for r in rows}
    right = Counter()
    for evaluator, both, better, shown in judged(run):
        if evaluator == "GPT-4/Vanilla" and both in about:
            row = about[both]
            right["True" if shown == row["output_2"] else "False"] += better == row[f"output_{row['label']}"]
    assert {f"correct_{order}": f"{number} / 134" for order, number in right.items()} == {
        name: published[0][name].split(" =")[0] for name in ("correct_False", "correct_True")
    }


@real
def test_preferences_of_alpaca_eval_become_probabilities_of_the_response_that_comes_first(tmp_path):
    run = tp.import_data(
        REAL / "alpaca_eval2_reference.jsonl.gz",
        out=tmp_path / "run",
        verdicts=REAL / "alpaca_eval2_annotations.jsonl.gz",
    )
    models = dict(table(run, "responses").select("id", "model").iter_rows())
    found = Counter()
    for ids, probability in table(run, "judgements").select("response_ids", "probability").iter_rows():
        place = next(place for place in (0, 1) if models[ids[place]] != "gpt4_1106_preview")
        found[models[ids[place]]] += probability if place == 0 else 1 - probability
    asked = {row["index"]: row["reference_output"] for row in hh(REAL / "alpaca_eval2_reference.jsonl.gz")}
    expected, seen = Counter(), set()
    for row in hh(REAL / "alpaca_eval2_annotations.jsonl.gz"):
        if row["output"].strip() and row["output"] != asked[row["index"]]:
            expected[row["generator"]] += row["preference"] - 1
            seen.add(row["generator"])
    for model in seen:
        assert found[model] == pytest.approx(expected[model], abs=0.05)


# --- rows of one prompt


@pytest.fixture
def small_buckets(monkeypatch):
    monkeypatch.setattr(gather, "PROMPTS_A_PART", 4)
    monkeypatch.setattr(gather, "PROMPTS_A_BUCKET", 8)
    monkeypatch.setattr(gather, "_MOST_ROWS", 16)


def test_rows_of_a_prompt_that_stand_far_apart_become_one_prompt_as_if_they_were_neighbours(tmp_path, small_buckets):
    def rows(i):
        return [{"prompt": f"Question {i}?", "completion": f"answer {i} {k}", "label": k % 2 == 0} for k in range(3)]

    near = write(tmp_path / "data.jsonl", [row for i in range(50) for row in rows(i)])
    one = tp.import_data(near, out=tmp_path / "near")
    far = write(tmp_path / "data.jsonl", [rows(i)[k] for k in range(3) for i in range(50)])
    other = tp.import_data(far, out=tmp_path / "far")
    for name in ("prompts", "responses", "judgements", "examples"):
        assert table(one, name).height == {"prompts": 50}.get(name, 150)
        assert_frame_equal(table(one, name), table(other, name))
    assert table(other, "responses")["prompt_id"].rle_id().max() == 49  # each prompt's rows stand together


def test_the_order_of_rows_and_the_file_that_they_stand_in_change_no_row(tmp_path, small_buckets):
    rows = [preference(i % 20, rejected=f"bad {i}") for i in range(60)]
    one = tp.import_data(write(tmp_path / "data.jsonl", rows), out=tmp_path / "one")
    two = tp.import_data(write(tmp_path / "other.jsonl", rows[::-1]), out=tmp_path / "two")
    for name, height in {"prompts": 20, "responses": 80, "judgements": 60, "examples": 60}.items():
        first, second = (table(run, name).sort("id").drop("source", strict=False) for run in (one, two))
        assert first.height == height
        assert_frame_equal(first, second)


def test_a_row_that_repeats_another_is_set_aside(tmp_path):
    rows = [preference(1), preference(2), {**preference(1), "extra": "not looked at"}]
    run = tp.import_data(write(tmp_path / "data.jsonl", rows), out=tmp_path / "run")
    assert set_aside(run) == {3: "repeats row 1"}
    assert [len(pairs(run)), table(run, "judgements").height] == [2, 2]


def test_two_rows_that_contradict_each_other_are_both_kept_and_can_be_dropped_anew(tmp_path):
    rows = [preference(1), {**preference(1), "chosen": "bad 1", "rejected": "good 1"}, preference(2)]
    run = tp.import_data(write(tmp_path / "data.jsonl", rows), out=tmp_path / "run")
    assert table(run, "responses").height == 4
    assert [pair[1:3] for pair in pairs(run)] == [("good 1", "bad 1"), ("bad 1", "good 1"), ("good 2", "bad 2")]
    recipe = tp.load_recipe(run.path / "recipe.yaml", ["instantiation.0.contradictions=drop"])
    anew = tp.instantiate(run, recipe, tmp_path / "anew")
    assert [pair[1:3] for pair in pairs(anew)] == [("good 2", "bad 2")]


def test_the_same_response_in_two_pairs_is_one_response(tmp_path):
    rows = [preference(1), {**preference(1), "rejected": "worse 1"}]
    run = tp.import_data(write(tmp_path / "data.jsonl", rows), out=tmp_path / "run")
    assert sorted(r[-1]["content"] for r in table(run, "responses")["messages"]) == ["bad 1", "good 1", "worse 1"]
    assert len(pairs(run)) == 2


# --- broken files


def test_rows_that_make_no_sense_are_set_aside_with_their_number_and_the_reason(tmp_path):
    good = preference
    lines = [
        json.dumps(good(1)),
        json.dumps(good(2) | {"chosen": "  "}),
        json.dumps(good(3) | {"rejected": "good 3"}),
        json.dumps({"prompt": "Question 4?", "chosen": "yes"}),
        json.dumps(good(5) | {"score_chosen": "high", "score_rejected": 1}),
        '{"prompt": "Question 6?", "chosen": ',
        json.dumps(good(7) | {"prompt": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]}),
        json.dumps({"question": "what", "other": "schema"}),
        json.dumps(good(9) | {"chosen": 9}),
        json.dumps(good(10) | {"rejected": None}),
        "[1, 2]",
        json.dumps(good(12)),
    ]
    content = (
        "\n".join(lines).encode().replace(b"Question 12", b"Question \xff12") + b"\n" + json.dumps(good(13)).encode()
    )
    (tmp_path / "data.jsonl").write_bytes(content)
    run = tp.import_data(tmp_path / "data.jsonl", out=tmp_path / "run")
    assert [asked[0][1] for asked, *_ in pairs(run)] == ["Question 1?", "Question 13?"]
    assert set_aside(run) == {
        2: "chosen is empty",
        3: "chosen and rejected say the same",
        4: "rejected is missing",
        5: "score_chosen is 'high', not a number",
        6: "is not valid JSON: it ends early, at column 36",
        7: "ends with an assistant message; a policy must have something to answer",
        8: "has none of TRL's columns: prompt, chosen and rejected, completion, messages",
        9: "chosen is a number, not a list",
        10: "rejected is null",
        11: "is a list, not an object",
        12: "is not valid UTF-8: byte 0xff at position 22",
    }
    assert run.manifest.set_aside == 11


def test_roles_that_do_not_alternate_where_the_format_needs_it_are_set_aside(tmp_path):
    def talk(*roles):
        return [{"from": role, "value": f"said {place}"} for place, role in enumerate(roles)]

    answers = {"chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}}
    rows = [
        {"conversations": talk("human"), **answers},
        {"conversations": talk("human", "human", "gpt"), **answers},
        {"conversations": talk("human", "gpt"), **answers},
    ]
    run = tp.import_data(write(tmp_path / "data.jsonl", rows), out=tmp_path / "run")
    assert set_aside(run) == {
        2: "roles do not alternate: message 2 of conversations is by user, after user",
        3: "conversations ends with assistant; before a pair it must end with the user",
    }


def test_a_rating_off_its_scale_or_that_is_no_number_sets_the_row_aside(tmp_path):
    def row(rating):
        done = {"model": "m", "response": f"answer {rating}", "annotations": {"honesty": {"Rating": rating}}}
        return {"instruction": "Go.", "completions": [done]}

    run = tp.import_data(write(tmp_path / "data.jsonl", [row("3"), row("often"), row("7")]), out=tmp_path / "run")
    assert set_aside(run)[2] == "the rating of honesty of completion 1 is 'often', not a number"
    assert "7, which is not on the scale from 1 to 5" in set_aside(run)[3]


def test_of_a_gzip_file_that_is_cut_off_the_rows_before_the_cut_are_kept(tmp_path):
    rows = [preference(i, chosen="good " * 50 + str(hash(i * 7919))) for i in range(2000)]
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    (tmp_path / "data.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    run = tp.import_data(tmp_path / "data.jsonl.gz", out=tmp_path / "run")
    ((number, reason),) = set_aside(run).items()
    assert reason == "the file ends early: its compressed data are cut off here; the rows before this one are kept"
    assert len(pairs(run)) == number - 1 > 100


def test_a_line_of_200_megabytes_is_set_aside_and_the_others_kept(tmp_path):
    file = tmp_path / "data.jsonl"
    with file.open("w") as out:
        out.write(json.dumps(preference(1)) + "\n")
        out.write('{"prompt": "long", "chosen": "')
        for _ in range(200):
            out.write("x" * 2**20)
        out.write('", "rejected": "b"}\n' + json.dumps(preference(3)) + "\n")
    run = tp.import_data(file, out=tmp_path / "run")
    assert set_aside(run) == {2: "is longer than 64 MB"}
    assert len(pairs(run)) == 2


def test_a_file_no_row_of_which_can_be_used_says_why_and_leaves_no_import(tmp_path):
    rows = [preference(i) | {"chosen": ""} for i in range(3)]
    with pytest.raises(PromptError, match="none of the 3 rows can be read as trl; row 1: chosen is empty"):
        tp.import_data(write(tmp_path / "data.jsonl", rows), out=tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()
    write(tmp_path / "data.jsonl", [preference(1)])
    assert len(pairs(tp.import_data(tmp_path / "data.jsonl", out=tmp_path / "run"))) == 1


def test_an_import_that_was_killed_can_be_begun_again(tmp_path):
    import os
    import signal
    import subprocess
    import time

    pipe, out = tmp_path / "data.jsonl", tmp_path / "run"
    os.mkfifo(pipe)
    words = ["-c", f"import triptych as tp; tp.import_data({str(pipe)!r}, 'trl', out={str(out)!r})"]
    at_work = subprocess.Popen([sys.executable, *words])
    with pipe.open("w") as lines:
        lines.writelines(json.dumps(preference(i)) + "\n" for i in range(1500))
        lines.flush()
        while not list(out.glob(".parts/*.arrow")):
            time.sleep(0.05)
        at_work.send_signal(signal.SIGKILL)
        at_work.wait()
    pipe.unlink()
    assert len(pairs(tp.import_data(write(pipe, [preference(1)]), out=out))) == 1
    assert {path.name for path in out.iterdir()} - {".lock"} == {
        *("prompts.parquet", "responses.parquet", "judgements.parquet", "examples.parquet"),
        *("run.json", "recipe.yaml", "set_aside.jsonl"),
    }


def test_columns_that_tell_no_format_are_named_and_a_wrong_name_suggests_the_right_one(tmp_path):
    file = write(tmp_path / "data.jsonl", [{"a": 1, "b": 2}])
    with pytest.raises(PromptError, match=r"do not tell the format \(a, b\); say which it is with --as: alpaca-eval"):
        tp.import_data(file, out=tmp_path / "run")
    with pytest.raises(PromptError, match="there is no format 'hh-rlfh'; did you mean 'hh-rlhf'"):
        tp.import_data(file, "hh-rlfh", out=tmp_path / "run")


# --- what a file may be


def test_the_same_rows_as_jsonl_json_parquet_and_a_datasets_folder_give_the_same_tables(tmp_path):
    from datasets import Dataset

    rows = [
        {
            "prompt": [{"role": "user", "content": f"Question {i}?"}],
            "chosen": [{"role": "assistant", "content": "yes"}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }
        for i in range(30)
    ]
    (tmp_path / "data.json").write_text(json.dumps(rows))
    pl.DataFrame(rows).write_parquet(tmp_path / "data.parquet")
    Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    first = tp.import_data(write(tmp_path / "data.jsonl", rows), out=tmp_path / "first")
    for place, name in enumerate(("data.json", "data.parquet", "saved")):
        other = tp.import_data(tmp_path / name, out=tmp_path / f"run{place}")
        assert pairs(other) == pairs(first)
        assert_frame_equal(table(other, "responses"), table(first, "responses"))


def test_of_a_table_with_rows_of_several_kinds_the_nulls_say_nothing(tmp_path):
    rows = [preference(1), {"prompt": "Question 2?", "completion": "well", "label": True}, {"prompt": "Question 3?"}]
    names = {name: pl.Boolean if name == "label" else pl.String for row in rows for name in row}
    pl.DataFrame([{name: row.get(name) for name in names} for row in rows], schema=names).write_parquet(
        tmp_path / "d.parquet"
    )
    run = tp.import_data(tmp_path / "d.parquet", out=tmp_path / "run")
    assert set_aside(run) == {}
    assert table(run, "examples")["kind"].to_list() == ["pair", "unpaired"]
    assert table(run, "prompts").height == 3


def test_cells_of_csv_may_hold_chats_as_json(tmp_path):
    chat = json.dumps([{"role": "user", "content": "Question 1?"}])
    frame = pl.DataFrame({"prompt": [chat, "Question 2?"], "chosen": ["yes", "yes"], "rejected": ["no", "no"]})
    frame.write_csv(tmp_path / "data.csv")
    run = tp.import_data(tmp_path / "data.csv", out=tmp_path / "run")
    assert [asked for asked, *_ in pairs(run)] == [(("user", "Question 1?"),), (("user", "Question 2?"),)]


# --- going on from there


def exported(tmp_path):
    content = {
        "name": "made",
        "prompts": {
            "kind": "inline",
            "prompts": [
                {
                    "prompt": f"Write {i} words.",
                    "responses": [" ".join(["word"] * n) for n in range(1, 6)],
                    "constraints": [{"kind": "words", "max": n} for n in range(1, i + 2)],
                }
                for i in range(1, 5)
            ],
        },
        "synthesis": {"kind": "given"},
        "evaluation": {"kind": "verify"},
        "instantiation": {"kind": "pairs", "choose": "all_pairs", "weight": "margin"},
    }
    run = tp.run(tp.Recipe.model_validate(content), tmp_path / "made")
    return run, tp.export_run(run, "trl").path


@pytest.mark.parametrize("name", ["train.jsonl", "train.parquet"])
def test_what_was_exported_to_trl_is_read_back_as_it_was(tmp_path, name):
    run, folder = exported(tmp_path)
    back = tp.import_data(folder / name, out=tmp_path / "back")
    assert pairs(back) == pairs(run) != []
    assert len({margin for *_, margin in pairs(run)}) > 2
    for column in ("margin", "weight", "scores", "labels"):
        assert table(back, "examples")[column].to_list() == table(run, "examples")[column].to_list()
    assert table(back, "prompts")["messages"].to_list() == table(run, "prompts")["messages"].to_list()
    again = tp.export_run(back, "trl").path
    texts = ["prompt", "chosen", "rejected", "margin", "weight", "score_chosen", "score_rejected"]
    one, other = (pl.read_parquet(place / "train.parquet", columns=texts) for place in (folder, again))
    assert_frame_equal(one, other)


def test_instantiating_an_import_by_its_own_recipe_gives_its_own_examples(tmp_path):
    rows = [preference(i, score_chosen=i, score_rejected=i / 2) for i in range(1, 9)]
    rows += [{"prompt": f"Question {i}?", "completion": "well", "label": i % 2 == 0} for i in range(1, 9)]
    run = tp.import_data(write(tmp_path / "data.jsonl", rows), out=tmp_path / "run", scale=(0, 10))
    assert Counter(table(run, "examples")["kind"]) == {"pair": 8, "unpaired": 8}
    anew = tp.instantiate(run, tp.load_recipe(run.path / "recipe.yaml"), tmp_path / "anew")
    assert_frame_equal(table(anew, "examples"), table(run, "examples"))
    assert anew.manifest.imported == run.manifest.imported


def test_an_import_can_last_as_long_as_an_export_needs_it(tmp_path):
    file = write(tmp_path / "data.jsonl", [preference(i) for i in range(3)])
    with imported_run(file) as run:
        folder = run.path
        assert tp.export_run(run, "trl", tmp_path / "out").rows == 3
    assert not folder.exists()
    assert (
        json.loads((tmp_path / "out" / "train.jsonl").read_text().splitlines()[2])["chosen"][0]["content"] == "good 2"
    )


def test_the_card_of_an_export_says_that_the_data_are_of_others(tmp_path):
    run = tp.import_data(write(tmp_path / "data.jsonl", [preference(1)]), out=tmp_path / "run")
    card = (tp.export_run(run, "trl").path / "README.md").read_text()
    assert "1 preference pair of other people's data" in card
    assert "has read data.jsonl as trl" in card
    assert "The licence is that of the data." in card


def test_standard_input_is_imported_too(tmp_path):
    import subprocess

    words = ["-c", f"import triptych as tp; tp.import_data('-', out={str(tmp_path / 'run')!r})"]
    subprocess.run([sys.executable, *words], input=json.dumps(preference(1)), text=True, check=True)
    run = tp.open_run(tmp_path / "run")
    assert run.manifest.imported == "standard input as trl"
    assert len(pairs(run)) == 1


def test_an_imported_folder_is_shown_and_says_that_no_call_was_made(tmp_path):
    tp.import_data(write(tmp_path / "data.jsonl", [preference(i) for i in range(3)]), out=tmp_path / "run")
    shown = CliRunner().invoke(cli, ["show", str(tmp_path / "run")]).output
    assert "data.jsonl as trl" in shown
    assert "no call was made" in shown
    assert "2 judgements" not in shown
    row = CliRunner().invoke(cli, ["show", str(tmp_path / "run"), "1"]).output
    assert "preference by trl" in row
    assert "call log" not in row


def test_no_run_goes_over_an_import_and_no_import_over_a_run(tmp_path):
    file = write(tmp_path / "data.jsonl", [preference(1)])
    run = tp.import_data(file, out=tmp_path / "run")
    with pytest.raises(RunFolderError, match="holds data imported from"):
        tp.run(tp.load_recipe(run.path / "recipe.yaml"), tmp_path / "run")
    made, _ = exported(tmp_path)
    with pytest.raises(RunFolderError, match="holds a run; choose another"):
        tp.import_data(file, out=made.path)
    with pytest.raises(RunFolderError, match="holds data imported from"):
        tp.import_data(write(tmp_path / "other.jsonl", [preference(2)]), out=tmp_path / "run")
    assert len(pairs(tp.import_data(file, out=tmp_path / "run"))) == 1


def test_imported_responses_can_be_judged_anew_by_a_run(tmp_path):
    rows = [preference(1), preference(2), {**preference(1), "rejected": "another"}]
    write(tmp_path / "data.jsonl", rows)
    recipe = tp.Recipe.model_validate(
        {
            "name": "anew",
            "prompts": {"kind": "imported", "path": "data.jsonl", "format": "trl"},
            "synthesis": {"kind": "given"},
            "evaluation": {"kind": "verify", "constraints": [{"kind": "starts_with", "text": "bad"}]},
            "instantiation": {"kind": "pairs"},
        }
    )
    run = tp.run(recipe, tmp_path / "run", folder=tmp_path)
    assert [pair[1:] for pair in pairs(run)] == [("bad 1", "good 1", 1.0), ("bad 2", "good 2", 1.0)]
    assert set_aside(run) == {3: "has the prompt of row 1; only the responses of that row are taken"}


def test_a_format_of_another_package_is_found_by_its_entry_point(tmp_path, monkeypatch):
    def read(row):
        return pair(
            prompt_messages(text(row, "q")), (Message("assistant", text(row, "win")),), (Message("assistant", "no"),)
        )

    form = Format(name="theirs", about="theirs", looks_like=lambda row: "win" in row, reader=lambda setting: read)

    class Entry:
        name = "theirs"

        def load(self):
            return form

    monkeypatch.setattr(known, "entry_points", lambda group: [Entry()] if group == "triptych.imports" else [])
    known.formats.cache_clear()
    try:
        run = tp.import_data(write(tmp_path / "data.jsonl", [{"q": "Why?", "win": "yes"}]), out=tmp_path / "run")
        assert pairs(run) == [((("user", "Why?"),), "yes", "no", None)]
    finally:
        known.formats.cache_clear()


# --- the command


def command(*words):
    """Exit code, stdout and stderr of the command line."""
    import contextlib
    import io

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = _guarded(lambda: cli.main([str(word) for word in words], standalone_mode=False))
    return code, out.getvalue(), err.getvalue()


def test_the_command_imports_and_tells_machines_in_json(tmp_path):
    file = write(tmp_path / "data.jsonl", [preference(1), preference(2) | {"chosen": ""}])
    code, out, _ = command("import", file, "--as", "trl", "--out", tmp_path / "run", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["manifest"]["status"], told["manifest"]["set_aside"], told["examples"]) == ("imported", 1, 1)
    code, out, _ = command("import", file, "--out", tmp_path / "run")
    assert code == 0
    assert "1 row set aside" in out
    assert command("export", tmp_path / "run", "--to", "trl")[0] == 0


def test_the_command_has_the_exit_codes_of_the_others(tmp_path):
    file = write(tmp_path / "data.jsonl", [preference(1)])
    code, _, err = command("import", tmp_path / "dat.jsonl", "--out", tmp_path / "run")
    assert (code, "did you mean 'data.jsonl'" in err) == (2, True)
    assert command("import", file, "--as", "nonsense", "--out", tmp_path / "run")[0] == 2
    judged = command("import", file, "--as", "llmbar", "--verdicts", tmp_path / "none.jsonl", "--out", tmp_path / "run")
    assert (judged[0], "there are no verdicts to read in" in judged[2]) == (2, True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("of somebody")
    assert command("import", file, "--out", tmp_path / "full")[0] == 3
    assert not (tmp_path / "run").exists()


def test_progress_says_how_many_rows_are_read(tmp_path):
    file = write(tmp_path / "data.jsonl", [preference(i) for i in range(600)])
    told = []
    tp.import_data(file, out=tmp_path / "run", progress=lambda p: told.append((p.rows, p.total, p.prompts)))
    assert told[0] == (256, 600, 0)
    assert told[-1] == (600, 600, 600)


@pytest.mark.slow
def test_memory_stays_flat_while_100_000_pairs_are_read(tmp_path):
    import subprocess

    script = (
        "import resource, sys, triptych as tp\n"
        "run = tp.import_data(sys.argv[1], out=sys.argv[2])\n"
        "print(run.manifest.prompts, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    peaks = []
    for number in (20_000, 100_000):
        file = tmp_path / f"{number}.jsonl"
        with file.open("w") as out:
            for i in range(number):
                out.write(json.dumps(preference(i, chosen="good " * 150, rejected="bad " * 150)) + "\n")
        words = [sys.executable, "-c", script, str(file), str(tmp_path / f"run{number}")]
        prompts, peak = map(int, subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())
        assert prompts == number
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 150  # MB; the file is 150 MB larger
