"""What nobody would wish for as preference data, audited from the command line: no crash, no injection, no false certainty."""

from __future__ import annotations

import html.parser
import json
import math

import polars as pl
import pytest

from test_audit import run

SCRIPT = "<script>alert('x')</script><img src=x onerror=alert(1)></pre><!-- "
RIGHT_TO_LEFT = "\u202eمرحبا بالعالم \u2066שלום\u2069 "
MANY = 40


def pairs(number, chosen, rejected, **more):
    """Pairs in TRL's form; what is callable is called with the number of the row."""

    def of(what, row):
        return what(row) if callable(what) else what

    return [
        {
            "prompt": f"Question {row}?",
            "chosen": of(chosen, row),
            "rejected": of(rejected, row),
            **{name: of(value, row) for name, value in more.items()},
        }
        for row in range(number)
    ]


def marked(number, label):
    return [
        {"prompt": f"Question {row}?", "completion": f"Answer {row}.", "label": label(row)} for row in range(number)
    ]


def models(score):
    """Responses of two models whose names are markup, with scores."""
    return [
        {
            "instruction": f"Question {row}? {SCRIPT}",
            "generations": [f"{SCRIPT} {row}", f"No. {row}"],
            "generation_models": [SCRIPT, f'"{SCRIPT}'],
            "ratings": [score(row), 1.0],
        }
        for row in range(MANY)
    ]


def languages(row):
    said = ("这是一个答案。", "Это ответ.", RIGHT_TO_LEFT, "답변입니다.", "คำตอบ", "👩‍👩‍👧‍👦 e\u0301\u200b\x00")
    return said[row % len(said)] + str(row)


HOSTILE = {
    "markup": pairs(MANY, lambda row: f"{SCRIPT} {row}", lambda row: f"</title>{SCRIPT}{SCRIPT} {row}"),
    "markup as names": models(lambda row: 1.0 + 4 * (row % 2)),
    "a text of 2 MB": pairs(MANY, lambda row: "word " * 400_000 if row == 7 else "Yes.", "No."),
    "a text of 2 MB without a space": pairs(MANY, lambda row: "x" * 2_000_000 if row == 7 else "Yes.", "No."),
    "all rows identical": [{"prompt": "Question?", "chosen": "Yes.", "rejected": "No."}] * MANY,
    "pairs that say the same, among others": pairs(MANY, "Yes.", lambda row: "Yes." if row % 2 else "No."),
    "a single row": pairs(1, "Yes.", "No."),
    "a few rows": pairs(19, "A long answer with many words. " * 9, "No."),
    "one prompt": [{"prompt": "?", "chosen": f"A longer answer {n}", "rejected": f"No {n}"} for n in range(60)],
    "one class": marked(MANY, lambda row: True),
    "a few of one class": marked(19, lambda row: True),
    "no-number ratings": models(lambda row: (math.nan, math.inf, -math.inf, 2.0)[row % 4]),
    "huge scores": pairs(MANY, "Yes.", "No.", score_chosen=1e308, score_rejected=-1e308),
    "mixed languages": pairs(MANY, languages, lambda row: RIGHT_TO_LEFT * (1 + row % 3)),
    "null columns": pairs(MANY, "Yes.", "No.", score_chosen=None, score_rejected=None, system=None, tags=None),
    "null texts": pairs(MANY, lambda row: None if row % 2 else "Yes.", "No."),
    "empty texts among others": pairs(
        MANY, lambda row: "" if row % 3 == 0 else "Yes.", lambda row: " " if row % 5 == 0 else "No."
    ),
    "unpaired only": marked(MANY, lambda row: row % 3 == 0),
    "steps only": [
        {"prompt": f"Sum {row}?", "completions": ["One.", "Two."], "labels": [True, row % 2 == 0]}
        for row in range(MANY)
    ],
}


class Tags(html.parser.HTMLParser):
    """The tags and the attributes' names in a page."""

    def __init__(self):
        super().__init__()
        self.seen, self.attributes = set(), set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.attributes.update(name for name, _ in attrs)


def no_constant(token):
    raise AssertionError(f"{token} is not JSON")


def audited(file, *words):
    """The report as JSON, after what holds for each that is told."""
    page = file.with_suffix(".html")
    code, out, err = run("audit", file, "--json", "--html", page, *words)
    assert (code, err) == (0, "")
    report = json.loads(out, parse_constant=no_constant)
    assert [each for each in report["unmeasured"] if each["defect"]] == []
    few = [each for each in report["findings"] if each["prompts"] < 20 and each["value"] is not None]
    assert [each for each in few if each["severity"] != "info"] == []
    tags = Tags()
    tags.feed(page.read_text(encoding="utf-8"))
    assert not tags.seen & {"script", "img", "iframe"}
    assert not any(name.startswith("on") for name in tags.attributes)
    return report


def written(tmp_path, rows):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_data_break_nothing_and_get_no_false_certainty(tmp_path, name):
    more = ("--scale", 1, 5) if "ratings" in HOSTILE[name][0] else ()
    report = audited(written(tmp_path, HOSTILE[name]), *more)
    assert report["verdict"]["said"]


@pytest.mark.parametrize("name", ["markup as names", "mixed languages", "a single row"])
def test_the_table_of_hostile_data_has_no_control_characters(tmp_path, name):
    more = ("--scale", 1, 5) if "ratings" in HOSTILE[name][0] else ()
    code, out, err = run("audit", written(tmp_path, HOSTILE[name]), *more)
    assert (code, err) == (0, "")
    assert [char for char in out if char != "\n" and not char.isprintable()] == []


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_rows_whose_scores_are_no_numbers_are_set_aside(tmp_path, odd):
    rows = pairs(MANY, "Yes.", "No.", score_chosen=lambda row: odd if row % 2 else 4.0, score_rejected=2.0)
    file = tmp_path / "rows.parquet"
    pl.DataFrame(rows).write_parquet(file)
    assert audited(file, "--scale", 1, 5)["rows"]["prompts"] == MANY // 2


def test_rows_with_lone_surrogates_are_set_aside(tmp_path):
    file = tmp_path / "rows.jsonl"
    row = '{"prompt": "Question %d?", "chosen": "%s", "rejected": "No."}\n'
    said = ("Yes.", "A \\ud83d half")
    file.write_text("".join(row % (number, said[number % 2]) for number in range(MANY)))
    assert audited(file)["rows"]["prompts"] == MANY // 2


@pytest.mark.parametrize(
    "said",
    [
        "",
        '{"prompt": "?", "chosen": "Yes.", "rejected": "Yes."}',
        '{"prompt": "?", "chosen": "", "rejected": " "}',
        '{"prompt": "?", "chosen": "\\udc00", "rejected": "No."}',
        '{"prompt": "?", "chosen": NaN, "rejected": "No."}',
        '{"prompt": "?", "chosen": null, "rejected": null}',
        "\x00\xff<script>",
    ],
)
def test_a_file_without_a_row_that_can_be_read_is_refused_in_a_sentence(tmp_path, said):
    file = tmp_path / "rows.jsonl"
    file.write_text(said, encoding="utf-8")
    code, out, err = run("audit", file, "--json")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_response_of_50_mb_is_audited(tmp_path):
    rows = pairs(MANY, lambda row: "word " * 10_000_000 if row == 7 else f"Yes {row}.", "No.")
    report = audited(written(tmp_path, rows))
    assert report["rows"]["responses"] == 2 * MANY
