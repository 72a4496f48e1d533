"""Auditing a run or a file: what is told, what is accepted, and what a script can read off the exit code."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re

import msgspec
import pytest

import triptych as tp
from triptych.app.cli import _guarded, cli
from triptych.audit import audit as auditing
from triptych.audit.baseline import Accepted, Baseline, read_baseline
from triptych.audit.finding import Finding
from triptych.audit.synthesis.no_answer import EmptyAnswers
from triptych.errors import RunFolderError, TriptychError


def run(*words: object) -> tuple[int, str, str]:
    """A command in this process: its exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = _guarded(lambda: cli.main([str(word) for word in words], prog_name="triptych", standalone_mode=False))
    return code, out.getvalue(), err.getvalue()


def longer_wins(path, wins: int, of: int = 40):
    """A file of pairs whose chosen response is the longer one in so many cases."""
    long, short = "A long answer with many words.", "Short."
    rows = [
        {"prompt": f"Question {n}?", "chosen": long if n < wins else short, "rejected": short if n < wins else long}
        for n in range(of)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def biased(tmp_path):
    return longer_wins(tmp_path / "biased.jsonl", 40)


def report(*words: object) -> dict:
    code, out, err = run("audit", *words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_a_file_is_audited_as_it_lies_there(biased, tmp_path):
    told = report(biased)
    assert told["findings"][0]["severity"] == "error"
    worst = next(each for each in told["findings"] if each["name"] == "chosen_longer")
    assert (worst["name"], worst["severity"], worst["value"], worst["n"]) == ("chosen_longer", "error", 1.0, 40)
    assert told["verdict"]["errors"] == sum(each["severity"] == "error" for each in told["findings"])
    assert told["rows"] == {"prompts": 40, "responses": 80, "judgements": 40, "examples": 40}
    assert list(tmp_path.iterdir()) == [biased]  # nothing is left behind


class Broken(EmptyAnswers):
    """It fails."""

    def measure(self, data):
        raise ZeroDivisionError("by hand")


@pytest.mark.parametrize(("fail_on", "code"), [("never", 0), ("warn", 9), ("error", 9)])
def test_a_diagnostic_that_fails_is_said_and_lets_no_gate_open(tmp_path, monkeypatch, fail_on, code):
    others = tuple(each for each in auditing.DIAGNOSTICS if each.name in {"chosen_longer", "repeated_rows"})
    monkeypatch.setattr(auditing, "DIAGNOSTICS", (*others, Broken()))
    file = longer_wins(tmp_path / "rows.jsonl", 20)
    said = "1 diagnostic failed, which is a defect in Triptych: empty_answers."
    ended, out, err = run("audit", file, "--fail-on", fail_on, "--quiet")
    assert (ended, said in out) == (code, True)
    assert ("1 diagnostic failed" in err) == (code == 9)
    assert "empty_answers (S10): ZeroDivisionError: by hand" in run("audit", file)[1]
    told = report(file)
    assert (told["verdict"]["failed"], said in told["verdict"]["said"]) == (1, True)


def test_an_evaluator_that_is_gold_and_judged_nothing_is_refused(biased, tmp_path):
    made = tp.import_data(biased, out=tmp_path / "run").path
    said = "no evaluator here is called 'nobody'; there are trl"
    commands = (["audit", biased], ["audit", made], ["judges", made], ["repair", biased, "--out", tmp_path / "new"])
    for words in commands:
        code, out, err = run(*words, "--gold", "nobody", *(["--quiet"] if words[0] != "judges" else []))
        assert (code, out, said in err) == (1, "", True), (words, err)
    assert not (tmp_path / "new").exists()
    with pytest.raises(TriptychError, match=said):
        tp.audit_run(biased, gold=["trl", "nobody"])
    assert tp.audit_run(biased, gold=["trl"]).findings


def rows_of_table(out):
    return [line for line in out.splitlines() if re.match(r" {2}(ERROR|WARN| {5}) [SEIL]\d", line)]


def test_a_single_row_gives_no_certainty(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "p", "chosen": "aa b c", "rejected": "b"}) + "\n")
    out = run("audit", file)[1]
    said = (
        "Nothing can be said with fewer than 20 prompts. All statistics rest on fewer than 20 prompts, too few to tell."
    )
    assert out.count(said) == 2  # at the top and at the end
    assert "Nothing wrong" not in out
    rows = [line for line in rows_of_table(out) if "(counted)" not in line]
    assert len(rows) > 15
    assert all("too few to tell: 1 prompt" in line and "expected" not in line for line in rows)
    assert report(file)["verdict"]["severity"] == "unknown"


