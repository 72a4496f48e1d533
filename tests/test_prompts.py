"""Prompts come from files and recipes; every row is a prompt, or a bad row that says why."""

import csv
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import datasets
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import triptych as tp
from triptych.errors import PromptError
from triptych.operators import BadRow, GivenResponse, PromptRow
from triptych.prompts import Columns, InlinePrompts, PromptFile, columns, row, text_files
from triptych.records import Message

datasets.disable_progress_bars()


def jsonl(path, *rows):
    path.write_bytes(b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in rows))


def read(folder, path="p.jsonl", **settings):
    return list(PromptFile(path=path, **settings).rows(folder))


def good(rows):
    assert not [r for r in rows if isinstance(r, BadRow)]
    return rows


def bad(rows):
    return {r.row: r.reason for r in rows if isinstance(r, BadRow)}


def texts(rows):
    return [r.prompt.text for r in rows if isinstance(r, PromptRow)]


def one(folder, row, **settings):
    """The prompt of a file with this one row."""
    jsonl(folder / "p.jsonl", row)
    (found,) = good(read(folder, **settings))
    return found


def why(folder, row, **settings):
    """The reason why a row, after a good one, is bad."""
    jsonl(folder / "p.jsonl", {"prompt": "a good one"}, row)
    first, second = read(folder, **settings)
    assert isinstance(first, PromptRow)
    assert isinstance(second, BadRow)
    assert second.row == 2
    return second.reason


# What a row may hold


def test_a_text_becomes_a_user_message(tmp_path):
    found = one(tmp_path, {"prompt": "Why is the sky blue?", "other": 1})
    assert found.prompt.messages == (Message("user", "Why is the sky blue?"),)
    assert (found.row, found.given, found.prompt.source) == (1, (), "p.jsonl")


def test_all_names_are_taken_from_columns_of_their_own_name(tmp_path):
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    content = {
        "prompt": "Hello",
        "system": "Be brief.",
        "reference": "Hi",
        "constraints": [{"kind": "words", "max": 5}],
        "criteria": [{"name": "warm", "text": "Is it warm?"}],
        "tools": [tool],
        "responses": ["Hi!", "Hello you."],
        "source": "mine",
        "tags": ["greeting", "short"],
        "parent_id": "p_1",
        "family_id": 7,
    }
    found = one(tmp_path, content)
    prompt = found.prompt
    assert prompt.messages == (Message("system", "Be brief."), Message("user", "Hello"))
    assert prompt.reference == "Hi"
    assert prompt.constraints == ({"kind": "words", "max": 5},)
    assert prompt.criteria == ({"name": "warm", "text": "Is it warm?"},)
    assert prompt.tools == (tool,)
    assert found.given == (GivenResponse("Hi!"), GivenResponse("Hello you."))
    assert (prompt.source, prompt.tags) == ("mine", ("greeting", "short"))
    assert (prompt.parent_id, prompt.family_id) == ("p_1", "7")


def test_nulls_and_empty_texts_in_optional_columns_are_as_if_absent(tmp_path):
    absent = one(tmp_path, {"prompt": "x"})
    for nothing in (None, ""):
        names = [name for name in row.NAMES if name not in ("prompt", "responses")]
        assert one(tmp_path, {"prompt": "x", "responses": None, **dict.fromkeys(names, nothing)}) == absent


def test_objects_may_come_as_json_text(tmp_path):
    objects = [{"kind": "words", "max": 5}]
    for name in ("constraints", "criteria", "tools"):
        as_text = one(tmp_path, {"prompt": "x", name: json.dumps(objects)}).prompt
        assert getattr(as_text, name) == tuple(objects)
        assert as_text == one(tmp_path, {"prompt": "x", name: objects}).prompt


NULLS = {"type": "object", "properties": {"a": {"enum": ["x", None], "default": None}, "b": {"const": None}}}


@pytest.mark.parametrize("as_text", [False, True])
def test_nulls_inside_of_schemas_and_parameters_are_kept(tmp_path, as_text):
    content = {
        "constraints": [{"kind": "json_schema", "schema": NULLS, "max": None}],
        "tools": [{"type": "function", "function": {"name": "f", "description": None, "parameters": NULLS}}],
    }
    content = {name: json.dumps(value) if as_text else value for name, value in content.items()}
    prompt = one(tmp_path, {"prompt": "x", **content}).prompt
    assert prompt.constraints == ({"kind": "json_schema", "schema": NULLS},)
    assert prompt.tools == ({"type": "function", "function": {"name": "f", "parameters": NULLS}},)
    assert next(iter(InlinePrompts(prompts=[{"prompt": "x", **content}]).rows(tmp_path))).prompt.id == prompt.id


def test_nulls_inside_of_the_arguments_of_calls_are_kept(tmp_path):
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": {"x": None}}}
    chat = [
        {"role": "user", "content": "Look"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "", "tool_call_id": "c1"},
    ]
    assert one(tmp_path, {"prompt": chat}).prompt.messages[1].tool_calls[0].arguments == '{"x":null}'


@pytest.mark.parametrize("path", ["p.parquet", "folder"])
def test_in_tables_nulls_fill_what_is_absent_but_json_text_keeps_its_own(tmp_path, path):
    def rows(write):
        first = {"kind": "json_schema", "schema": {"enum": ["x", None]}}
        second = {"kind": "json_schema", "schema": {"type": "object", "required": ["a"]}}
        return [{"prompt": "1", "constraints": write([first])}, {"prompt": "2", "constraints": write([second])}]

    for write in (list, json.dumps):
        write_all(tmp_path, rows(write))
        found = [r.prompt.constraints[0] for r in good(read(tmp_path, path))]
        assert found == [r["constraints"][0] for r in rows(list)]
    write_all(tmp_path, [{"prompt": "1", "tools": json.dumps([{"parameters": NULLS}])}])
    assert good(read(tmp_path, path))[0].prompt.tools == ({"parameters": NULLS},)


def test_numbers_as_references_are_taken_as_text(tmp_path):
    assert one(tmp_path, {"prompt": "6 * 7?", "reference": 42}).prompt.reference == "42"


