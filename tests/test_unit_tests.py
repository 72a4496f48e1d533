"""The code of an answer is run against tests: what passes, what does not and why, and what hostile code achieves."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from judging import case, judged
from triptych.app.cli import cli
from triptych.errors import RecipeError
from triptych.evaluation.constraints.unit_tests import UnitTests, python_of
from triptych.evaluation.verify import Verify
from triptych.recipes.load import load_recipe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits are those of Linux")
SQUARE = UnitTests(tests=["assert f(2) == 4", "assert f(3) == 9"], seconds=2, memory_mb=256)
RIGHT = "def f(x):\n    return x * x\n"


def said(code: str, constraint: UnitTests = SQUARE) -> tuple[bool, str]:
    found = constraint.run(code, "unsafe")
    return found.passed, found.found


def test_code_that_passes_all_tests_passes():
    assert said(RIGHT) == (True, "2 of 2 tests passed")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def f(x):\n    return 4\n", "1 of 2 tests passed; test 2: AssertionError in line 1 of the test"),
        ("def f(x):\n    return x / 0\n", "test 1: ZeroDivisionError in line 2 of the answer: division by zero"),
        ("def g(x):\n    return x\n", "NameError in line 1 of the test: name 'f' is not defined"),
        ("def f(x) return x", "SyntaxError"),
        ("raise ValueError('no')", "ValueError in line 1 of the answer: no"),
        ("", "no code"),
        ("```json\n{}\n```", "no code"),
        ("\0", "null bytes"),
    ],
)
def test_what_fails_says_why(code, reason):
    passed, found = said(code)
    assert not passed
    assert reason in found


def test_a_loop_without_end_is_ended_in_time():
    start = time.monotonic()
    assert said("def f(x):\n    while True:\n        pass\n") == (False, "took longer than 2 s")
    assert said("import time\ntime.sleep(600)") == (False, "took longer than 2 s")
    assert time.monotonic() - start < 15


HOSTILE = {
    "a fork bomb": ("import os\ndef f(x):\n    while True:\n        os.fork()\n", "BlockingIOError"),
    "a thread": ("import threading\ndef f(x):\n    threading.Thread(target=print).start()\n", "can't start new thread"),
    "another program": ("import subprocess\ndef f(x):\n    subprocess.run(['true'])\n    return x * x\n", "Errno"),
    "a big allocation": ("def f(x):\n    return len(bytearray(2 ** 30))\n", "MemoryError"),
    "a big file": ("def f(x):\n    open('big', 'wb').write(bytes(2 ** 25))\n    return x * x\n", "File too large"),
    "an early end": ("import sys\nsys.exit(0)\n" + RIGHT, "SystemExit"),
    "an early end of the process": ("import os\nos._exit(0)\n", "it ended before the tests"),
    "an end in the tests": ("import os\ndef f(x):\n    os._exit(0)\n", "it ended before the tests"),
    "an exit in the tests": ("import sys\ndef f(x):\n    sys.exit(0)\n", "0 of 2 tests passed; test 1: SystemExit"),
    "the sign of broken tests": ("import os\nos._exit(126)\n", "exited with 126"),
    "an ending handler": ("import atexit, os\natexit.register(os._exit, 0)\ndef f(x):\n    return 1\n", "0 of 2"),
    "tests that are not run": (
        "import builtins, os\nbuiltins.exec = builtins.compile = lambda *_: None\nos.read = lambda *_: b'word'\n"
        "def f(x):\n    return 1\n",
        "0 of 2 tests passed; test 1: AssertionError",
    ),
    "errors that are no errors": ("AssertionError = ZeroDivisionError\ndef f(x):\n    return 1\n", "AssertionError"),
    "printed words": ("print('\\n2 of 2 tests passed')\ndef f(x):\n    return 1\n", "0 of 2 tests passed"),
    "an error that can't be told": (
        "class E(Exception):\n    def __str__(self):\n        raise E\ndef f(x):\n    raise E\n",
        "an exception that can't be told",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_code_does_not_pass(what):
    code, reason = HOSTILE[what]
    passed, found = said(code)
    assert not passed
    assert reason in found


def test_code_that_kills_who_started_it_does_not_reach_the_run():
    passed, found = said("import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(600)\n")
    assert not passed
    assert found in (
        "was ended by signal 9",
        "PermissionError in line 2 of the answer: [Errno 1] Operation not permitted",
    )


def test_nothing_of_the_environment_is_inherited(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    there = UnitTests(
        tests=["import os\nassert 'OPENAI_API_KEY' not in os.environ, 'there'", "assert len(os.environ) < 7"]
    )
    assert said("import os", there) == (True, "2 of 2 tests passed")


def test_standard_input_is_empty_and_what_is_printed_is_thrown_away():
    code = "import sys\ndef f(x):\n    print('x' * 10_000_000)\n    return len(sys.stdin.read()) + x * x\n"
    assert said(code) == (True, "2 of 2 tests passed")


def test_the_folder_is_empty_before_and_gone_after():
    code = "import os\nwas = os.listdir()\nopen('mine', 'w').write('x')\ndef f(x):\n    return os.getcwd()\n"
    found = said(code, UnitTests(tests=["assert was == []", "assert f(0) == '', f(0)"]))[1]
    folder = Path(found.rpartition(" ")[2])
    assert "triptych-code-" in str(folder)
    assert not folder.exists()
    assert not folder.parent.exists()


def test_sets_of_texts_come_in_the_same_order_each_time():
    shown = UnitTests(tests=["assert False, order"])
    assert len({said("order = list(map(str, {'a', 'b', 'c', 'd', 'e', 'f'}))", shown) for _ in range(3)}) == 1


CASES = UnitTests(cases=[{"input": "3\n", "output": "9"}, {"input": "4", "output": "16\n"}], seconds=2, share=True)


@pytest.mark.parametrize(
    ("code", "share", "found"),
    [
        ("print(int(input()) ** 2)", 1.0, "2 of 2 cases passed"),
        ("if __name__ == '__main__':\n    print(int(input()) ** 2, ' ')", 1.0, "2 of 2 cases passed"),
        ("print(9)", 0.5, "1 of 2 cases passed; case 2: wrote '9' in line 1; '16' wanted"),
        ("n = int(input())\nprint(n * n)\nprint()", 1.0, "2 of 2 cases passed"),
        ("print(9)\nprint(16)", 0.0, "0 of 2 cases passed; case 1: wrote 2 lines; 1 wanted"),
        ("import sys\nprint(int(input()) ** 2)\nsys.exit()", 1.0, "2 of 2 cases passed"),
        ("print(int(input()) ** 2)\n1 / 0", 0.0, "case 1: ZeroDivisionError in line 2 of the answer"),
        ("print(int(input()) ** 2)\nraise SystemExit(3)", 0.0, "case 1: exited with 3"),
        ("import os\nos._exit(0)", 0.0, "case 1: wrote 0 lines; 1 wanted"),
        ("while True:\n    print('x' * 1000)", 0.0, "case 1: wrote more than 1,048,576 bytes"),
        ("while True:\n    pass", 0.0, "case 1: took longer than 2 s"),
        ("x = bytearray(2 ** 40)", 0.0, "case 1: needed more than 1,024 MiB of memory"),
    ],
)
def test_a_program_is_held_to_what_it_writes(code, share, found):
    got = CASES.run(code, "unsafe")
    assert (got.share, got.passed) == (share, share == 1)
    assert found in got.found


def test_without_share_it_is_all_or_nothing():
    (all_or_nothing, share) = (SQUARE, SQUARE.model_copy(update={"share": True}))
    one = case("def f(x): return 4", RIGHT)
    for constraint, scores in ((all_or_nothing, [0.0, 1.0]), (share, [0.5, 1.0])):
        got = judged(Verify(constraints=[constraint], run_with="unsafe"), one)
        assert [judgement.scores[0] for judgement in got] == scores


def test_humaneval_and_mbpp_rows_are_tests():
    humaneval = UnitTests(
        setup="from typing import List\n",
        tests=[
            "METADATA = {}\ndef check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n"
        ],
        entry_point="total",
    )
    assert said("def total(of: List[int]):\n    return sum(of)", humaneval)[0]
    assert not said("def total(of: List[int]):\n    return 3", humaneval)[0]


def test_the_last_block_of_python_is_the_code():
    assert python_of("First:\n```python\na = 1\n```\nthen\n```py\nb = 1\n```\nand run\n```sh\nls\n```") == "b = 1"
    assert python_of("```\na = 1\n```\nprints\n```text\n1\n```") == "a = 1"
    assert python_of("```python\na = 1\nb = '```'\n```") == "a = 1\nb = '```'"
    assert python_of("a = 1") == "a = 1"
    assert python_of("cut off:\n```python\na = 1") == "a = 1"
    start = time.monotonic()
    python_of("```x\n" * 50_000 + "```\n" * 50_000)
    assert time.monotonic() - start < 5


def test_indented_code_of_a_list_runs():
    assert said("1. Do\n   ```python\n   def f(x):\n       return x * x\n   ```")[0]


def test_tests_that_are_no_python_fail_and_are_no_verdict():
    broken = UnitTests(tests=["assert f(2) =="])
    (got,) = judged(Verify(constraints=[broken], run_with="unsafe"), case(RIGHT))
    assert (got.status, got.scores) == ("failed", None)
    assert "a test is no Python: SyntaxError" in got.error


@pytest.mark.parametrize("command", [("false",), ("no-such-command",), ("cat",)])
def test_a_command_that_starts_no_python_is_no_verdict(command):
    (got,) = judged(Verify(constraints=[SQUARE], run_with=command), case(RIGHT))
    assert (got.status, got.scores) == ("failed", None)
    assert command[0] in got.error or "starts no Python" in got.error


def test_a_command_is_what_starts_python():
    spaces = ("unshare", "--user", "--map-root-user", "--pid", "--net", "--fork", "--kill-child", sys.executable)
    if shutil.which("unshare") is None or subprocess.run([*spaces[:-1], "true"], capture_output=True).returncode:
        pytest.skip("no name spaces here")
    inside = UnitTests(tests=["import os\nassert os.getppid() == 1", "assert f(3) == 9"], seconds=5)
    assert inside.run(RIGHT, spaces).found == "2 of 2 tests passed"
    assert not inside.run(RIGHT, "unsafe").passed
    assert inside.run("import os\nos.kill(1, 9)\n" + RIGHT, spaces).passed, "the first of a name space can't be killed"


RECIPE = """\
name: code
prompts:
  kind: inline
  prompts: [{{prompt: Write f., {prompt} responses: [x]}}]
