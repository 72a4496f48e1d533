import json
import subprocess
import sys
import threading
import time
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from triptych.errors import MissingExtra
from triptych.evaluation.constraints import Check, Constraint, math_process
from triptych.evaluation.constraints.final_answer import final_answer
from triptych.evaluation.constraints.numbers import lone_number

CONSTRAINT: TypeAdapter[Constraint] = TypeAdapter(Constraint)
HEAVY = ("jsonschema_rs", "math_verify", "sympy", "py3langid", "numpy")
NEEDS = {"json_schema": "jsonschema_rs", "language": "py3langid"}


def check(text: str, kind: str, /, **settings: Any) -> Check:
    return CONSTRAINT.validate_python({"kind": kind, **settings}).check(text)


CASES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("words", {"max": 3}, ["", "one two three", "  a\n b\tc ", "well-known don't 12.5"], ["a b c d"]),
    (
        "words",
        {"min": 2, "max": 2},
        ["- yes, no", "привет мир", "مرحبا بالعالم", "🙂 ok ok"],
        ["", "yes", "a b c", "🙂 🙂"],
    ),
    (
        "sentences",
        {"min": 2, "max": 2},
        ["One. Two!", "Is it? Yes.", "Dr. Who pays 3.50 now. He left."],
        ["", "One.", "A b. C d. E f."],
    ),
    (
        "sentences",
        {"min": 1, "max": 1},
        ["Mr. and Mrs. Hill came at 5 p.m. today.", "no mark at all", "今日は晴れです。"],
        ["今日は。明日は。", "  "],
    ),
    ("paragraphs", {"min": 2, "max": 2}, ["a\n\nb", "a\nb\n \n\n\nc\n\n"], ["", "a\nb", "a\n\nb\n\nc"]),
    ("lines", {"min": 2, "max": 2}, ["a\nb", "a\n\n \nb\n"], ["", "a", "a\nb\nc"]),
    ("characters", {"min": 2, "max": 5}, ["ab", " abcde \n", "日本", "é🙂"], ["", "a", "abcdef", "  \n  "]),
    (
        "includes",
        {"words": ["rain", "good day"]},
        ["Rain! A good\nday.", "a GOOD DAY in rain"],
        ["", "rain", "rainy good day", "A good day of train"],
    ),
    ("includes", {"words": ["дождь"]}, ["Идёт Дождь."], ["дождьевик", "rain"]),
    ("excludes", {"words": ["water", "of tea"]}, ["", "watery tea", "of no tea"], ["Water.", "a cup OF  TEA"]),
    (
        "keyword_count",
        {"word": "light", "min": 2},
        ["Light and light", "light, light light"],
        ["", "light", "lights light lighter"],
    ),
    ("keyword_count", {"word": "yes", "max": 1}, ["", "Yes, eyes"], ["yes yes"]),
    ("letter_count", {"letter": "A", "min": 3}, ["banana", "A a-a"], ["", "ban", "á a a"]),
    (
        "starts_with",
        {"text": "Dear neighbour"},
        ["Dear neighbour, hi", "\n dear NEIGHBOUR", '"Dear neighbour'],
        ["", "My dear neighbour", "Dear"],
    ),
    (
        "ends_with",
        {"text": "Good luck!"},
        ["Go. Good luck!", "good LUCK!\n", '"Good luck!"'],
        ["", "Good luck! Bye", "luck!"],
    ),
    (
        "bullets",
        {"min": 2, "max": 2},
        ["- a\n- b", "Here:\n* a\n  • b\nEnd", "- 日本\n- 🙂 ok"],
        ["", "- a", "-a\n-b", "- a\n* b\n• c", "a - b - c", "---\n**a** b\n**c** d"],
    ),
    (
        "numbered_list",
        {"min": 2, "max": 2},
        ["1. a\n2. b", "1) a\n2) b", "Do:\n 1. a\n 10. b"],
        ["", "1. a", "1.5 kg\n2.5 kg", "1. a\n2. b\n3. c"],
    ),
    ("title", {}, ["<<Joy>>\ntext", "a <<b c>> d"], ["", "<Joy>", "<<>>", "<<a\nb>>"]),
    ("highlights", {"min": 1}, ["a *b* c", "**bold words**"], ["", "a b", "2 * 3", "****"]),
    ("placeholders", {"min": 2}, ["Dear [name], on [date].", "[a][b]"], ["", "[name]", "[]", "(name) (date)"]),
    ("postscript", {}, ["Hi.\nP.S. Call me.", "Hi.\n\np.s. more"], ["", "The lamps are on.", "See P.S. below"]),
    ("no_commas", {}, ["Hi. Bye."], ["a, b", "1,200", "一，二", "أ، ب"]),
    ("quoted", {}, ['"Hi there"', " “Hi” \n"], ["", '"', '""', 'Say "Hi"', '"Hi" she said']),
    (
        "one_of",
        {"options": ["Yes", "No"]},
        ["yes", " NO. ", '"Yes"', "**no**"],
        ["", "yes and no", "Yes, it is", "none"],
    ),
    (
        "sections",
        {"min": 2},
        ["Section 1\na\nSection 2\nb", "## SECTION I: a\n**section ii** b"],
        ["", "Section 1", "See section 1 and Section 2", "Section one\nSection two"],
    ),
    ("sections", {"word": "Day", "max": 1}, ["", "Day 1: rest"], ["Day 1\nDay 2"]),
    ("separator", {}, ["a\n******\nb", "one******two"], ["", "a", "a\n******\nA ", "a******", "a******b******c"]),
    ("separator", {"mark": "---", "parts": 3}, ["a --- b --- c"], ["a --- b", "a --- b --- a", "a ---  --- c"]),
    ("all_lowercase", {}, ["hi there, 12!", "привет"], ["", "12!", "Hi", "привЕт"]),
    ("all_uppercase", {}, ["CLOSED 12!", "ПРИВЕТ"], ["", "12!", "CLOSEd"]),
    ("capital_words", {"min": 1}, ["Buy NOW.", "МИР now"], ["", "I am A man.", "Now"]),
    ("capital_words", {"max": 1}, ["", "NASA flew"], ["NASA and ESA"]),
    (
        "json",
        {},
        ['{"a": 1}', " [1, 2]\n", '```json\n{"a": 1}\n```', "```\n[]\n```", '{"é": "日本"}'],
        ["", "{a: 1}", 'Here: {"a": 1}', '{"a": 1', "[" * 100_000],
    ),
    ("json", {"keys": ["a", "b"]}, ['{"a": 1, "b": null, "c": 2}'], ['{"a": 1}', '["a", "b"]', '"a b"']),
    (
        "json_schema",
        {"schema": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}},
        ['{"n": 3}', '```json\n{"n": 0}\n```'],
        ["", "{}", '{"n": "3"}', "[]", "n: 3"],
    ),
    ("regex", {"pattern": r"\b\d{2}\b"}, ["at 12 h", "é 99"], ["", "123", "no"]),
    ("regex", {"pattern": "a|bc", "mode": "fullmatch"}, ["a", " bc\n"], ["", "ab", "abc"]),
    (
        "language",
        {"language": "de"},
        ["Guten Morgen, ich möchte gerne ein Brötchen kaufen."],
        ["", "12 🙂", "Good morning, I would like to buy some bread rolls."],
    ),
    (
        "language",
        {"language": "zh"},
        ["我想在早上买一些面包和牛奶，然后回家。"],
        ["Я хочу купить хлеб утром и пойти домой."],
    ),
]