def test_chat_messages_in_openai_and_sharegpt_form_are_the_same_prompt(tmp_path):
    openai = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "again"}]},
    ]
    sharegpt = [
        {"from": "system", "value": "s"},
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": "a"},
        {"from": "user", "value": "again"},
    ]
    prompts = [
        one(tmp_path, {"prompt": openai}).prompt,
        one(tmp_path, {"messages": openai}).prompt,
        one(tmp_path, {"conversations": sharegpt}).prompt,
        one(tmp_path, {"prompt": openai[1:], "system": "s"}).prompt,
        one(tmp_path, {"prompt": openai, "system": "s"}).prompt,
    ]
    assert [m.role for m in prompts[0].messages] == ["system", "user", "assistant", "user"]
    assert prompts[0].text == "again"
    assert prompts == [prompts[0]] * 5


def test_a_chat_may_end_with_a_tool_message(tmp_path):
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"x": null}'}}
    chat = [
        {"role": "user", "content": "Look"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "", "tool_call_id": "c1"},
    ]
    messages = one(tmp_path, {"prompt": chat}).prompt.messages
    assert messages[1].tool_calls[0].arguments == '{"x": null}'
    assert messages[2].tool_call_id == "c1"


@pytest.mark.parametrize("name", ["prompt", "messages", "instruction", "question", "text", "conversations"])
def test_the_prompt_is_found_under_the_usual_names(tmp_path, name):
    assert one(tmp_path, {"id": 1, name: "here"}).prompt.text == "here"


def test_the_first_of_the_usual_names_that_is_not_null_holds_the_prompt(tmp_path):
    assert one(tmp_path, {"text": "later", "question": "sooner", "prompt": None}).prompt.text == "sooner"


# Responses that come with the prompt


@pytest.mark.parametrize(
    ("responses", "expected"),
    [
        (["a", None, "b"], [("a", "given"), ("b", "given")]),
        ([{"text": "a", "source": "me"}, {"content": "b", "model": "m7"}], [("a", "me"), ("b", "m7")]),
        ([{"response": "a"}, {"text": None}], [("a", "given")]),
        (
            [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": "a"},
                {"role": "user", "content": "y"},
            ],
            [("a", "given")],
        ),
        (
            [[{"from": "human", "value": "x"}, {"from": "gpt", "value": "a"}], "b"],
            [("a", "given"), ("b", "given")],
        ),
        ("a", [("a", "given")]),
        ([], []),
    ],
)
def test_one_column_of_responses(tmp_path, responses, expected):
    found = one(tmp_path, {"prompt": "x", "answers": responses}, columns={"responses": "answers"})
    assert [(r.text, r.source) for r in found.given] == expected


def test_several_columns_of_responses_name_their_source(tmp_path):
    chat = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "best"}]
    named = {"responses": ["chosen", "rejected", "third"]}
    found = one(tmp_path, {"prompt": "x", "chosen": chat, "rejected": "worse", "third": None}, columns=named)
    assert found.given == (GivenResponse("best", "chosen"), GivenResponse("worse", "rejected"))


@pytest.mark.parametrize(
    ("responses", "reason"),
    [
        ([1], "response 1 is a number, neither text nor a list of chat messages"),
        (["a", {"answer": "b"}], "response 2 has none of the fields text, content, response"),
        (
            [{"text": 3, "model": "m7"}],
            "the response of 'm7' is a number, neither text nor a list of chat messages",
        ),
        ([{"role": "user", "content": "x"}], "response 1 is a list of messages, none of them an assistant's"),
        (
            [{"role": "assistant", "content": None, "tool_calls": []}],
            "the last assistant message of response 1 has no text",
        ),
    ],
)
def test_responses_that_are_none_make_the_row_bad(tmp_path, responses, reason):
    assert why(tmp_path, {"prompt": "x", "responses": responses}) == reason


# Bad rows


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": " \n\t"}, "the prompt is empty"),
        ({"prompt": None}, "the prompt is null, neither text nor a list of chat messages"),
        ({"prompt": 5}, "the prompt is a number, neither text nor a list of chat messages"),
        ({"prompt": True}, "the prompt is a boolean, neither text nor a list of chat messages"),
        ({"prompt": {"role": "user"}}, "the prompt is an object, neither text nor a list of chat messages"),
        ({"prompt": []}, "the prompt is empty: it has no messages"),
        ({"prompt": ["hi"]}, "message 1 of the prompt is text, not an object"),
        ({"prompt": [{"role": "system", "content": "s"}]}, "the prompt has no user message"),
        ({"prompt": [{"role": "user", "content": " "}]}, "message 1 of the prompt, by the user, is empty"),
        (
            {"prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
            "ends with an assistant message; a policy must have something to answer",
        ),
        (
            {"prompt": [{"role": "user", "content": "q"}, {"role": "bot", "content": "a"}]},
            "message 2 of the prompt: message has role 'bot'; it must be system, developer, user, assistant or tool",
        ),
        (
            {"prompt": [{"from": ["x"], "value": "a"}]},
            "message 1 of the prompt: message has role ['x']; it must be system, developer, user, assistant or tool",
        ),
        (
            {"prompt": [{"role": "user", "content": "q", "name": 5}]},
            "message 1 of the prompt: name is a number, not text",
        ),
        (
            {"prompt": [{"role": "system", "content": "a"}, {"role": "user", "content": "q"}], "system": "b"},
            "there is a system message both in the prompt and under system, and they differ",
        ),
        ({"prompt": "x", "reference": ["a"]}, "reference is a list, not text"),
        ({"prompt": "x", "source": True}, "source is a boolean, not text"),
        ({"prompt": "x", "tags": [1]}, "tags is a list, not a list of texts"),
        (
            {"prompt": "x", "constraints": {"kind": "words"}},
            "constraints is an object, not a list of objects",
        ),
        ({"prompt": "x", "constraints": ["words"]}, "constraints 1 is text, not an object"),
        ({"prompt": "x", "constraints": [{"kind": "words"}, {"max": 3}]}, "constraint 2 has no kind"),
        ({"prompt": "x", "constraints": '[{"kind": 1}]'}, "constraint 1 has no kind"),
        ({"prompt": "x", "tools": '{"a": 1}'}, "tools is an object, not a list of objects"),
        (
            {"instructions": "x"},
            "there is none of the columns prompt, messages, instruction, question, text, conversations",
        ),
        ([1, 2], "is a list, not an object"),
        (7, "is a number, not an object"),
        (None, "is null, not an object"),
    ],
)
def test_a_row_that_can_not_be_a_prompt_says_why(tmp_path, content, reason):
    assert why(tmp_path, content) == reason


