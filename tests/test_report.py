"""The report of an audit: what the page holds, what it lets through, and how it looks in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise

import msgspec
import pytest

import browser
import triptych as tp
from triptych.audit.audit import Audit, Unmeasured, audit
from triptych.audit.data import Data
from triptych.audit.finding import Bars, Curve, Finding, Histogram
from triptych.audit.report import page, repair_page, report_json, report_of
from triptych.audit.report.changes import change
from triptych.audit.side_by_side import Became
from triptych.recipes.load import parse_recipe
from triptych.recipes.write import recipe_yaml

HOSTILE = "<script>document.title='x'</script><img src=http://127.0.0.1:9/x.png onerror=\"document.title='x'\">"
RIGHT_TO_LEFT = "\u202eשלום עולם\u0000\x1b[31m"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Pairs whose chosen response is always the longer one, with hostile texts, among them one of a megabyte."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = [
        {
            "prompt": f"{HOSTILE} {n} </title></style>",
            "chosen": f"{HOSTILE} {RIGHT_TO_LEFT} a long answer {n} {'x' * (1_000_000 if n == 3 else 0)}",
            "rejected": f"{n}</details>" + "w" * 30,
        }
        for n in range(30)
    ]
    (folder / "<b>pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tp.import_data(folder / "<b>pairs.jsonl", out=folder / "run")


def finding(**changes):
    fields = {
        "name": "swap_consistency",
        "failure_mode": "E1",
        "subject": HOSTILE,
        "value": 0.4,
        "low": 0.3,
        "high": 0.5,
        "n": 100,
        "prompts": 50,
        "threshold": 0.8,
        "severity": "error",
        "message": f"{HOSTILE} says so.",
        "change": f"take another {HOSTILE}",
    }
    return Finding(**(fields | changes))


PLOTS = (
    Histogram(edges=(0, 0.5, 1), counts=(3, 7), axis=HOSTILE),
    Histogram(edges=(0, 0), counts=(0,), axis="nothing"),
    Bars(labels=(HOSTILE, "b"), values=(1, float("nan")), axis="numbers", low=(0.5, 0), high=(2, 1)),
    Curve(x=(0, 1, 2), y=(0, float("inf"), 3), x_axis="x", y_axis=HOSTILE, diagonal=True),
    Curve(x=(0, 1, 2), y=(0, 1, 3), x_axis="x", y_axis="y", low=(0, 0.5, 2), high=(1, 2, 4)),
)


@pytest.fixture(scope="module")
def report(run):
    data = Data.of(run)
    made = audit(data)
    planted = [finding(plot=shape, subject=f"judge {n} {HOSTILE}") for n, shape in enumerate(PLOTS)]
    planted += [
        finding(severity="warn", name="first_slot_rate", failure_mode="E1", edits={"instantiation.0.criteria": ["preference"], "seed": 7}),
        finding(name="unheard_of", failure_mode="L1", value=None, low=None, high=None, threshold=None),
    ]  # fmt: skip
    unmeasured = (*made.unmeasured, Unmeasured("odd", "E9", HOSTILE, HOSTILE, defect=True))
    told = Audit(rows=made.rows, findings=(*planted, *made.findings), unmeasured=unmeasured, seconds=1.0)
    return report_of(told, data, run, f"{run.path.parent}/{HOSTILE}")


class Page(HTMLParser):
    """The elements of a page, in order, checked to be closed in order."""

    VOID = frozenset({"meta", "br", "img", "line", "circle", "rect", "polyline", "polygon"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, *names: str) -> list[tuple[str, dict[str, str | None]]]:
        return [each for each in self.tags if each[0] in names]


@pytest.fixture(scope="module")
def html(report):
    return page(report)


@pytest.fixture(scope="module")
def parsed(html):
    return Page(html)


def test_a_repair_is_one_page_with_each_finding_before_and_after():
    before, after = finding(subject=HOSTILE), finding(subject=HOSTILE, severity="info")
    gone = finding(name="unheard_of", value=None, low=None, high=None, message=HOSTILE)
    rows = [
        Became(each.name, each.failure_mode, each.subject, each, then) for each, then in ((before, after), (gone, None))
    ]
    made = Page(repair_page(HOSTILE, {"length_match": 7, "resplit": 1}, (1200, 1193), rows))
    assert made.all("script", "img", "b", "iframe", "object", "embed") == []
    assert all(not name.startswith("on") for _, attributes in made.tags for name in attributes)
    assert [attributes["id"] for _, attributes in made.all("table")] == ["repairs", "findings"]
    assert len(made.all("tr")) == 2 + 2 + 2
    assert len(made.all("svg")) == 1
    assert len(made.all("circle")) == 2
    said = " ".join(" ".join(made.words).split())
    assert all(each in said for each in ("1,200", "1,193", "7 examples", "1 prompt", "not found"))
    assert made.all("meta")[2][1]["content"].startswith("default-src 'none'")


def test_text_from_data_is_text_and_nothing_else(parsed):
    assert parsed.all("script", "img", "b", "iframe", "object", "embed") == []
    assert all(not name.startswith("on") for _, attributes in parsed.tags for name in attributes)
    assert "".join(parsed.words).count("<script>document.title='x'</script>") >= 5


def test_a_page_fetches_nothing(html, parsed):
    assert parsed.all("link", "base") == []
    assert not [each for _, each in parsed.tags if {"src", "srcset", "action", "background"} & set(each)]
    assert all((each["href"] or "").startswith("#") for _, each in parsed.all("a"))
    assert "url(" not in html
    assert "@import" not in html


def test_the_verdict_comes_first_and_every_link_has_a_target(report, parsed):
    words = "".join(parsed.words)
    assert words.index(report.verdict.said) < words.index("findings")
    ids = {each["id"] for _, each in parsed.tags if each.get("id")}
    assert {(each["href"] or "")[1:] for _, each in parsed.all("a")} <= ids
    levels = [int(tag[1]) for tag, _ in parsed.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_picture_says_in_words_what_it_shows(parsed):
    pictures = parsed.all("svg")
    assert len(pictures) >= 5
    assert all(each["role"] == "img" and each["aria-label"] for _, each in pictures)
    numbers = " ".join(str(value) for _, each in parsed.tags for value in each.values())
    assert not re.search(r"\b(nan|inf)\b", numbers)


def test_rows_that_show_a_finding_are_there_with_their_texts_cut(html, report, parsed):
    shown = next(each for each in report.examples.values() if each.kind == "pair")
    assert [each.label for each in shown.texts] == ["prompt", "chosen", "rejected"]
    assert all(len(each.text) <= 700 for row in report.examples.values() for each in row.texts)
    assert shown.id in html
    assert len(html) < 300_000
    assert "\x00" not in html
    assert "\x1b" not in html
    says = [each for _, each in parsed.all("div") if each.get("class") == "says"]
    assert says
    assert all(each["dir"] == "auto" for each in says)


def test_a_long_text_says_how_much_of_it_is_left_out(run):
    from triptych.audit.report.shown import shown

    data = Data.of(run)
    longest = data.chars.sort("chars").row(-1, named=True)
    (told,) = shown(data, [longest["response_id"], "r_unheard_of"]).values()
    assert told.texts[1].left_out == longest["chars"] - 700


def test_the_json_is_the_same_report(report):
    told = json.loads(report_json(report))
    assert told["verdict"] == msgspec.to_builtins(report.verdict)
    assert len(told["findings"]) == len(report.findings)
    assert told["panels"]["prompts"] == 30
    assert told["panels"]["responses_per_prompt"] == [2, 2.0, 2]
    assert told["panels"]["instantiation"][0]["examples"] == 30
    assert report_json(report).isascii()


def test_the_change_is_a_diff_that_applies_and_loads(run, report, tmp_path):
    assert report.change is not None
    assert "seed=7" in report.change.settings
    if shutil.which("patch") is None:
        pytest.skip("there is no `patch` on this machine")
    (tmp_path / "recipe.yaml").write_text(run.recipe_text())
    subprocess.run(["patch", "-p0"], input=report.change.diff, text=True, cwd=tmp_path, check=True, capture_output=True)
    patched = parse_recipe((tmp_path / "recipe.yaml").read_text())
    assert patched.seed == 7
    assert patched == parse_recipe(run.recipe_text(), "run", ["seed=7", "instantiation.0.criteria=[preference]"])


def test_a_setting_that_does_not_load_is_left_out_and_said(run):
    text = run.recipe_text()
    made = change(text, [finding(edits={"instantiation.0.choose_well": True}), finding(edits={"seed": 3})])
    assert made.settings == ("seed=3",)
    assert "not a field" in made.refused["instantiation.0.choose_well=true"]
    assert "choose_well" not in made.diff
    only = change(text, [finding(edits={"instantiation.0.choose_well": True})])
    assert only.diff == ""
    assert change(text, [finding()]) is None


def test_of_two_changes_of_one_setting_the_graver_findings_counts(run):
    made = change(run.recipe_text(), [finding(edits={"seed": 1}), finding(edits={"seed": 2})])
    assert made.settings == ("seed=1",)
    assert "a graver finding has seed" in made.refused["seed=2"]


def test_a_secret_of_the_recipe_is_not_in_its_diff(run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    text = recipe_yaml(parse_recipe(run.recipe_text(), "run", ["description=with sk-very-secret in it"]))
    made = change(text, [finding(edits={"name": "other"})])
    assert "sk-very-secret" not in made.diff
    assert "[left out]" in made.diff


IN_A_BROWSER = pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no Chromium on this machine")
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth, document.scripts.length]"


@IN_A_BROWSER
@pytest.mark.parametrize("dark", [False, True])
def test_in_a_browser_no_script_runs_nothing_is_fetched_and_a_phone_need_not_scroll_sideways(html, tmp_path, dark):
    (tmp_path / "report.html").write_text(html)
    seen = browser.look(tmp_path / "report.html", WIDTHS, width=360, dark=dark)
    assert seen.title.startswith("Audit of ")
    assert (seen.requests, seen.told) == ([], [])
    scrolled, client, scripts = seen.value
    assert client == 360
    assert scrolled <= 360
    assert scripts == 0


@IN_A_BROWSER
@pytest.mark.parametrize("width", [320, 360, 700])
def test_in_a_browser_a_repair_need_not_be_scrolled_sideways_and_breaks_no_number(tmp_path, width):
    names = ("label_auc_from_source_and_form", "effective_prompts_share", "pairs_within_noise", "swap_consistency")
    rows = []
    for name in names:
        subject = "a-judge-of-a-long-name-such-as-models-have-2024-08-06/and-a-template"
        before = finding(name=name, subject=subject, severity="warn", value=0.123456, low=0.112345, high=0.134567)
        rows.append(
            Became(name, "E1", subject, before, finding(name=name, subject=subject, value=0.98, severity="info"))
        )
    counts = {"drop_contradictions": 12345, "length_match": 7}
    (tmp_path / "repair.html").write_text(repair_page("rows.jsonl", counts, (1200, 1193), rows))
    seen = browser.look(tmp_path / "repair.html", f"[{WIDTHS}, {PARTS}]", width=width)
    (scrolled, client, _), cut = seen.value
    assert (client, scrolled <= width) == (width, True), scrolled
    assert cut == []


PARTS = r"""(() => {
  const broken = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walk.nextNode());) for (const word of node.data.matchAll(/[\d.,]+|warning|error/g)) {
    if (node.parentElement.closest("svg, bdi, style, code")) continue;
    const range = document.createRange();
    range.setStart(node, word.index); range.setEnd(node, word.index + word[0].length);
    const boxes = [...range.getClientRects()];
    if (new Set(boxes.map(box => Math.round(box.top))).size > 1 || boxes.some(box => box.right > innerWidth)) broken.push(word[0]);
  }
  return broken; })()"""
"""Numbers and severities that stand in two lines, or beyond the edge."""


CONTRAST = """(() => {
  const channels = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = rgb => { const [r, g, b] = rgb.map(c => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (!/, 0\\)$|transparent/.test(c)) return channels(c); } return [255, 255, 255]; };
  let least = 21;
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const ink = getComputedStyle(e)[e instanceof SVGElement ? "fill" : "color"];
    const [a, b] = [light(channels(ink)), light(ground(e))].sort((x, y) => y - x);
    least = Math.min(least, (a + .05) / (b + .05));
  }
  return least; })()"""


@IN_A_BROWSER
@pytest.mark.parametrize("dark", [False, True])
def test_in_a_browser_every_text_has_the_contrast_that_level_aa_wants(html, tmp_path, dark):
    (tmp_path / "report.html").write_text(html)
    assert browser.look(tmp_path / "report.html", CONTRAST, dark=dark).value >= 4.5


@IN_A_BROWSER
def test_the_browser_of_these_tests_would_see_a_script_run(tmp_path):
    (tmp_path / "bad.html").write_text(f"<title>good</title><div style='width: 900px'>wide</div>{HOSTILE}")
    seen = browser.look(tmp_path / "bad.html", WIDTHS, width=360)
    assert seen.title == "x"
    assert seen.requests
    assert seen.value[0] > 360
