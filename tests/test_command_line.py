"""The command line: what a person sees, and what bad input gives."""

import fcntl
import io
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import yaml

import triptych as tp
from endpoint import endpoint
from triptych.app.progress import showing_progress

GIVEN = textwrap.dedent("""\
    name: given
    prompts: {kind: file, path: prompts.jsonl}
    synthesis: {kind: given}
    evaluation: {kind: verify}
    instantiation: {kind: pairs}
    """)
ROW = {
    "prompt": "Say hi in one word.",
    "responses": ["Hi!", "Hello my dear friend."],
    "constraints": [{"kind": "words", "max": 1}],
}


def triptych(*arguments: object, stdin: str | None = None, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "triptych", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=120, **options)


def refused(done: subprocess.CompletedProcess[str], exit_code: int, *said: str) -> None:
    """One clear message, the exit code, and no traceback."""
    assert done.returncode == exit_code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    for each in said:
        assert each in errors[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(GIVEN)
    (tmp_path / "prompts.jsonl").write_text(
        json.dumps(ROW) + "\n" + json.dumps(ROW | {"prompt": "Greet me in a word."}) + "\n"
    )
    return tmp_path


@pytest.fixture(scope="module")
def base_url():
    with endpoint() as server:
        yield server.base_url


@pytest.fixture(scope="module")
def judged(tmp_path_factory, base_url) -> Path:
    """A run of two prompts with two responses each, a judge and a verifier."""
    folder = tmp_path_factory.mktemp("judged")
    triptych("run", judged_recipe(folder, base_url), "--out", folder / "run", "--quiet")
    return folder / "run"


def judged_recipe(folder: Path, base_url: str, **model: object) -> Path:
    recipe = {
        "name": "judged",
        "models": {
            "m": {"backend": "openai", "model": "m", "base_url": base_url, "price": {"input": 9, "output": 9}} | model
        },
        "prompts": {"kind": "inline", "prompts": ["Say hi.", "Say ho."]},
        "synthesis": {"kind": "sample", "model": "m", "n": 2, "max_tokens": 40},
        "objective": {"criteria": {"good": {"text": "It is good."}}},
        "evaluation": [
            {"kind": "rubric", "model": "m", "criteria": ["good"]},
            {"kind": "verify", "constraints": [{"kind": "words", "max": 30}]},
        ],
        "instantiation": {"kind": "pairs", "ties": "keep"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder / "recipe.yaml"


def test_help_comes_at_once_and_loads_nothing_heavy():
    code = "import sys; from triptych.app.cli import cli; print([m for m in ('polars', 'aiohttp', 'pydantic', 'rich', 'jinja2') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
    fastest = min(_seconds("--help") for _ in range(5))
    assert fastest < 0.3


def _seconds(*arguments: str) -> float:
    begun = time.perf_counter()
    assert triptych(*arguments).returncode == 0
    return time.perf_counter() - begun


def test_importing_triptych_loads_nothing_heavy():
    code = "import sys, triptych; print([m for m in ('polars', 'aiohttp', 'pydantic', 'msgspec', 'click') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
    assert all(hasattr(tp, name) for name in tp.__all__)


def test_from_recipe_to_training_files(folder):
    run = folder / "run"
    assert "2 prompts" in triptych("plan", folder / "recipe.yaml").stdout
    done = triptych("run", folder / "recipe.yaml", "--out", run)
    assert done.returncode == 0, done.stderr
    assert "2 prompts: pair (2 pairs)" in done.stdout
    exported = triptych("export", run, "--to", "trl", "--json")
    assert json.loads(exported.stdout)["rows"] == 2
    assert (run / "export" / "trl" / "README.md").exists()


def test_each_strategy_is_accounted_for_by_itself(folder):
    row = json.dumps(ROW | {"responses": ["Hi!", "Hello!", "Hello my dear friend."]})
    (folder / "prompts.jsonl").write_text(row)
    recipe = GIVEN.replace(
        "instantiation: {kind: pairs}",
        "instantiation: [{kind: pairs}, {kind: pairs, choose: all_pairs}, {kind: groups}]",
    )
    (folder / "recipe.yaml").write_text(recipe)
    told = triptych("run", "recipe.yaml", "--out", "out", cwd=folder).stdout
    assert "        1 prompt\n        3 responses\n        3 judgements by verify\n        4 training examples" in told
    assert "Kept, by best_vs_worst\n        1 prompt: pair (1 pair)\n" in told
    assert "Kept, by all_pairs\n        1 prompt: pair (2 pairs)\n" in told


def test_one_can_walk_from_an_example_to_its_prompt_and_back(folder):
    run = folder / "run"
    triptych("run", folder / "recipe.yaml", "--out", run)
    story = json.loads(triptych("show", run, "1", "--json").stdout)
    assert story["prompt"]["messages"][0]["content"] == "Say hi in one word."
    assert (len(story["responses"]), len(story["judgements"]), len(story["examples"])) == (2, 2, 1)
    example = story["examples"][0]["id"]
    back = json.loads(triptych("show", run, example[:12], "--json").stdout)
    assert back["prompt"] == story["prompt"]
    assert {row["id"] for row in back["judgements"]} == set(back["examples"][0]["judgement_ids"])
    chosen = back["examples"][0]["response_ids"][0]
    alone = json.loads(triptych("show", run, chosen, "--json").stdout)
    assert [row["id"] for row in alone["responses"]] == [chosen]
    assert [row["id"] for row in alone["examples"]] == [example]
    assert "chosen: #1" in triptych("show", run, example).stdout
    refused(triptych("show", run, "e_00000000"), 1, "the run has no e_00000000")
    refused(triptych("show", run, "99"), 1, "no prompt number 99")


def test_what_models_and_data_say_can_not_command_the_terminal(folder):
    evil = ROW | {
        "prompt": "\x1b[2J\x1b]0;owned\x07 [bold]hi[/bold] \u202e",
        "responses": ["\x1b[31mred", "[link=http://x]y[/link]"],
    }
    (folder / "prompts.jsonl").write_text(json.dumps(evil) + "\n")
    triptych("run", folder / "recipe.yaml", "--out", folder / "run")
    shown = triptych("show", folder / "run", "1").stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[bold]hi[/bold]" in shown
    assert "[link=http://x]y[/link]" in shown


HIDDEN = "\x1b[2J\x07\x7f\x9b\u061c\u200b\u200d\u200e\u200f\u202a\u202e\u2060\u2066\u2069\ufeff"
"""What commands a terminal, turns text around, or can't be seen."""


def poisoned(table):
    """The table with `HIDDEN` in each text that isn't an id."""
    import polars as pl

    texts = [name for name, dtype in table.schema.items() if dtype == pl.String and not name.endswith("id")]
    free_form = [name for name in ("params", "tools", "constraints", "criteria") if name in texts]
    evil = pl.lit(HIDDEN)
    return table.with_columns(
        *(pl.concat_str(pl.col(name).fill_null("x"), evil) for name in texts if name not in free_form),
        *(pl.concat_str(pl.lit('"'), evil, pl.lit('"')).alias(name) for name in free_form),
    )


def test_no_text_of_a_run_reaches_the_terminal_as_it_is(judged, tmp_path):
    import polars as pl

    run = Path(shutil.copytree(judged, tmp_path / "run"))
    for name in ("prompts", "responses", "judgements", "examples"):
        poisoned(pl.read_parquet(run / f"{name}.parquet")).write_parquet(run / f"{name}.parquet")
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(manifest | {"recipe": "r" + HIDDEN, "status": "stopped: " + HIDDEN}))
    ids = [pl.read_parquet(run / f"{name}.parquet")["id"][0] for name in ("responses", "judgements", "examples")]
    for arguments in ([], ["1"], *([each] for each in ids)):
        for options in ([], ["--json"]):
            shown = triptych("show", run, *arguments, *options)
            assert shown.returncode == 0, shown.stderr
            assert not set(HIDDEN) & set(shown.stdout) - set("[2J")
    story = json.loads(triptych("show", run, "1", "--json").stdout)
    assert HIDDEN in story["responses"][0]["finish_reason"]  # for machines it is all there


def test_no_text_of_a_recipe_or_a_data_set_reaches_the_terminal_as_it_is(folder):
    (folder / "prompts.jsonl").write_text(json.dumps({"prompt": [{"role": HIDDEN}]}) + "\n" + json.dumps(ROW))
    recipe = yaml.safe_load(GIVEN) | {
        "models": {"m" + HIDDEN: {"backend": "openai", "model": "m", "api_key_env": "NO_SUCH_KEY"}},
        "synthesis": {"kind": "sample", "model": "m" + HIDDEN},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for options in ([], ["--json"]):
        planned = triptych("plan", folder / "recipe.yaml", *options)
        assert planned.returncode == 0, planned.stderr
        assert "bad row" in planned.stdout or options
        assert not set(HIDDEN) & set(planned.stdout) - set("[2J")


def test_an_error_is_cleaned_before_it_is_said(folder):
    done = triptych("plan", folder / f"absent{HIDDEN}.yaml")
    refused(done, 2, "can't be read")
    assert not set(HIDDEN) & set(done.stderr) - set("[2J")


def test_joiners_that_scripts_and_emoji_need_are_left(folder):
    family, hindi, persian = "\U0001f469\u200d\U0001f467", "\u0915\u094d\u200d\u0937", "\u0645\u06cc\u200c\u062e"
    (folder / "prompts.jsonl").write_text(json.dumps(ROW | {"prompt": f"{family} {hindi} {persian} a\u200db"}) + "\n")
    triptych("run", folder / "recipe.yaml", "--out", folder / "run", "--quiet")
    assert f"{family} {hindi} {persian} a\ufffdb\n" in triptych("show", folder / "run", "1").stdout


def test_a_call_is_found_by_the_beginning_of_its_id(judged):
    call = json.loads(triptych("show", judged, "1", "--json").stdout)["judgements"][0]["call_ids"][0]
    assert triptych("show", judged, call[:12]).stdout == triptych("show", judged, call).stdout
    assert f"call {call}" in triptych("show", judged, call[:12]).stdout
    refused(triptych("show", judged, "zz"), 1, "no row and no call zz")
    refused(triptych("show", judged, ""), 1, "several rows begin with")


@pytest.mark.parametrize("strange", ["\u00b2", "\u0661", "p_\u00b2", "r_\udcff"])
def test_what_can_be_no_id_is_an_error_of_one_line(judged, strange):
    refused(triptych("show", judged, strange), 1, "the run has no")


def test_the_page_of_a_prompt_shows_what_its_judgements_cost(judged):
    shown = triptych("show", judged, "1").stdout
    story = json.loads(triptych("show", judged, "1", "--json").stdout)
    for row in story["responses"] + [row for row in story["judgements"] if row["call_ids"]]:
        call = json.loads(triptych("show", judged, row["call_ids"][0], "--json").stdout)["call"]
        assert (row["prompt_tokens"], row["completion_tokens"]) == (call["prompt_tokens"], call["completion_tokens"])
        assert row["prompt_tokens"] > 0
        assert row["cost_usd"] > 0
        tokens = f"{row['prompt_tokens']} tokens in, {row['completion_tokens']} out, "
        (line,) = [line for line in shown.splitlines() if line.endswith(f"; calls {row['call_ids'][0]}")]
        assert tokens in line
        assert f"${row['cost_usd']:.4f}" in line
    assert {bool(row["call_ids"]) for row in story["judgements"]} == {True, False}  # a judge, and a verifier


def test_the_page_of_a_prompt_shows_the_tools_that_are_called(folder):
    call = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q": "rain"}'}}
    asked = [{"role": "user", "content": "Rain?"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    asked += [{"role": "tool", "content": "yes", "tool_call_id": "c1"}]
    (folder / "prompts.jsonl").write_text(json.dumps(ROW | {"prompt": asked}) + "\n")
    assert triptych("run", folder / "recipe.yaml", "--out", folder / "run", "--quiet").returncode == 0
    assert (
        '  assistant:\n    calls search with {"q": "rain"}\n  tool:\n    yes\n'
        in triptych("show", folder / "run", "1").stdout
    )


def test_show_makes_no_call_log_where_the_shared_one_is_gone(folder, base_url):
    recipe = judged_recipe(folder, base_url)
    triptych("run", recipe, "--out", folder / "run", "--calls", folder / "shared.sqlite", "--quiet")
    call = json.loads(triptych("show", folder / "run", "1", "--json").stdout)["judgements"][0]["call_ids"][0]
    for file in folder.glob("shared.sqlite*"):
        file.unlink()
    refused(triptych("show", folder / "run", call), 3, "shared.sqlite is not there")
    shown = triptych("show", folder / "run", "1").stdout
    assert "  tokens not known, $" in shown
    assert f"the call log {folder / 'shared.sqlite'} is not there" in shown
    assert not list(folder.glob("shared.sqlite*"))


def test_the_summary_says_what_too_few_prompts_can_not_tell(tmp_path):
    with endpoint(fail_body=["Say:400"]) as server:
        recipe = judged_recipe(tmp_path, server.base_url)
        shown = " ".join(triptych("run", recipe, "--out", tmp_path / "run").stdout.split())
    assert "m failed or refused to answer in 100 % of 4" in shown
    assert "from 2 prompts, too few to tell" in shown
    assert "found nothing" not in shown


def test_init_writes_a_recipe_that_plans(tmp_path):
    file = tmp_path / "recipe.yaml"
    assert triptych("init", file).returncode == 0
    assert triptych("plan", file).returncode == 0
    refused(triptych("init", file), 3, "exists", "--force")
    assert triptych("init", file, "--force").returncode == 0


def test_methods_lists_recipes_and_operators():
    listed = json.loads(triptych("methods", "--json").stdout)
    assert "quickstart" in listed["recipes"]
    assert {"sample", "given"} <= set(listed["operators"]["synthesis"])
    assert "rubric" in triptych("methods").stdout


def test_the_plan_says_calls_tokens_and_money(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        textwrap.dedent("""\
        name: priced
        models: {m: {backend: openai, model: m, price: {input: 1, output: 10}}}
        prompts: {kind: inline, prompts: [aaaabbbb, ccccdddd]}
        synthesis: {kind: sample, model: m, n: 3, max_tokens: 100}
        objective: {criteria: {good: {text: It is good.}}}
        evaluation: {kind: rubric, model: m, criteria: [good], read: json, max_tokens: 50}
    """)
    )
    plan = json.loads(triptych("plan", tmp_path / "recipe.yaml", "--json").stdout)
    sampling, judging = plan["stages"]
    assert (sampling["calls"], sampling["prompt_tokens"], sampling["most_completion_tokens"]) == (6, 6 * 2, 6 * 100)
    assert sampling["usd"] == pytest.approx((12 * 1 + 600 * 10) / 1e6)
    assert (judging["calls"], judging["most_calls"], judging["most_completion_tokens"]) == (6, 12, 12 * 50)
    assert (plan["calls"], plan["most_calls"]) == (12, 18)
    assert plan["usd"] == pytest.approx(sampling["usd"] + judging["usd"])
    assert "no instantiation is given" in " ".join(plan["notes"])


def test_the_plan_says_what_would_stop_the_run_at_once(tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    (tmp_path / "recipe.yaml").write_text(
        "name: two\nmodels: {m: {backend: openai, model: m, api_key_env: NO_SUCH_KEY}, "
        "e: {backend: embedded, path: /nowhere.gguf}}\n"
        "prompts: {kind: inline, prompts: [hello]}\nsynthesis: {kind: sample, model: [m, e]}\n"
    )
    done = triptych("plan", tmp_path / "recipe.yaml")
    assert done.returncode == 0
    assert "Not ready to run here: model 'm' takes its key from NO_SUCH_KEY, which is not set" in done.stdout
    assert "Not ready to run here: the weights /nowhere.gguf can't be read" in done.stdout
    assert len(json.loads(triptych("plan", tmp_path / "recipe.yaml", "--json").stdout)["not_ready"]) == 2


def test_a_model_that_has_moved_is_said_and_one_that_has_not_is_not(folder):
    models = """
    models:
      far: {backend: openai, model: m, base_url: "http://127.0.0.1:1/v1"}
      near: {backend: embedded}
      scorer: {backend: classifier, path: scorer}
    """
    (folder / "recipe.yaml").write_text(GIVEN + textwrap.dedent(models))
    for changes, said in (
        ((), []),
        ((), []),
        (("--set", "models.far.base_url=http://127.0.0.1:2/v1"), ["far"]),
    ):
        done = triptych("run", "recipe.yaml", "--out", "run", *changes, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert re.findall(r"model (\w+) has moved", done.stderr) == said


def test_prompts_can_come_from_standard_input(folder):
    changed = GIVEN.replace("prompts.jsonl", "'-'")
    (folder / "recipe.yaml").write_text(changed)
    done = triptych("run", folder / "recipe.yaml", "--out", folder / "run", "--json", stdin=json.dumps(ROW) + "\n")
    assert json.loads(done.stdout)["manifest"]["prompts"] == 1


@pytest.mark.parametrize("arguments", [("--help",), ("methods",), ("schema",), ("run", "recipe.yaml", "--out", "run")])
def test_output_that_nobody_reads_ends_quietly_as_by_sigpipe(folder, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "triptych", *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=folder, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
    if "run" in arguments:
        assert tp.open_run(folder / "run").manifest.status == "finished"


def test_ctrl_c_while_the_command_line_is_imported_ends_it_without_a_traceback(tmp_path):
    """The import of click waits for it here."""
    (tmp_path / "click.py").write_text("print('importing', flush=True)\nimport time\ntime.sleep(20)\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    command, environment = [sys.executable, "-m", "triptych", "plan", "quickstart"], os.environ | {"PYTHONPATH": path}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # whatever these tests were started by
    with subprocess.Popen(command, **pipes, text=True, env=environment, preexec_fn=heard) as process:
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (-signal.SIGINT, "")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_live_progress_cuts_no_number_however_narrow_the_terminal_is(folder, width):
    terminal, its_other_end = pty.openpty()
    fcntl.ioctl(its_other_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    command = [sys.executable, "-m", "triptych", "run", "recipe.yaml", "--out", "run"]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    pipes = {"stdin": its_other_end, "stdout": subprocess.DEVNULL, "stderr": its_other_end}
    with subprocess.Popen(command, **pipes, cwd=folder, env=environment | {"TERM": "xterm"}) as running:
        os.close(its_other_end)
        shown = b""
        with suppress(OSError):  # so a terminal ends
            while more := os.read(terminal, 65536):
                shown += more
    os.close(terminal)
    assert running.returncode == 0
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", shown.decode()).splitlines()
    assert max(map(len, lines)) <= width
    assert not [line for line in lines if "…" in line]
    (headings,) = {tuple(line.split()) for line in lines if line.startswith("stage")}
    assert headings[:3] == ("stage", "prompts", "calls")
    assert ("tokens" in headings) == (width > 40)


def test_progress_that_nobody_reads_does_not_end_a_run(folder, monkeypatch):
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr("triptych.app.progress._PLAIN_EVERY_S", -1)
    monkeypatch.setattr("sys.stderr", Broken())
    with showing_progress(quiet=False) as progress:
        run = tp.run(tp.load_recipe(folder / "recipe.yaml"), folder / "run", folder=folder, progress=progress)
    assert run.manifest.status == "finished"


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_harm_nothing(folder, closed):
    """Without care, the call log would be opened under their numbers, and written into."""
    run = f"{sys.executable} -m triptych run recipe.yaml --out run {closed}"
    assert subprocess.run(["bash", "-c", run], cwd=folder, capture_output=True, check=False).returncode == 0
    assert triptych("show", folder / "run").returncode == 0


def test_bad_rows_are_set_aside_with_their_number(folder):
    lines = (folder / "prompts.jsonl").read_text().splitlines()
    (folder / "prompts.jsonl").write_text("\n".join([lines[0], '{"prompt": "broken', lines[1], '{"prompt": ""}']))
    done = triptych("run", folder / "recipe.yaml", "--out", folder / "run")
    assert done.returncode == 0
    assert "2 rows set aside" in done.stdout
    aside = [json.loads(line) for line in (folder / "run" / "set_aside.jsonl").read_text().splitlines()]
    assert [row["row"] for row in aside] == [2, 4]
    assert aside[0]["content"] == '{"prompt": "broken'


# Bad input: each one clear message and an exit code.


def test_a_misspelt_field(folder):
    (folder / "recipe.yaml").write_text(GIVEN.replace("evaluation:", "evalution:"))
    refused(
        triptych("run", folder / "recipe.yaml", "--out", folder / "run"),
        2,
        "line 4, evalution",
        "did you mean 'evaluation'",
    )
    assert not (folder / "run").exists()


def test_a_recipe_that_is_not_there(folder):
    refused(triptych("run", folder / "absent.yaml", "--out", folder / "run"), 2, "can't be read")
    refused(triptych("plan", "quickstrat"), 2, "did you mean 'quickstart'")


def test_a_setting_that_fits_nowhere(folder):
    refused(triptych("plan", folder / "recipe.yaml", "--set", "synthesis.5.n=2"), 2, "synthesis.5")
    changed = GIVEN.replace(
        "synthesis: {kind: given}", "models: {m: {backend: openai, model: m}}\nsynthesis: {kind: sample, model: m}"
    )
    (folder / "recipe.yaml").write_text(changed)
    plan = json.loads(triptych("plan", folder / "recipe.yaml", "--set", "synthesis.0.n=9", "--json").stdout)
    assert plan["calls"] == 18


def test_an_empty_prompt_file_and_one_that_is_not_there(folder):
    (folder / "prompts.jsonl").write_text("")
    refused(triptych("run", folder / "recipe.yaml", "--out", folder / "run"), 2, "prompts.jsonl")
    (folder / "prompts.jsonl").unlink()
    refused(triptych("plan", folder / "recipe.yaml"), 2, "prompts.jsonl")


def test_a_parquet_without_the_mapped_column(folder):
    import polars as pl

    pl.DataFrame({"question": ["a", "b"]}).write_parquet(folder / "prompts.parquet")
    changed = GIVEN.replace("prompts.jsonl", "prompts.parquet, columns: {prompt: qestion}")
    (folder / "recipe.yaml").write_text(changed)
    refused(triptych("run", folder / "recipe.yaml", "--out", folder / "run"), 2, "qestion", "question")


def test_a_file_where_the_folder_should_be(folder):
    (folder / "taken").write_text("")
    refused(triptych("run", folder / "recipe.yaml", "--out", folder / "taken" / "run"), 3, "can't write to")
    assert triptych("run", folder / "recipe.yaml", "--out", folder / "taken").returncode == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(folder):
    (folder / "locked").mkdir(mode=0o500)
    refused(triptych("run", folder / "recipe.yaml", "--out", folder / "locked" / "run"), 3, "can't write to")


def test_another_recipes_folder(folder):
    triptych("run", folder / "recipe.yaml", "--out", folder / "run")
    (folder / "recipe.yaml").write_text(GIVEN.replace("name: given", "name: another"))
    refused(triptych("run", folder / "recipe.yaml", "--out", folder / "run"), 3, "holds a run of the recipe 'given'")


def test_a_folder_that_is_no_run(folder):
    refused(triptych("show", folder), 3, "is not a run folder")
    refused(triptych("export", folder / "nowhere", "--to", "trl"), 3, "is not a run folder")


def test_a_key_that_is_not_set(folder):
    changed = GIVEN.replace(
        "synthesis: {kind: given}",
        "models: {m: {backend: openai, model: m, api_key_env: NO_SUCH_KEY}}\nsynthesis: {kind: sample, model: m}",
    )
    (folder / "recipe.yaml").write_text(changed)
    refused(
        triptych("run", folder / "recipe.yaml", "--out", folder / "run", "--quiet"), 4, "NO_SUCH_KEY, which is not set"
    )


def test_nothing_to_export(folder):
    (folder / "prompts.jsonl").write_text(json.dumps(ROW | {"responses": ["Hi!", "Yo!"]}) + "\n")
    triptych("run", folder / "recipe.yaml", "--out", folder / "run")
    refused(triptych("export", folder / "run", "--to", "trl"), 1, "no example", "all tied")


def test_a_closed_pipe_is_no_error(folder):
    triptych("run", folder / "recipe.yaml", "--out", folder / "run")
    done = subprocess.run(
        f"{sys.executable} -m triptych show {folder / 'run'} | head -1", shell=True, capture_output=True, text=True
    )
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_finds_no_room_is_one_clear_line(tmp_path):
    with open("/dev/full", "w") as full:
        arguments = [sys.executable, "-m", "triptych", "schema"]
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.strip() == "error: can't write all that there is to say: No space left on device"


def test_an_export_of_a_run_that_completed_no_prompt_says_so(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: none\nmodels: {m: {backend: openai, model: m, base_url: http://127.0.0.1:9/v1, patience_s: 0.2}}\n"
        "prompts: {kind: inline, prompts: [hello]}\nsynthesis: {kind: sample, model: m}\ninstantiation: {kind: pairs}\n"
    )
    assert triptych("run", recipe, "--out", tmp_path / "run", "--quiet").returncode == 4
    assert "no prompt was complete" in triptych("export", tmp_path / "run", "--to", "trl").stderr