def test_json_text_that_is_broken_inside_a_cell_names_the_cell(tmp_path):
    reason = why(tmp_path, {"prompt": "x", "constraints": '[{"kind":'})
    assert reason.startswith("constraints is text that is not valid JSON: ")


def test_broken_json_is_reported_with_its_line_and_column(tmp_path):
    rows = [{"prompt": f"number {i}"} for i in range(6)]
    jsonl(
        tmp_path / "p.jsonl",
        *rows,
        b'{"prompt": "\xc3\xa9\xc3\xa9" 5}',
        b'{"prompt": "cut',
        {"prompt": "last"},
    )
    found = read(tmp_path)
    assert bad(found) == {
        7: "is not valid JSON: expected ',' or '}', at column 17",
        8: "is not valid JSON: it ends early, at column 16",
    }
    assert texts(found)[-1] == "last"
    assert found[6].content == '{"prompt": "éé" 5}'
    assert found[-1].row == 9


def test_a_number_beyond_reason_is_a_bad_row_in_every_kind_of_json(tmp_path):
    jsonl(tmp_path / "p.jsonl", b'{"prompt": "a", "more": 1e400}', {"prompt": "b"}, b'{"prompt": "c", "more": [-1E999]}')
    shutil.copy(tmp_path / "p.jsonl", tmp_path / "lines.json")
    (tmp_path / "p.json").write_text('[{"prompt": "a", "more": 1e400}, {"prompt": "b"}, {"prompt": "c", "more": -1E999}]')
    for file in ("p.jsonl", "lines.json", "p.json"):
        found = read(tmp_path, file)
        assert bad(found) == dict.fromkeys((1, 3), "holds a number that is too large")
        assert texts(found) == ["b"]


def test_json_nested_beyond_reason_is_a_bad_row(tmp_path):
    assert why(tmp_path, b'{"prompt": ' + b"[" * 200_000).startswith("is not valid JSON: it is nested too deeply")


def test_a_line_that_is_not_utf8_is_a_bad_row(tmp_path):
    assert why(tmp_path, b'{"prompt": "caf\xe9"}') == "is not valid UTF-8: byte 0xe9 at position 16"


def test_half_a_surrogate_pair_is_a_bad_row(tmp_path):
    for half in ("\\ud800", "\\udfff"):
        said = f"holds a lone surrogate {half}, which is no text"
        assert why(tmp_path, f'{{"prompt": "half {half} of one"}}'.encode()) == said
    assert why(tmp_path, b'{"prompt": "half \\ud800').startswith("is not valid JSON: it ends early")
    jsonl(tmp_path / "p.jsonl", b'{"prompt": "\\ud83d\\ude00"}')
    assert texts(read(tmp_path)) == ["\U0001f600"]


def test_what_is_shown_of_a_bad_row_is_cut(tmp_path):
    jsonl(tmp_path / "p.jsonl", {"prompt": "x"}, {"prompt": 5, "more": "é" * 50_000})
    assert len(read(tmp_path)[1].content) == 2000


def test_a_row_that_is_too_long_is_bad_and_the_rest_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "LONGEST_ROW", 2**20)
    fits = {"prompt": "b" * (2**20 - 15)}
    jsonl(tmp_path / "p.jsonl", {"prompt": "a"}, {"prompt": "x" * 2**22}, fits, {"prompt": "c"})
    assert len(json.dumps(fits)) < 2**20
    for line in (b'{"prompt": "a"}', json.dumps(fits).encode()):
        assert line in (tmp_path / "p.jsonl").read_bytes()
    found = read(tmp_path)
    assert bad(found) == {2: "is longer than 1 MB"}
    assert [r.row for r in found] == [1, 2, 3, 4]
    assert found[1].content.startswith('{"prompt": "xxx')