@pytest.mark.parametrize(
    ("kind", "fields", "good", "bad"), CASES, ids=[f"{kind}-{n}" for n, (kind, *_) in enumerate(CASES)]
)
def test_each_kind_passes_what_satisfies_it_and_fails_what_does_not(kind, fields, good, bad):
    if kind in NEEDS:
        pytest.importorskip(NEEDS[kind], reason="needs the extra triptych[verify]")
    wrong = [text for text in good if not check(text, kind, **fields).passed]
    wrong += [text for text in bad if check(text, kind, **fields).passed]
    assert wrong == []


def test_every_kind_has_cases_here_but_those_with_tests_of_their_own():
    kinds = set(CONSTRAINT.json_schema()["discriminator"]["mapping"])
    assert kinds - {case[0] for case in CASES} == {"final_answer", "unit_tests"}


@pytest.mark.parametrize("kind", ["words", "sentences", "bullets", "letter_count", "sections", "capital_words"])
@pytest.mark.parametrize("bounds", [{}, {"min": 3, "max": 2}, {"min": -1}, {"max": -1}, {"min": 1.5}])
def test_bounds_that_make_no_sense_are_refused(kind, bounds):
    with pytest.raises(ValidationError):
        check("", kind, **({"letter": "a"} if kind == "letter_count" else {}), **bounds)