def test_a_few_prompts_beside_many_rows_say_little_of_the_prompts_alone(tmp_path):
    row = json.dumps({"prompt": "p", "chosen": "aa b c", "rejected": "b"}) + "\n"
    (tmp_path / "same.jsonl").write_text(500 * row)
    verdict = report(tmp_path / "same.jsonl")["verdict"]
    assert (verdict["severity"], verdict["errors"]) == ("error", 1)
    assert verdict["said"].endswith("statistics rest on fewer than 20 prompts, too few to tell.")
    many = longer_wins(tmp_path / "many.jsonl", 20)
    assert "too few" not in report(many)["verdict"]["said"]


@pytest.mark.parametrize("words", [["--policy", "nobody"], ["--embeddings", "nobody"], ["--reference", "ref"]])
def test_what_is_wrong_with_a_file_names_the_file(biased, words):
    code, _, err = run("audit", biased, *words, "--calls", biased.with_suffix(".sqlite"))
    assert code == 2
    assert str(biased) in err
    assert "triptych-" not in err


@pytest.mark.parametrize("option", ["--html", "--write-baseline", "--mended"])
def test_a_file_that_can_not_be_written_is_refused_before_anything_is_measured(biased, tmp_path, monkeypatch, option):
    monkeypatch.setattr("triptych.app.audit.audit", lambda *_, **__: pytest.fail("it was measured"))
    code, out, err = run("audit", biased, option, tmp_path / "none" / "made")
    assert (code, out) == (3, "")
    assert "can't write" in err
    monkeypatch.setattr("triptych.app.repair.audit", lambda *_, **__: pytest.fail("it was measured"))
    assert run("repair", biased, "--out", tmp_path / "new", "--html", tmp_path / "none" / "made")[0] == 3
    assert list(tmp_path.iterdir()) == [biased]


def test_labels_alone_are_no_scores_of_rejected_responses(biased, tmp_path):
    told = report(biased)
    assert "rejected_score" not in {each["name"] for each in told["findings"]}
    (lacks,) = [each for each in told["unmeasured"] if each["name"] == "rejected_score"]
    assert "scores" in lacks["lacks"]
    scored = tmp_path / "scored.jsonl"
    rows = [json.loads(line) | {"score_chosen": 4, "score_rejected": n % 3} for n, line in enumerate(biased.open())]
    scored.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = [each for each in report(scored, "--scale", 0, 4)["findings"] if each["name"] == "rejected_score"]
    assert found["value"] == pytest.approx(sum(n % 3 / 4 for n in range(40)) / 40)


def test_a_run_folder_is_audited_in_python_and_on_the_command_line_alike(biased, tmp_path):
    made = tp.import_data(biased, out=tmp_path / "run")
    found = json.loads(msgspec.json.encode(tp.audit_run(made).findings))
    assert found == report(tmp_path / "run")["findings"]
    assert found == json.loads(msgspec.json.encode(tp.audit_run(biased).findings))


def test_how_to_import_is_refused_for_a_run_folder(biased, tmp_path):
    tp.import_data(biased, out=tmp_path / "run")
    with pytest.raises(RunFolderError, match="does not apply"):
        tp.audit_run(tmp_path / "run", "trl")
    assert run("audit", tmp_path / "run", "--scale", 0, 5)[0] == 3


def test_the_package_of_the_audit_can_still_be_imported():
    import triptych.audit.finding

    assert triptych.audit.finding.Finding is Finding


def test_the_table_says_what_was_found_and_what_could_not_be_measured(biased):
    code, out, err = run("audit", biased)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{biased}: {report(biased)['verdict']['said']}"
    assert "error" in lines[0]
    row = next(line for line in lines if "chosen_longer" in line)
    assert row.split()[:3] == ["ERROR", "I5", "chosen_longer"]
    assert "expected at most 65 %" in row
    unmeasured = [each["lacks"] for each in report(biased)["unmeasured"]]
    told = [line for line in lines if " for want of " in line]
    counts = [int(line.split()[0]) for line in told]
    assert (len(told), sum(counts)) == (len(set(unmeasured)), len(unmeasured))
    assert counts == sorted(counts, reverse=True)
    (swapped,) = (line for line in told if "pairs judged in both orders" in line)
    assert int(swapped.split()[0]) == unmeasured.count("pairs judged in both orders") > 1


def test_a_statistic_that_fails_is_named_with_its_error(biased, monkeypatch):
    from triptych.audit.instantiation.length import ChosenLonger

    def fails(*_):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(ChosenLonger, "measure", fails)
    code, out, _ = run("audit", biased)
    assert code == 0
    assert "chosen_longer (I5): ZeroDivisionError: of all things; please report it" in " ".join(out.split())