def test_a_row_beyond_64_mb_is_not_held_in_memory(tmp_path):
    with (tmp_path / "p.jsonl").open("wb") as file:
        file.write(b'{"prompt": "')
        for _ in range(300):
            file.write(b"x" * 2**20)
        file.write(b'"}\n{"prompt": "after"}\n')
    tracemalloc.start()
    found = read(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bad(found) == {1: "is longer than 64 MB"}
    assert texts(found) == ["after"]
    assert peak < 160 * 2**20


def test_a_row_that_repeats_an_earlier_one_is_bad(tmp_path):
    rows = [
        {"prompt": "a"},
        {"prompt": "b"},
        {"prompt": [{"role": "user", "content": "a"}], "source": "elsewhere"},
        {"prompt": "a", "reference": "r"},
        {"prompt": "b", "responses": ["1"]},
        {"prompt": "b"},
    ]
    jsonl(tmp_path / "p.jsonl", *rows)
    assert bad(read(tmp_path)) == {
        3: "repeats row 1",
        5: "repeats row 2; responses to one prompt belong into one row",
        6: "repeats row 2",
    }


# Columns


def test_mapped_columns_are_used_instead_of_those_of_the_same_name(tmp_path):
    content = {"prompt": "no", "q": "yes", "reference": "no", "a": "yes", "tags": ["kept"]}
    found = one(tmp_path, content, columns={"prompt": "q", "reference": "a"})
    assert (found.prompt.text, found.prompt.reference, found.prompt.tags) == ("yes", "yes", ("kept",))


def test_an_empty_name_leaves_a_column_alone(tmp_path):
    content = {"prompt": "x", "tags": {"not": "tags"}}
    assert one(tmp_path, content, columns={"tags": ""}).prompt.tags == ()
    assert why(tmp_path, content) == "tags is an object, not a list of texts"


def test_a_row_that_lacks_a_mapped_column_is_bad(tmp_path):
    jsonl(tmp_path / "p.jsonl", {"q": "x", "a": "1"}, {"q": "y"}, {"q": "z", "a": None})
    found = read(tmp_path, columns={"prompt": "q", "reference": "a"})
    assert bad(found) == {2: "there is no column 'a', which is to hold the reference"}


def test_columns_that_the_first_hundred_rows_all_lack_are_an_error(tmp_path):
    def write(rows):
        jsonl(tmp_path / "p.jsonl", *[{"quest": str(i), "other": 1} for i in range(rows)], {"question2": "x"})

    for rows in (3, 100, 500):
        write(rows)
        with pytest.raises(PromptError) as error:
            read(tmp_path, columns={"prompt": "questt"})
        assert str(error.value).startswith(
            "p.jsonl: there is no column 'questt', which is to hold the prompt; did you mean 'quest'? "
            "The columns are: quest, other"
        )
    write(99)
    found = read(tmp_path, columns={"prompt": "question2"})
    assert texts(found) == ["x"]
    assert list(bad(found)) == list(range(1, 100))
    write(100)
    with pytest.raises(PromptError, match="there is no column 'question2'"):
        read(tmp_path, columns={"prompt": "question2"})


@pytest.mark.parametrize("columns", [{"prompt": "questt"}, {}], ids=["a wrong name", "no name"])
def test_a_pipe_without_the_column_is_told_by_its_first_row(tmp_path, columns):
    told = threading.Event()

    def write():
        with open(tmp_path / "pipe.jsonl", "wb", buffering=0) as pipe:
            pipe.write(b'{broken\n{"quest": "x"}\n')
            told.wait(10)  # and nothing more comes

    os.mkfifo(tmp_path / "pipe.jsonl")
    writer = threading.Thread(target=write)
    writer.start()
    began = time.monotonic()
    with pytest.raises(PromptError, match=r"there is no.* 'quest'"):
        read(tmp_path, "pipe.jsonl", columns=columns)
    assert time.monotonic() - began < 8
    told.set()
    writer.join()


def test_broken_rows_do_not_say_that_a_column_is_not_there(tmp_path):
    jsonl(tmp_path / "p.jsonl", *[b"{"] * 100, {"prompt": "x"})
    assert texts(read(tmp_path)) == ["x"]


def test_a_file_without_a_prompt_column_is_an_error_that_shows_the_columns(tmp_path):
    jsonl(tmp_path / "p.jsonl", {"prompts": "x", "id": 1})
    with pytest.raises(PromptError) as error:
        read(tmp_path)
    assert str(error.value) == (
        "p.jsonl: there is none of the columns prompt, messages, instruction, question, text, conversations; "
        "say which one holds the prompt with columns: {prompt: 'prompts'}. The columns are: prompts, id"
    )


@pytest.mark.parametrize("path", ["p.csv", "p.parquet", "p.json", "folder"])
def test_a_mapped_column_that_is_not_in_the_file_is_an_error_in_every_format(tmp_path, path):
    write_all(tmp_path, [{"prompt": "x", "answer": "y"}])
    for named, near in [({"reference": "anwser"}, "answer"), ({"responses": ["answer", "promt"]}, "prompt")]:
        with pytest.raises(PromptError, match=f"did you mean '{near}'.*The columns are: prompt, answer"):
            read(tmp_path, path, columns=named)


def test_unknown_names_of_columns_are_refused():
    with pytest.raises(ValidationError, match="promt"):
        PromptFile(path="p.jsonl", columns={"promt": "x"})
    assert set(Columns.model_fields) == set(row.NAMES)


# Formats


def write_all(folder: Path, rows):
    """The same rows in every format; lists are JSON text in CSV."""
    jsonl(folder / "p.jsonl", *rows)
    (folder / "p.json").write_text(json.dumps(rows, indent=1))
    names = list(dict.fromkeys(name for r in rows for name in r))
    for ending, dialect in (("csv", "excel"), ("tsv", "excel-tab")):
        with (folder / f"p.{ending}").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, dialect)
            writer.writerow(names)
            for r in rows:
                cells = [r.get(name) for name in names]
                writer.writerow([json.dumps(c) if isinstance(c, list) else c for c in cells])
    full = [{name: r.get(name) for name in names} for r in rows]
    pl.DataFrame(full, infer_schema_length=None).write_parquet(folder / "p.parquet", row_group_size=3)
    datasets.Dataset.from_list(full).save_to_disk(folder / "folder", num_shards=min(2, len(rows)))
    for name in ("p.jsonl", "p.json", "p.csv", "p.tsv"):
        with gzip.open(folder / f"{name}.gz", "wb") as packed:
            packed.write((folder / name).read_bytes())


ALL = ["p.jsonl", "p.json", "p.csv", "p.tsv", "p.parquet", "folder"]
PACKED = ["p.jsonl.gz", "p.json.gz", "p.csv.gz", "p.tsv.gz"]


@pytest.mark.parametrize("path", ALL + PACKED)
def test_the_same_prompts_have_the_same_ids_in_every_format(tmp_path, path):
    rows = [
        {
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": 'two\nlines, "quoted"'},
            ],
            "reference": "42",
            "constraints": [
                {"kind": "words", "max": 5},
                {"kind": "bullets", "value": ["a", "b"], "options": {"x": 1}},
            ],
            "responses": ["r1", "r2"],
            "tags": ["t"],
        },
        {"messages": [{"role": "user", "content": "plain"}]},
        {
            "messages": [{"role": "user", "content": "named", "name": "Ann"}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            "criteria": [{"name": "n", "text": "t"}],
        },
        {"messages": [{"role": "user", "content": "x"}], "constraints": [], "responses": [], "reference": ""},
    ]
    write_all(tmp_path, rows)
    expected = [
        (r.prompt.id, r.prompt.tags, r.given)
        for r in good(
            list(
                InlinePrompts(
                    prompts=[
                        {("prompt" if name == "messages" else name): value for name, value in r.items()} for r in rows
                    ]
                ).rows(tmp_path)
            )
        )
    ]
    found = good(read(tmp_path, path))
    assert [(r.prompt.id, r.prompt.tags, r.given) for r in found] == expected
    assert {r.prompt.source for r in found} == {path}