@pytest.mark.parametrize(
    "written",
    [
        {"kind": "haiku"},
        {"words": ["a"]},
        {"kind": "title", "min": 1},
        {"kind": "includes", "words": []},
        {"kind": "excludes", "words": [" "]},
        {"kind": "one_of", "options": []},
        {"kind": "starts_with", "text": ""},
        {"kind": "letter_count", "letter": "ab", "min": 1},
        {"kind": "separator", "parts": 1},
        {"kind": "language", "language": "German"},
        {"kind": "regex", "pattern": "(a"},
        {"kind": "final_answer", "answer": " "},
    ],
    ids=str,
)
def test_a_constraint_that_means_nothing_is_refused(written):
    with pytest.raises(ValidationError):
        CONSTRAINT.validate_python(written)


def test_a_constraint_without_bounds_says_what_it_needs():
    with pytest.raises(ValidationError, match="min, max"):
        check("", "words")


def test_a_constraint_survives_being_written_and_read_back():
    for kind, fields, *_ in CASES:
        constraint = CONSTRAINT.validate_python({"kind": kind, **fields})
        assert CONSTRAINT.validate_json(CONSTRAINT.dump_json(constraint, by_alias=True)) == constraint


def test_a_constraint_can_not_be_changed():
    constraint = CONSTRAINT.validate_python({"kind": "words", "max": 2})
    with pytest.raises(ValidationError):
        constraint.max = 3


def test_what_was_found_tells_count_and_bound():
    found = check("a b c d", "words", max=3).found
    assert "4" in found
    assert "3" in found


def test_what_was_found_names_the_missing_and_the_forbidden_words():
    assert "snow" in check("rain", "includes", words=["rain", "snow"]).found
    assert "rain" in check("rain", "excludes", words=["rain", "snow"]).found


def test_what_was_found_names_the_place_in_the_json():
    pytest.importorskip("jsonschema_rs", reason="needs the extra triptych[verify]")
    schema = {"properties": {"eggs": {"items": {"type": "string"}}}}
    assert "eggs" in check('{"eggs": ["a", 2]}', "json_schema", schema=schema).found


def test_a_schema_makes_no_request_for_other_documents():
    pytest.importorskip("jsonschema_rs", reason="needs the extra triptych[verify]")
    with pytest.raises((ValidationError, ValueError), match=r"http://127\.0\.0\.1:9/other"):
        check("{}", "json_schema", schema={"$ref": "http://127.0.0.1:9/other"})


@pytest.mark.parametrize(
    "schema", [{"$ref": "other.json"}, {"$ref": "file:///etc/hostname"}, {"$schema": "http://127.0.0.1:9/draft"}]
)
def test_a_schema_that_refers_to_what_it_does_not_hold_is_refused(schema):
    pytest.importorskip("jsonschema_rs", reason="needs the extra triptych[verify]")
    with pytest.raises(ValidationError, match="is no JSON Schema"):
        check("{}", "json_schema", schema=schema)