def test_no_table_of_the_audit_comes_from_a_diagnostic():
    from pathlib import Path

    import triptych.audit.data as module

    rooms = {"evaluation", "instantiation", "loop", "principles", "repairs", "report", "signal", "synthesis", "diagnostic"}
    tree = ast.parse(Path(module.__file__).read_text())
    modules = [each.module for each in ast.walk(tree) if isinstance(each, ast.ImportFrom) and each.module]
    assert len(modules) > 10
    assert [each for each in modules if each.startswith("triptych.audit.") and each.split(".")[2] in rooms] == []


@pytest.mark.parametrize(
    ("wins", "fail_on", "exit_code"),
    [(40, "error", 9), (40, "warn", 9), (40, "never", 0), (33, "error", 0), (33, "warn", 8), (20, "warn", 0)],
)
def test_the_exit_code_tells_errors_from_warnings(tmp_path, wins, fail_on, exit_code):
    file = longer_wins(tmp_path / "pairs.jsonl", wins)
    code, out, _ = run("audit", file, "--fail-on", fail_on)
    assert code == exit_code
    assert "chosen_longer" in out


def test_what_a_baseline_accepts_is_not_told_again(biased, tmp_path):
    baseline = tmp_path / "baseline.json"
    assert run("audit", biased, "--write-baseline", baseline)[0] == 0
    accepted = next(each for each in read_baseline(baseline).accepted if each.name == "chosen_longer")
    assert (accepted.name, accepted.failure_mode, accepted.severity) == ("chosen_longer", "I5", "error")
    code, out, _ = run("audit", biased, "--baseline", baseline, "--fail-on", "warn")
    assert code == 0
    assert "more accepted by the baseline" in out
    told = report(biased, "--baseline", baseline)
    assert "chosen_longer" in [each["name"] for each in told["accepted"]]
    assert all(each["severity"] == "info" for each in told["findings"])


def test_a_baseline_is_not_worn_away_by_writing_it_while_it_is_read(biased, tmp_path):
    baseline = tmp_path / "baseline.json"
    run("audit", biased, "--write-baseline", baseline)
    before = read_baseline(baseline)
    run("audit", biased, "--baseline", baseline, "--write-baseline", baseline)
    assert read_baseline(baseline) == before
    assert before.accepted


def test_a_baseline_that_cannot_be_read_is_a_sentence(biased, tmp_path):
    (tmp_path / "bad.json").write_text('{"accepted": [{}]}')
    for file in ("bad.json", "none.json"):
        code, _, err = run("audit", biased, "--baseline", tmp_path / file)
        assert code == 1
        assert err.count("error: ") == 1


def finding(value, low, high, *, threshold=0.65, severity="warn", subject="a", name="chosen_longer"):
    return Finding(
        name=name,
        failure_mode="I5",
        subject=subject,
        value=value,
        low=low,
        high=high,
        n=100,
        prompts=100,
        threshold=threshold,
        severity=severity,
        message="",
    )


ACCEPTED = Accepted(name="chosen_longer", failure_mode="I5", subject="a", severity="warn", value=0.75, threshold=0.65)


@pytest.mark.parametrize(
    ("now", "covered"),
    [
        (finding(0.75, 0.7, 0.8), True),
        (finding(0.85, 0.74, 0.9, severity="error"), True),  # the accepted value is still within the interval
        (finding(0.85, 0.76, 0.9), False),  # grown worse by more than the interval
        (finding(0.70, 0.66, 0.74), True),  # better
        (finding(0.10, 0.05, 0.2, threshold=0.35), False),  # on the other side
        (finding(0.75, 0.7, 0.8, subject="b"), False),
        (finding(0.75, 0.7, 0.8, name="chosen_shorter"), False),
        (finding(None, None, None, threshold=None), True),
        (finding(None, None, None, threshold=None, severity="error"), False),
    ],
)
def test_an_accepted_finding_is_told_again_where_it_has_grown_worse(now, covered):
    assert Baseline(accepted=(ACCEPTED,)).covers(now) is covered


def test_a_value_below_its_threshold_grows_worse_downwards():
    accepted = Accepted(name="s", failure_mode="I5", subject="a", severity="warn", value=0.6, threshold=0.8)
    assert accepted.covers(finding(0.7, 0.65, 0.75, threshold=0.8, name="s"))
    assert accepted.covers(finding(0.5, 0.4, 0.6, threshold=0.8, name="s"))
    assert not accepted.covers(finding(0.5, 0.4, 0.59, threshold=0.8, name="s"))