@pytest.mark.parametrize("path", ALL)
def test_many_rows_come_in_order_and_with_their_numbers(tmp_path, path):
    write_all(tmp_path, [{"prompt": f"number {i}"} for i in range(4501)])
    found = good(read(tmp_path, path))
    assert texts(found) == [f"number {i}" for i in range(4501)]
    first = 2 if path in ("p.csv", "p.tsv") else 1
    assert [r.row for r in found] == list(range(first, first + 4501))
    assert PromptFile(path=path).count(tmp_path) == 4501


@pytest.mark.parametrize("path", ALL)
def test_bad_rows_keep_their_numbers_in_every_format(tmp_path, path):
    write_all(tmp_path, [{"prompt": text} for text in ("a", "", "b", "a", None, "c")])
    found = read(tmp_path, path)
    shift = 1 if path in ("p.csv", "p.tsv") else 0
    assert texts(found) == ["a", "b", "c"]
    assert {number - shift: reason.split(",")[0] for number, reason in bad(found).items()} == {
        2: "the prompt is empty",
        4: f"repeats row {1 + shift}",
        5: "the prompt is empty" if shift else "the prompt is null",
    }


@pytest.mark.parametrize("path", ["p.parquet", "folder"])
def test_a_prompt_that_is_a_number_in_a_table_is_bad_and_shown(tmp_path, path):
    write_all(tmp_path, [{"prompt": 5}])
    (found,) = read(tmp_path, path)
    assert found == BadRow(1, "the prompt is a number, neither text nor a list of chat messages", '{"prompt":5}')


texts_of_prompts = st.lists(
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(str.strip),
    min_size=1,
    max_size=8,
    unique=True,
)