def test_a_schema_that_nests_too_deeply_is_refused():
    pytest.importorskip("jsonschema_rs", reason="needs the extra triptych[verify]")
    deep: dict[str, Any] = {}
    for _ in range(2000):
        deep = {"items": deep}
    with pytest.raises(ValidationError, match="nests too deeply"):
        check("[]", "json_schema", schema=deep)


def test_a_pattern_that_would_never_end_does_not_hang():
    start = time.monotonic()
    assert not check("a" * 40 + "!", "regex", pattern=r"^(a|a|aa)+$").passed
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("schema", [{"pattern": "^(a+)+$"}, {"patternProperties": {"^(a|aa)+$": False}}])
def test_a_schemas_pattern_that_would_never_end_does_not_hang(schema):
    pytest.importorskip("jsonschema_rs", reason="needs the extra triptych[verify]")
    start = time.monotonic()
    text = "a" * 50_000 + "b"
    assert check(json.dumps({text: 1}), "json_schema", schema=schema).passed
    assert check(json.dumps(text), "json_schema", schema=schema).passed == ("pattern" not in schema)
    assert time.monotonic() - start < 5


LONG = [
    ("words", {"max": 3}, ["日", "a. "]),
    ("sentences", {"max": 3}, ["a. ", "a.", "Dr. x ", "e.g. ", "x\n", '."']),
    ("paragraphs", {"max": 3}, ["\n", " \n"]),
    ("sections", {"max": 3}, ["\n", " \n", "# "]),
    ("json", {}, ["```\n ", "\n ", "["]),
    ("json_schema", {"schema": {"items": {"type": "string"}}}, ["```\n ", "1,"]),
    ("final_answer", {"answer": "12"}, ["3 ", "3:3", "3e", "3e3", "3 million ", "--"]),
]