synthesis: {{kind: given}}
evaluation: {{kind: verify{verify}}}
"""
TESTS = "constraints: [{kind: unit_tests, tests: [assert 1]}]"


def test_code_is_not_run_before_the_recipe_says_how(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(prompt="", verify=f", {TESTS}"))
    with pytest.raises(
        RecipeError, match=r"line 6, evaluation.run_with: unit_tests runs code that a model wrote. Say in"
    ):
        load_recipe(path)
    path.write_text(RECIPE.format(prompt=f"{TESTS},", verify=""))
    planned = CliRunner().invoke(cli, ["plan", str(path)])
    assert "row 1 can't be worked on: evaluation.0: unit_tests runs code that a model wrote. Say in `run_with`" in (
        " ".join(planned.output.split())
    )
    path.write_text(RECIPE.format(prompt=f"{TESTS},", verify=", run_with: [no-such-command]"))
    assert "no command 'no-such-command'" in CliRunner().invoke(cli, ["plan", str(path)]).output
    path.write_text(RECIPE.format(prompt=f"{TESTS},", verify=", run_with: unsafe"))
    assert "Not ready" not in CliRunner().invoke(cli, ["plan", str(path)]).output


def test_a_prompt_can_not_say_how_its_code_is_run():
    written = {"kind": "unit_tests", "tests": ["assert 1"], "run_with": "unsafe"}
    (got,) = judged(Verify(run_with="unsafe"), case(RIGHT, constraints=(written,)))
    assert got.status == "failed"
    (got,) = judged(Verify(), case(RIGHT, constraints=({"kind": "unit_tests", "tests": ["assert 1"]},)))
    assert (got.status, got.scores) == ("failed", None)


def test_how_code_is_kept_apart_does_not_change_what_a_verdict_means():
    assert Verify(run_with="unsafe").identity() == Verify().identity() == Verify(run_with=["docker"]).identity()


def test_as_many_run_at_a_time_as_there_are_cores():
    waits = UnitTests(tests=["import time\ntime.sleep(1)"])
    verify = Verify(constraints=[waits], run_with="unsafe")
    number = 2 * (os.cpu_count() or 1)

    async def all_of_them():
        return await asyncio.gather(*(verify.judge(case(f"x = {place}"), None) for place in range(number)))

    start = time.monotonic()
    got = asyncio.run(all_of_them())
    took = time.monotonic() - start
    assert [each.scores for (each,) in got] == [(1.0,)] * number
    assert took >= 2
    assert number < 4 or took < number


MODULES = {
    "a dataclass": "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n" + RIGHT,
    "one of the future": "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    "@dataclass\nclass P:\n    x: int\n" + RIGHT,
    "annotations": "def g(a: int): pass\nassert g.__annotations__ == {'a': int}\n" + RIGHT,
    "pickle": "import pickle\nclass A: pass\npickle.loads(pickle.dumps(A()))\n" + RIGHT,
}


@pytest.mark.parametrize("what", MODULES)
def test_the_answer_is_a_module_like_any_other(what):
    assert said(MODULES[what]) == (True, "2 of 2 tests passed")
    printed = UnitTests(cases=[{"output": "4"}])
    assert said(MODULES[what] + "print(f(2))\n", printed) == (True, "1 of 1 cases passed")


def test_code_that_leaves_its_group_and_kills_who_watches_it_neither_stays_nor_holds_the_run_up(tmp_path):
    tmp_path.chmod(0o777)
    told = tmp_path / "pid"
    told.touch()
    told.chmod(0o666)
    leaves = f"import os, time\nopen({str(told)!r}, 'w').write(str(os.getpid()))\nos.setsid()\nos.kill(os.getppid(), 9)\n"
    start = time.monotonic()
    assert not said(leaves + "time.sleep(600)\n")[0]
    assert time.monotonic() - start < 20
    status = Path("/proc", told.read_text() or "0", "status")
    assert not status.exists() or "State:\tZ" in status.read_text()


def test_folders_in_one_another_are_a_verdict_and_go(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tmp_path.chmod(0o777)
    deep = "import os\nfor _ in range(3000):\n    os.mkdir('d')\n    os.chdir('d')\n"
    assert said(deep + RIGHT) == (True, "2 of 2 tests passed")
    assert not list(tmp_path.iterdir())


def test_what_is_of_the_future_stands_above_the_setup():
    future = "from __future__ import annotations\n"
    given = SQUARE.model_copy(update={"setup": "from typing import List\n"})
    assert said(future + "def f(x: List[No]):\n    return x * x\n", given) == (True, "2 of 2 tests passed")
    assert said(future + "def f(x):\n    return x / 0\n", given)[1].endswith("line 6 of the answer: division by zero")