@given(texts_of_prompts)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_back_as_it_was_written(tmp_path, prompts):
    rows = [{"prompt": text} for text in prompts]
    jsonl(tmp_path / "h.jsonl", *[json.dumps(r, ensure_ascii=False).encode() for r in rows])
    (tmp_path / "h.json").write_text(json.dumps(rows))
    pl.DataFrame(rows).write_parquet(tmp_path / "h.parquet")
    with (tmp_path / "h.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([["prompt"], *([text] for text in prompts)])
    for path in ("h.jsonl", "h.json", "h.parquet", "h.csv"):
        assert texts(good(read(tmp_path, path))) == prompts, path


# Text files


def test_byte_order_marks_blank_lines_and_missing_last_line_ends_do_no_harm(tmp_path):
    (tmp_path / "p.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n\n  \n{"prompt": "b"}')
    found = good(read(tmp_path))
    assert [(r.row, r.prompt.text) for r in found] == [(1, "a"), (4, "b")]
    (tmp_path / "p.csv").write_bytes(b"\xef\xbb\xbfprompt,reference\r\n\r\na,1\r\nb,2")
    assert [(r.row, r.prompt.text) for r in good(read(tmp_path, "p.csv"))] == [(3, "a"), (4, "b")]
    (tmp_path / "p.json").write_bytes(b'\xef\xbb\xbf[{"prompt": "a"}]')
    assert texts(good(read(tmp_path, "p.json"))) == ["a"]


def test_utf16_files_are_an_error_that_says_so(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a"}', encoding="utf-16")
    with pytest.raises(PromptError, match=r"p\.jsonl is UTF-16 text; save it as UTF-8"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("p.jsonl", b""),
        ("p.jsonl", b"\n  \n"),
        ("p.jsonl", b"\xef\xbb\xbf"),
        ("p.json", b""),
        ("p.json", b"[]"),
        ("p.csv", b""),
        ("p.csv", b"prompt\n"),
        ("p.jsonl.gz", gzip.compress(b"", mtime=0)),
        ("p.jsonl.gz", b""),
    ],
)
def test_a_file_without_rows_is_an_error(tmp_path, path, content):
    (tmp_path / path).write_bytes(content)
    with pytest.raises(PromptError, match="holds no row"):
        read(tmp_path, path)


def test_a_table_without_rows_is_an_error(tmp_path):
    pl.DataFrame({"prompt": []}, schema={"prompt": pl.String}).write_parquet(tmp_path / "p.parquet")
    with pytest.raises(PromptError, match="holds no row"):
        read(tmp_path, "p.parquet")


def test_of_a_gzip_file_that_is_cut_off_the_rows_before_are_kept(tmp_path):
    content = b"".join(json.dumps({"prompt": f"{i} {hash(str(i))}"}).encode() + b"\n" for i in range(20_000))
    packed = gzip.compress(content)
    (tmp_path / "p.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    found = read(tmp_path, "p.jsonl.gz")
    kept = len(found) - 1
    assert 5_000 < kept < 15_000
    assert texts(found) == [json.loads(line)["prompt"] for line in content.splitlines()[:kept]]
    reason = "the file ends early: its compressed data are cut off here; the rows before this one are kept"
    assert bad(found) == {kept + 1: reason}


def test_damaged_gzip_data_are_reported_where_they_are(tmp_path):
    content = b"".join(json.dumps({"prompt": f"{i} {hash(str(i))}"}).encode() + b"\n" for i in range(20_000))
    packed = gzip.compress(content)
    (tmp_path / "p.jsonl.gz").write_bytes(packed[:-8] + b"\0" * 8)
    found = read(tmp_path, "p.jsonl.gz")
    assert "the file's compressed data are damaged here (CRC check failed" in found[-1].reason
    assert len(found) > 15_000
    (tmp_path / "p.jsonl.gz").write_bytes(packed[:40])
    with pytest.raises(PromptError, match=r"p\.jsonl\.gz can't be read: the file ends early"):
        read(tmp_path, "p.jsonl.gz")


def test_compression_is_seen_from_the_content_not_the_name(tmp_path):
    (tmp_path / "p.jsonl").write_bytes(gzip.compress(b'{"prompt": "packed"}'))
    (tmp_path / "q.jsonl.gz").write_bytes(b'{"prompt": "plain"}')
    assert texts(read(tmp_path)) == ["packed"]
    assert texts(read(tmp_path, "q.jsonl.gz")) == ["plain"]


def test_json_files_that_hold_an_object_a_line_are_read_as_jsonl(tmp_path):
    (tmp_path / "p.json").write_text('{"prompt": "a"}\n\n{"prompt": "b"}\n')
    assert [(r.row, r.prompt.text) for r in good(read(tmp_path, "p.json"))] == [(1, "a"), (3, "b")]


def test_a_json_list_has_bad_rows_one_by_one(tmp_path):
    (tmp_path / "p.json").write_bytes(b'[{"prompt": "a"},\n 5, {"prompt": "\xff"}, {"prompt": "b"}]')
    found = read(tmp_path, "p.json")
    assert texts(found) == ["a", "b"]
    assert bad(found)[2] == "is a number, not an object"
    assert bad(found)[3].startswith("is not valid UTF-8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            '[\n{"prompt": "a"},\n{"prompt" "b"}]',
            "p.json is not valid JSON: expected ':', at line 3, column 11",
        ),
        ('[{"prompt": "a"}', "p.json is not valid JSON: it ends early, at column 17"),
        ('{\n"data": [{"prompt": "a"}]}', "p.json is not a list of objects"),
        ('"text"', "p.json is not a list of objects"),
    ],
)
def test_a_json_file_that_is_no_list_is_an_error(tmp_path, content, said):
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(PromptError) as error:
        read(tmp_path, "p.json")
    assert str(error.value).startswith(said)


def test_csv_rows_over_several_lines_are_numbered_by_their_first(tmp_path):
    (tmp_path / "p.csv").write_bytes(b'prompt,reference\r\n"a\r\nb\n",1\r\n\r\n"c ""d"", e",\r\nf,"x\ny"\r\ng,7\r\n')
    found = good(read(tmp_path, "p.csv"))
    assert [(r.row, r.prompt.text, r.prompt.reference) for r in found] == [
        (2, "a\r\nb\n", "1"),
        (6, 'c "d", e', None),
        (7, "f", "x\ny"),
        (9, "g", "7"),
    ]


def test_csv_rows_that_are_broken_are_bad(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "LONGEST_ROW", 200)
    (tmp_path / "p.csv").write_bytes(
        b'prompt,reference\na,1,2\nb\n"c"d,1\n"two\nl\xffnes",1\n' + b"x" * 300 + b',1\n"d\n' + b"y" * 300 + b'\n",1\n'
        b'e,1\n"never closed,1\nf,2\n'
    )
    found = read(tmp_path, "p.csv")
    assert bad(found) == {
        2: "has 3 cells, and the header has 2",
        3: "has 1 cells, and the header has 2",
        4: "is not valid CSV: ',' expected after '\"'",
        5: "is not valid UTF-8: byte 0xff at position 2",
        7: "is longer than 0.000190735 MB",
        8: "a line inside it is longer than 0.000190735 MB",
        9: "is longer than 0.000190735 MB",
        12: "is not valid CSV: unexpected end of data",
    }
    assert texts(found) == ["e"]
    assert next(r.content for r in found if r.row == 5) == '"two\nl\ufffdnes",1'


def test_long_csv_cells_are_read_whole(tmp_path):
    (tmp_path / "p.csv").write_text("prompt\n" + "x" * 500_000 + "\n")
    assert texts(read(tmp_path, "p.csv")) == ["x" * 500_000]


def test_csv_columns_that_are_there_twice_are_an_error_if_they_are_used(tmp_path):
    (tmp_path / "p.csv").write_text("prompt,x,x\na,1,2\n")
    assert texts(read(tmp_path, "p.csv")) == ["a"]
    (tmp_path / "p.csv").write_text("prompt,prompt\na,b\n")
    with pytest.raises(PromptError, match="there are several columns 'prompt'"):
        read(tmp_path, "p.csv")


def test_lists_in_csv_are_json_only_in_columns_of_lists(tmp_path):
    with (tmp_path / "p.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["prompt", "tags", "chosen", "rejected"],
                ["[1, 2] is a list?", '["a", "b"]', "[yes]", ""],
                ["x", "one tag", "", "no"],
                ["y", "[broken", "", ""],
            ]
        )
    found = read(tmp_path, "p.csv", columns={"responses": ["chosen", "rejected"]})
    assert texts(found) == ["[1, 2] is a list?", "x"]
    assert [r.prompt.tags for r in found[:2]] == [("a", "b"), ("one tag",)]
    assert [r.given for r in found[:2]] == [
        (GivenResponse("[yes]", "chosen"),),
        (GivenResponse("no", "rejected"),),
    ]
    assert bad(found)[4].startswith("tags is text that is not valid JSON")


# Standard input


def test_standard_input_is_read_as_jsonl(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"prompt": "a"}\n{"prompt": 1}\n')))
    source = PromptFile(path="-")
    assert source.count(tmp_path) is None
    found = list(source.rows(tmp_path))
    assert [(r.row, r.prompt.text, r.prompt.source) for r in found[:1]] == [(1, "a", "stdin")]
    assert list(bad(found)) == [2]


def test_standard_input_without_rows_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(PromptError, match="standard input holds no row"):
        read(tmp_path, "-")
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(PromptError, match="there is no standard input"):
        read(tmp_path, "-")


def test_standard_input_in_another_format_is_refused():
    with pytest.raises(ValidationError, match="standard input is read as JSONL, not as csv"):
        PromptFile(path="-", format="csv")


# Paths and folders


def test_a_file_that_is_not_there_is_an_error_with_the_near_one(tmp_path):
    jsonl(tmp_path / "prompts.jsonl", {"prompt": "x"})
    for call in (PromptFile.count, lambda source, folder: list(source.rows(folder))):
        with pytest.raises(PromptError, match=r"there is no file '.*prompt\.jsonl'; did you mean 'prompts\.jsonl'"):
            call(PromptFile(path="prompt.jsonl"), tmp_path)