@pytest.mark.parametrize(
    ("kind", "fields", "piece"), [(kind, fields, piece) for kind, fields, some in LONG for piece in some]
)
def test_a_long_text_is_checked_in_a_time_near_its_length(kind, fields, piece):
    if kind in NEEDS:
        pytest.importorskip(NEEDS[kind], reason="needs the extra triptych[verify]")
    text = piece * (500_000 // len(piece))
    start = time.monotonic()
    for each in (text, f"```\n{text}x", f"[{text}1]"):
        check(each, kind, **fields)
    assert time.monotonic() - start < 5


def test_a_language_that_can_not_be_told_is_an_error_and_no_verdict():
    pytest.importorskip("py3langid", reason="needs the extra triptych[verify]")
    with pytest.raises(ValueError, match="xx"):
        check("some text", "language", language="xx")


@pytest.mark.parametrize(
    ("module", "written"),
    [
        ("py3langid", {"kind": "language", "language": "en"}),
        ("jsonschema_rs", {"kind": "json_schema", "schema": {}}),
    ],
)
def test_without_the_extra_a_check_says_how_to_install_it(monkeypatch, module, written):
    monkeypatch.setitem(sys.modules, module, None)
    # a schema that no other test compiles, for compiled ones are kept
    written = {**written, "schema": {"title": "never seen"}} if "schema" in written else written
    with pytest.raises(MissingExtra, match=r"pip install 'triptych\[verify\]'"):
        CONSTRAINT.validate_python(written).check("{}")


def test_without_the_extra_numbers_are_compared_and_formulas_say_what_is_missing(monkeypatch):
    monkeypatch.setattr(math_process, "find_spec", lambda name: None)
    math_process.same_mathematics.cache_clear()
    assert check("It is 1,200.", "final_answer", answer="1200").passed
    with pytest.raises(MissingExtra, match=r"pip install 'triptych\[verify\]'"):
        check(r"\boxed{\sqrt{4}}", "final_answer", answer="2")


def test_importing_the_constraints_loads_none_of_the_extras():
    code = f"import sys, triptych.evaluation.constraints; print([m for m in {HEAVY} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


QUICK = [case for case in CASES if case[0] not in NEEDS]


@given(text=st.text(max_size=200))
@settings(deadline=None, max_examples=100)
def test_no_text_makes_a_check_crash(text):
    for kind, fields, *_ in QUICK:
        assert isinstance(check(text, kind, **fields).passed, bool)
    assert isinstance(final_answer(text), str | None)


@given(n=st.integers(1, 12), word=st.sampled_from(["tea", "日本", "don't", "x1"]))
def test_counts_are_exact(n, word):
    assert check("\n".join([f"- {word}"] * n), "bullets", min=n, max=n).passed
    assert check("\n".join(f"{i}. {word}" for i in range(1, n + 1)), "numbered_list", min=n, max=n).passed
    assert check(" ".join([f"The {word} is hot."] * n), "sentences", min=n, max=n).passed
    assert check("\n\n".join([word] * n), "paragraphs", min=n, max=n).passed
    assert check(f" {word} ," * n, "keyword_count", word=word, min=n, max=n).passed


@given(text=st.text(max_size=80), low=st.integers(0, 9), more=st.integers(0, 9))
def test_the_bounds_of_a_count_are_inclusive(text, low, more):
    counted = int(check(text, "characters", min=0, max=0).found.split()[0].replace(",", ""))
    assert counted == len(text.strip())
    assert check(text, "characters", min=low, max=low + more).passed == (low <= counted <= low + more)


RIGHT_ANSWERS = [
    ("12", "So the total is 12 apples."),
    ("12", "12"),
    ("12", "12."),
    ("12", "**12**"),
    ("12", "Tom has 7 + 5 = 12 apples."),
    ("12", "7 + 5 = 12"),
    ("12", "The answer is $12"),
    ("12", "It costs $7 and $5, so $12.00 in all."),
    ("12", "That is 12%."),
    ("0.12", "12%"),
    ("12%", "12"),
    ("12", "He has twelve, that is 12.0"),
    ("12", "12 (7 and then more)\n#### 12"),
    ("12", "We add 3 and 4.\n#### 12\nDone, in 2 steps"),
    ("12", r"First 7, then 5: \boxed{12}. I used 2 numbers."),
    ("12", r"$x = 12$"),
    ("12", r"\boxed{x = 5 + 7 = 12}"),
    ("12", r"\boxed{12\text{ apples}}"),
    ("12", "1. Add 7 and 5 to get 12.\n2. Be happy."),
    ("12", "12. That's all of them."),
    ("12", "He weighs 12kg"),
    ("12", "There are 12 apples in H2O"),
    ("1200", "about 1,200 people"),
    ("1,200", "1200"),
    ("1200", "1\u202f200 people"),
    ("1200.5", "$1,200.50"),
    ("-3", "It is -3 degrees."),
    ("-3", "It is \u22123"),
    ("12", "from 10-12"),
    ("3/4", "0.75"),
    ("3/4", "He ate 6/8 of it."),
    ("3/4", "¾ of it"),
    ("1.5", "1½ hours"),
    ("1.5", "1 1/2 hours"),
    ("1/3", "0.333333"),
    ("0.5", "It is .5"),
    ("7", "7 birds"),
    ("0", "There are 0 left."),
    (12, "12"),
    ("1000", "It is 1e3."),
    ("0.00025", "2.5E-4"),
    ("6.02e23", "602,000,000,000,000,000,000,000"),
    ("12000", "12 thousand"),
    ("1000000", "about 1 million people"),
    ("2.5 billion", "$2,500,000,000"),
    ("2500000", r"\boxed{2.5\text{ million}}"),
    ("3:30", "It leaves at 3:30."),
    ("3:30 pm", "At 3:30 P.M. the train leaves."),
    ("3:2", r"The ratio is \boxed{3:2}"),
]
WRONG_ANSWERS = [
    ("12", "112"),
    ("12", "The answer is 112."),
    ("12", "12.5"),
    ("12", "1.2"),
    ("12", "120"),
    ("12", "-12"),
    ("12", "12/5"),
    ("12", "12,000"),
    ("12", "12 or 13"),
    ("12", "There are no apples."),
    ("12", ""),
    ("12", "12 apples were there, now there are 5."),
    ("12", r"12 is near, but \boxed{13}"),
    ("12", "12\n#### 13"),
    ("12", "####"),
    ("12", r"\boxed{}"),
    ("12", "R12"),
    ("12", "10^12"),
    ("12", "12²"),
    ("1200", "1.200"),
    ("1/3", "0.33"),
    ("1/3", "0.3334"),
    ("0.333333", "0.333334"),
    ("1000001", "1000000"),
    ("12", "0.13%"),
    ("12", "1/0"),
    ("3/4", "3 and 4"),
    ("12", "9" * 5000),
    ("1", "1e3"),
    ("1", "1e9999"),
    ("1", "1 million"),
    ("1000", "1 million"),
    ("30", "It leaves at 3:30."),
    ("3", "It leaves at 3:30."),
    ("3:30", "It takes 30 minutes."),
    ("3:30", "It leaves at 3:30 in all, so 4:30."),
    ("3:30 pm", "3:30 am"),
]
KNOWN_TO_MISS = [
    ("12", "The answer is twelve."),
    ("12", "The answer is 12. You can check it with 3 times 4."),
    ("1.5", "1,5 litres"),
    ("12", "12 = 7 + 5"),
]
KNOWN_TO_PASS_WRONGLY = [
    ("12", "I do not think that it is 12."),
    ("5", "12 = 7 + 5"),
    ("2", "The answer is 12. I took 2 steps."),
]


@pytest.mark.parametrize(("answer", "text"), RIGHT_ANSWERS)
def test_a_right_final_answer_passes(answer, text):
    assert check(text, "final_answer", answer=answer).passed


@pytest.mark.parametrize(("answer", "text"), WRONG_ANSWERS)
def test_a_wrong_final_answer_fails(answer, text):
    assert not check(text, "final_answer", answer=answer).passed


def test_the_known_mistakes_about_final_answers_are_still_these():
    assert [check(text, "final_answer", answer=answer).passed for answer, text in KNOWN_TO_MISS] == [False] * 4
    assert [check(text, "final_answer", answer=answer).passed for answer, text in KNOWN_TO_PASS_WRONGLY] == [True] * 3


@pytest.mark.parametrize(
    "piece", ["1", "1,111", "1 ", "$1", r"\(1", "$$1", r"\boxed{1", "{", "\n1. ", "1/", "½", "#### "]
)
def test_a_final_answer_is_looked_for_in_a_time_near_the_length_of_the_text(piece):
    start = time.monotonic()
    final_answer(piece * 20_000)
    assert time.monotonic() - start < 5


@given(number=st.integers(-(10**9), 10**9), other=st.integers(-(10**9), 10**9))
def test_only_the_same_number_is_the_right_answer(number, other):
    assert check(f"So it is {number:,}.", "final_answer", answer=str(number)).passed
    assert check(f"So it is {other}.", "final_answer", answer=str(number)).passed == (number == other)


@pytest.mark.parametrize("text", ["12x", "x = 12", "10 to 12", r"\sqrt{2}", "12 + 1", "", "apples", "1e5x", "3:30"])
def test_what_is_more_than_a_number_is_not_read_as_one(text):
    assert lone_number(text) is None


@pytest.fixture(scope="module")
def _math_verify():
    pytest.importorskip("math_verify", reason="needs the extra triptych[verify]")


@pytest.mark.usefixtures("_math_verify")
def test_formulas_are_compared_as_mathematics():
    right = [
        (r"\frac{3}{4}", r"It is $\frac{6}{8}$."),
        (r"\frac{3}{4}", "So 3/4 of it."),
        ("0.75", r"\boxed{\frac{3}{4}}"),
        ("2", r"\(\sqrt{4}\)"),
        ("x^2+1", r"\boxed{1 + x^2}"),
        (r"2\pi", r"$$\pi \cdot 2$$"),
        ("12000", r"\boxed{1.2 \times 10^4}"),
    ]
    wrong = [
        (r"\frac{3}{4}", r"$\frac{3}{5}$"),
        (r"\frac{3}{4}", "3"),
        ("2", r"$\sqrt{5}$"),
        ("x^2+1", r"\boxed{x^2+2}"),
        ("12", r"\boxed{12x}"),
        ("12", r"\boxed{}"),
        ("12", r"\boxed{\frac{1}{}"),
    ]
    assert [each for each in right if not check(each[1], "final_answer", answer=each[0]).passed] == []
    assert [each for each in wrong if check(each[1], "final_answer", answer=each[0]).passed] == []


@pytest.mark.usefixtures("_math_verify")
def test_a_formula_is_never_run_as_code(tmp_path):
    mark = tmp_path / "ran"
    code = f"__import__('pathlib').Path('{mark}').touch()"
    for text in (rf"\boxed{{{code}}}", f"${code}$", f"#### {code}"):
        assert not check(text, "final_answer", answer="12").passed
    assert not mark.exists()


@pytest.mark.usefixtures("_math_verify")
def test_a_formula_too_hard_to_decide_is_unequal_and_the_next_is_compared(monkeypatch):
    assert check(r"\boxed{\sqrt{49}}", "final_answer", answer="7").passed
    monkeypatch.setattr(math_process, "LIMIT_S", 0.5)
    start = time.monotonic()
    assert not check(r"\boxed{9^{9^{9^9}}}", "final_answer", answer="7").passed
    assert time.monotonic() - start < 5
    monkeypatch.undo()
    assert check(r"\boxed{\sqrt{36}}", "final_answer", answer="6").passed


@pytest.fixture
def broken_math(monkeypatch, tmp_path):
    """A process for formulas that counts its starts and is none: it ends at once, or never says anything."""

    def broken(then):
        worker = tmp_path / "worker.py"
        worker.write_text(f"open({str(tmp_path / 'starts')!r}, 'a').write('x')\n{then}\n")
        monkeypatch.setattr(math_process, "_WORKER", worker)
        monkeypatch.setattr(math_process, "_START_LIMIT_S", 1.5)
        monkeypatch.setattr(math_process, "_processes", {})
        monkeypatch.setattr(math_process, "_never_started", set())
        return lambda: len((tmp_path / "starts").read_text())

    return broken


@pytest.mark.usefixtures("_math_verify")
@pytest.mark.parametrize("then", ["import no_such_package", "import time; time.sleep(60)", "print('false')"])
def test_a_process_for_formulas_that_does_not_start_is_said_and_waited_for_once(broken_math, then):
    starts = broken_math(then)
    began = time.monotonic()
    for number in range(20, 25):
        with pytest.raises(MissingExtra, match=r"does not start. To see why: .*worker\.py"):
            check(rf"\boxed{{\sqrt{{{number}}}}}", "final_answer", answer=number)
    assert starts() == 1
    assert time.monotonic() - began < 5
    assert check(r"\boxed{7}", "final_answer", answer=7).passed, "numbers need no process"


@pytest.mark.usefixtures("_math_verify")
def test_formulas_are_compared_outside_the_main_thread():
    passed = []
    threads = [
        threading.Thread(
            target=lambda n=n: passed.append(check(rf"\boxed{{\sqrt{{{n * n}}}}}", "final_answer", answer=n).passed)
        )
        for n in (11, 12, 13)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert passed == [True] * 3


def test_every_prompt_of_the_quickstart_has_its_own_checks_that_need_no_extra():
    lines = files("triptych.prompts").joinpath("sets/everyday.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    constraints = [CONSTRAINT.validate_python(written) for row in rows for written in row["constraints"]]
    assert len({row["prompt"] for row in rows}) == len(rows) >= 60
    assert all(row["constraints"] for row in rows)
    assert not {constraint.kind for constraint in constraints} & NEEDS.keys()
    assert all(lone_number(each.answer) for each in constraints if each.kind == "final_answer")