# --- what an import leaves out, and what files say against themselves


def rows_to(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def a_pair(number, **more):
    words = " ".join(f"w{number * 7 + place}" for place in range(9))
    return {"prompt": f"Of {words}?", "chosen": f"Surely {number}.", "rejected": f"Not {number}."} | more


@pytest.mark.parametrize(("times", "severity"), [(1, "info"), (5, "error")])
def test_rows_that_repeat_one_another_are_found_though_an_import_keeps_one_of_them(tmp_path, times, severity):
    found = report(rows_to(tmp_path / "rows.jsonl", [a_pair(number) for number in range(60)] * times))
    (repeated,) = (each for each in found["findings"] if each["name"] == "repeated_rows")
    assert (repeated["value"], repeated["severity"]) == (1 - 1 / times, severity)
    assert repeated["n"] == 60 * times
    assert "could not be used" not in found["verdict"]["said"]


def test_rows_that_can_not_be_read_are_told_with_the_reason_of_the_first(tmp_path):
    rows = [
        a_pair(0),
        a_pair(0),
        *(a_pair(number, chosen=None) if number % 2 else a_pair(number) for number in range(1, 31)),
    ]
    data = rows_to(tmp_path / "rows.jsonl", rows)
    said = "15 of 32 rows could not be used and are not in this; row 3: chosen is null."
    assert said in report(data, "--as", "trl")["verdict"]["said"]
    assert said in " ".join(run("audit", data, "--as", "trl")[1].split())


@pytest.mark.parametrize("scale", [(), ("--scale", 0, 10)])
def test_scores_that_contradict_their_labels_are_an_error_with_a_scale_and_without(tmp_path, scale):
    turned = [a_pair(n, score_chosen=2 + n % 5, score_rejected=9 if n % 10 < 6 else 1) for n in range(100)]
    data = rows_to(tmp_path / "rows.jsonl", turned)
    findings = {each["name"]: each for each in report(data, *scale)["findings"]}
    assert (findings["scores_against_label"]["value"], findings["scores_against_label"]["severity"]) == (0.6, "error")
    assert findings["chosen_longer"]["n"] == 100
    assert not findings["scores_against_label"]["edits"]  # a fit to the labels would but write other scores beside them
    code, out, _ = run("repair", data, *scale, "--out", tmp_path / "new", "--only", "drop_against_scores", "--json")
    assert (code, json.loads(out)["repaired"]["counts"]) == (0, {"drop_against_scores": 60})


def test_many_copies_of_one_prompt_are_found_as_surely_as_copies_of_many(tmp_path):
    copied = "Tell me how to bake a very good bread with a crisp crust at home please, number "
    rows = [a_pair(n) if n % 2 else a_pair(n, prompt=f"{copied}{n}") for n in range(120)]
    found = report(rows_to(tmp_path / "rows.jsonl", rows))
    (copies,) = (each for each in found["findings"] if each["name"] == "near_duplicate_prompts")
    assert copies["value"] == pytest.approx(59 / 120)
    assert copies["severity"] in ("warn", "error")


def test_rows_that_can_not_be_used_are_a_finding_that_a_gate_heeds(tmp_path):
    rows = [a_pair(number, chosen=" ") if number % 5 == 0 else a_pair(number) for number in range(60)]
    data = rows_to(tmp_path / "rows.jsonl", rows)
    (unusable,) = (each for each in report(data)["findings"] if each["name"] == "unusable_rows")
    assert (unusable["value"], unusable["n"], unusable["severity"]) == (0.2, 60, "error")
    assert run("audit", data, "--fail-on", "error", "--quiet")[0] == 9


def test_where_one_prompt_has_nearly_all_rows_that_is_counted_and_no_interval_is_made_up(tmp_path):
    rows = [a_pair(0, chosen=f"Surely {n}.") for n in range(400)] + [a_pair(n) for n in range(1, 30)]
    findings = {each["name"]: each for each in report(rows_to(tmp_path / "rows.jsonl", rows))["findings"]}
    gini = findings["gini_of_rows_per_prompt"]
    assert (gini["low"], gini["high"], gini["severity"]) == (None, None, "warn")
    assert "counted" in gini["message"]


def test_a_file_has_no_recipe_to_mend(biased, tmp_path):
    code, _, err = run("audit", biased, "--mended", tmp_path / "mended.yaml")
    assert (code, "triptych instantiate DIR" in " ".join(err.split())) == (1, True)
    assert not (tmp_path / "mended.yaml").exists()