def test_paths_are_relative_to_the_folder_or_absolute(tmp_path):
    (tmp_path / "in").mkdir()
    jsonl(tmp_path / "in" / "p.jsonl", {"prompt": "x"})
    assert texts(read(tmp_path, "in/p.jsonl")) == ["x"]
    assert texts(read(Path("/nowhere"), tmp_path / "in" / "p.jsonl")) == ["x"]


def test_an_ending_that_tells_nothing_needs_a_format(tmp_path):
    jsonl(tmp_path / "prompts.txt", {"prompt": "x"})
    with pytest.raises(PromptError, match=r"prompts\.txt: its ending does not tell the format; set format to jsonl"):
        read(tmp_path, "prompts.txt")
    assert texts(read(tmp_path, "prompts.txt", format="jsonl")) == ["x"]


@pytest.mark.parametrize("path", ["p.parquet", "p.arrow"])
def test_tables_that_can_not_be_read_are_an_error(tmp_path, path):
    (tmp_path / path).write_bytes(b"this is no table, whatever its name says")
    with pytest.raises(PromptError, match=f"{path} can't be read: "):
        read(tmp_path, path)
    with pytest.raises(PromptError, match=f"{path} can't be read: "):
        PromptFile(path=path).count(tmp_path)


def test_an_arrow_file_that_is_cut_off_keeps_the_rows_before(tmp_path):
    write_all(tmp_path, [{"prompt": f"number {i}"} for i in range(4000)])
    shard = tmp_path / "folder" / "data-00000-of-00002.arrow"
    shard.write_bytes(shard.read_bytes()[:-10_000])
    found = read(tmp_path, "folder")
    assert texts(found) == [f"number {i}" for i in range(1000)]
    assert list(bad(found)) == [1001]
    assert "the file ends early" in bad(found)[1001]


def test_a_saved_dictionary_of_splits_needs_one_named(tmp_path):
    def data(name):
        return datasets.Dataset.from_list([{"prompt": f"{name} {i}"} for i in range(3)])

    datasets.DatasetDict({"train": data("train"), "test": data("test")}).save_to_disk(tmp_path / "both")
    datasets.DatasetDict({"train": data("train")}).save_to_disk(tmp_path / "single")
    assert texts(read(tmp_path, "both", split="test")) == ["test 0", "test 1", "test 2"]
    assert texts(read(tmp_path, "single")) == ["train 0", "train 1", "train 2"]
    with pytest.raises(PromptError, match=r"both has several splits; name one with split: \(train, test\)"):
        read(tmp_path, "both")
    with pytest.raises(PromptError, match="both has no split 'dev'; there are: train, test"):
        read(tmp_path, "both", split="dev")


@pytest.mark.skipif(tuple(map(int, pl.__version__.split(".")[:2])) < (1, 36), reason="older Polars reads no such file")
def test_columns_that_are_not_needed_may_have_types_that_polars_lacks(tmp_path):
    features = datasets.Features(
        {
            "prompt": datasets.Value("string"),
            "matrix": datasets.Array2D((2, 2), "float32"),
            "label": datasets.ClassLabel(2),
        }
    )
    rows = {"prompt": ["a", "b"], "matrix": [[[1, 2], [3, 4]]] * 2, "label": [0, 1]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "folder")
    assert texts(good(read(tmp_path, "folder"))) == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"], {"train": 2, "test": 1}),
        (["data/train-00000-of-00001", "data/test-00000-of-00001"], {"train": 1, "test": 1}),
        (["train/0000", "train/0001", "test/0000"], {"train": 2, "test": 1}),
        (["train", "test"], {"train": 1, "test": 1}),
        (["part-0", "part-1", "part-10"], {None: 3}),
        (["0000", "0001"], {None: 2}),
        (["part-00000-3f2a-c000.snappy", "part-00001-77aa-c000.snappy"], {None: 2}),
    ],
)
def test_a_folder_of_parquet_shards_is_read_split_by_split(tmp_path, names, splits):
    for name in names:
        path = tmp_path / "shards" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"prompt": [f"{name} 1", f"{name} 2"]}).write_parquet(path)
    for split, shards in splits.items():
        source = PromptFile(path="shards", split=split)
        found = good(list(source.rows(tmp_path)))
        of_split = sorted(name for name in names if split is None or split in name)
        assert texts(found) == [f"{name} {i}" for name in of_split for i in (1, 2)]
        assert [r.row for r in found] == list(range(1, 2 * shards + 1))
        assert source.count(tmp_path) == 2 * shards
    if len(splits) > 1:
        with pytest.raises(PromptError, match="several splits"):
            read(tmp_path, "shards")


def test_every_shard_is_checked_before_the_first_row(tmp_path):
    pl.DataFrame({"prompt": ["a"]}).write_parquet(tmp_path / "x-0.parquet")
    pl.DataFrame({"other": ["a"]}).write_parquet(tmp_path / "x-1.parquet")
    with pytest.raises(PromptError, match=r"file x-1\.parquet: there is none of the columns"):
        next(PromptFile(path=".").rows(tmp_path))


def test_arrow_files_are_read_in_both_of_their_forms(tmp_path):
    table = pl.DataFrame({"prompt": ["a", "b"], "kind": pl.Series(["x", "y"], dtype=pl.Categorical)})
    table.write_ipc(tmp_path / "file[1]*.arrow")
    table.write_ipc_stream(tmp_path / "stream[1]*.arrow")
    for path in ("file[1]*.arrow", "stream[1]*.arrow"):
        found = good(read(tmp_path, path, columns={"source": "kind"}))
        assert [(r.prompt.text, r.prompt.source) for r in found] == [("a", "x"), ("b", "y")]
        assert PromptFile(path=path).count(tmp_path) == 2


def test_splits_and_folders_that_do_not_fit_are_errors(tmp_path):
    write_all(tmp_path, [{"prompt": "x"}])
    (tmp_path / "empty").mkdir()
    for path, more, said in [
        ("p.jsonl", {"split": "train"}, "p.jsonl is one file, which has no split 'train'"),
        ("p.parquet", {"split": "train"}, "p.parquet is one file, which has no split 'train'"),
        ("folder", {"split": "train"}, "folder has no split 'train'; it is one data set"),
        ("folder", {"format": "jsonl"}, "folder is a folder; as jsonl, name one file in it"),
        ("empty", {}, "empty is a folder that holds no .arrow or .parquet file"),
    ]:
        with pytest.raises(PromptError) as error:
            read(tmp_path, path, **more)
        assert str(error.value) == said


# Size


def test_counts_of_large_files_are_estimated(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "_COUNTED", 2**20)
    lines = [json.dumps({"prompt": f"number {i}"}) for i in range(200_000)]
    content = "\n".join(lines).encode()
    (tmp_path / "p.jsonl").write_bytes(content)
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(content))
    for path in ("p.jsonl", "p.jsonl.gz"):
        assert PromptFile(path=path).count(tmp_path) == pytest.approx(200_000, rel=0.3)


PEAK_OF_THE_LATER_ROWS = """
import sys
from pathlib import Path
from triptych.operators import PromptRow
from triptych.prompts import PromptFile

def peak_mb():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

rows = PromptFile(path=sys.argv[1]).rows(Path(sys.argv[2]))
for _ in range(20_000):
    next(rows)
before = peak_mb()
print(sum(isinstance(row, PromptRow) for row in rows), peak_mb() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's peak memory from /proc")
def test_memory_does_not_grow_with_the_rows_but_for_the_index_of_repeats(tmp_path):
    """Measured in a process of its own, since Polars's memory is not Python's."""
    text = "and so on " * 100
    frame = pl.DataFrame({"prompt": [f"{i} {text}" for i in range(100_000)]})
    frame.write_ndjson(tmp_path / "p.jsonl")
    frame.write_csv(tmp_path / "p.csv")
    frame.write_parquet(tmp_path / "p.parquet", row_group_size=10_000)
    datasets.Dataset.from_polars(frame).save_to_disk(tmp_path / "folder", num_shards=1)
    with gzip.open(tmp_path / "p.jsonl.gz", "wb", compresslevel=1) as packed:
        packed.write((tmp_path / "p.jsonl").read_bytes())
    for path in ("p.jsonl", "p.jsonl.gz", "p.csv", "p.parquet", "folder"):
        command = [sys.executable, "-c", PEAK_OF_THE_LATER_ROWS, path, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows, grown_mb = done.stdout.split()
        assert int(rows) == 80_000
        assert float(grown_mb) < 40, path  # the later texts are 80 MB, their index 9


def test_polars_is_not_imported_for_text_files(tmp_path):
    jsonl(tmp_path / "p.jsonl", {"prompt": "x"})
    program = (
        "import sys; from pathlib import Path; from triptych.prompts import PromptFile\n"
        f"assert len(list(PromptFile(path='p.jsonl').rows(Path({str(tmp_path)!r})))) == 1\n"
        "assert 'polars' not in sys.modules and 'datasets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# Prompts in the recipe


def test_inline_prompts_are_texts_or_objects(tmp_path):
    source = InlinePrompts(
        prompts=[
            "a",
            {"prompt": "b", "system": "s", "responses": [{"text": "r", "model": "m"}], "source": "mine"},
            "",
            "a",
            {"prompt": [{"role": "assistant", "content": "x"}]},
        ]
    )
    found = list(source.rows(tmp_path))
    assert [(r.row, r.prompt.text, r.prompt.source) for r in found[:2]] == [
        (1, "a", "recipe"),
        (2, "b", "mine"),
    ]
    assert found[1].prompt.messages[0] == Message("system", "s")
    assert found[1].given == (GivenResponse("r", "m"),)
    assert bad(found) == {3: "the prompt is empty", 4: "repeats row 1", 5: "the prompt has no user message"}
    assert found[3].content == '{"prompt":"a"}'
    assert source.count(tmp_path) == 5


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ([], "must list at least one prompt"),
        (["a", 5], "a prompt is text, or an object with the field prompt and others"),
        ([{"prompt": "a", "sistem": "x"}], "'sistem' is not a field of a prompt; did you mean 'system'?"),
        ([{"reference": "a"}], "has no field prompt"),
        ([{"prompt": "half \ud800 of one"}], "surrogate"),
        ([{"prompt": "x", "constraints": [{"kind": object()}]}], "can't be written as JSON"),
    ],
)
def test_inline_prompts_that_can_not_be_meant_are_refused_where_they_stand(prompts, said):
    with pytest.raises(ValidationError) as error:
        InlinePrompts(prompts=prompts)
    (problem,) = error.value.errors()
    assert said in problem["msg"]
    assert problem["loc"] == (("prompts", len(prompts) - 1) if prompts else ("prompts",))


@pytest.mark.parametrize(
    "source",
    [
        PromptFile(path="p.jsonl", columns={"prompt": "q", "responses": ["chosen", "rejected"]}, split="train"),
        InlinePrompts(prompts=["a", {"prompt": "b", "tags": ["t"]}]),
    ],
)
def test_settings_come_back_from_what_is_written_of_them(source):
    written = source.model_dump(mode="json", exclude_defaults=True)
    assert type(source).model_validate(written) == source
    assert written["kind"] in ("file", "inline")


def test_default_columns_are_those_that_the_documentation_names():
    assert ", ".join(columns.DEFAULT_PROMPT_COLUMNS) in (Path(columns.__file__).read_text())


def test_a_plan_tells_of_a_parquet_file_that_is_none(tmp_path):
    (tmp_path / "broken.parquet").write_text("no parquet")
    recipe = tp.Recipe.model_validate(
        {"name": "x", "prompts": {"kind": "file", "path": "broken.parquet"}, "synthesis": {"kind": "given"}}
    )
    with pytest.raises(PromptError, match=r"broken\.parquet"):
        tp.plan(recipe, folder=tmp_path)
