"""A package beside Triptych that is found by its entry points: the one of the docs, and ones that are broken."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import triptych as tp
from test_docs import BLOCK, ROOT, install
from world import world

PAGE = (ROOT / "docs" / "extending.md").read_text()


@pytest.fixture
def package(tmp_path):
    """The package of the docs, as it lies in an environment where it is installed."""
    for block in BLOCK.finditer(PAGE):
        file = block["head"].partition(" ")[2]
        if file.startswith("brevity/"):
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block["body"])
    install(tmp_path / "brevity" / "pyproject.toml")
    return tmp_path / "brevity"


def triptych(package: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT / 'src'}"}
    command = [sys.executable, "-m", "triptych", *words]
    return subprocess.run(command, env=environment, cwd=package, capture_output=True, text=True)


def test_a_method_of_another_package_runs_by_its_name_with_that_packages_operators(package, tmp_path):
    with world() as (asked, base_url):
        policy = f"models.policy={{backend: openai, model: policy, base_url: '{base_url}'}}"
        changed = ("--set", policy, "--set", "evaluation.words=3", "--limit", "6")
        ran = triptych(package, "run", "brief", "--out", str(tmp_path / "run"), "--quiet", *changed)
        assert ran.returncode == 0, ran.stderr
        assert asked.asked["policy", "sample"] == 12
    run = tp.open_run(tmp_path / "run")
    responses = run.responses().collect()
    texts = {row["id"]: row["messages"][0]["content"] for row in responses.iter_rows(named=True)}
    cut = responses.filter(generator="first_sentence")
    assert cut.height == 12
    for row in cut.iter_rows(named=True):
        assert texts[row["parent_id"]].startswith(texts[row["id"]])
        assert re.fullmatch(r"Quality \d\.", texts[row["id"]])
    for row in run.judgements().collect().iter_rows(named=True):
        (name,) = row["response_ids"]
        assert row["scores"] == [min(1.0, 3 / len(texts[name].split()))]
    examples = run.examples().collect()["response_ids"].to_list()
    assert len(examples) == 6
    assert all(chosen in {*cut["id"]} and rejected not in {*cut["id"]} for chosen, rejected in examples)


def test_its_method_is_listed_shown_and_given(package):
    assert re.search(r"^  brief +2026 ", triptych(package, "methods").stdout, re.MULTILINE)
    assert "first_sentence" in triptych(package, "methods", "show", "Brief").stdout
    used = triptych(package, "methods", "use", "brief").stdout
    assert used == (package / "triptych_brevity" / "brief.yaml").read_text()


def test_a_name_that_is_taken_and_a_broken_recipe_are_left_out_and_told(package):
    folder = package / "triptych_brevity"
    (folder / "dpo.yaml").write_text((folder / "brief.yaml").read_text())
    (folder / "broken.yaml").write_text("name: broken\nsynthesis: {kind: nothing}\n")
    listed = triptych(package, "methods")
    assert listed.returncode == 0
    assert "  brief " in listed.stdout
    assert "  broken " not in listed.stdout
    assert "the recipe 'dpo' of triptych_brevity is left out: there is another of that name" in listed.stderr
    assert "the recipe 'broken' of an installed package is left out" in listed.stderr
    assert "Direct Preference Optimization" in triptych(package, "methods", "show", "dpo").stdout
    planned = triptych(package, "plan", "broken")
    assert planned.returncode == 2
    assert "kind 'nothing' is not known" in planned.stderr


def test_a_package_that_can_not_be_imported_breaks_nothing(package):
    (package / "triptych_brevity" / "__init__.py").write_text("import no_such_module\n")
    listed = triptych(package, "methods")
    assert listed.returncode == 0
    assert (
        "the recipes 'brevity' of an installed package can't be read: No module named 'no_such_module'" in listed.stderr
    )
    assert "  dpo " in listed.stdout


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("Brevity = 5", "has no attribute 'model_fields'"),
        ("class Brevity: pass", "has no attribute 'model_fields'"),
        ("from triptych.operators import Operator\nclass Brevity(Operator): pass", "'kind'"),
        ("from triptych.evaluation.verify import Verify as Brevity", "its kind 'verify' is taken"),
        ("import sys\nsys.exit(3)", "3"),
    ],
)
def test_what_is_no_operator_or_has_a_taken_kind_breaks_no_other_recipe(package, written, why):
    (package / "triptych_brevity" / "brevity.py").write_text(written + "\n")
    planned = triptych(package, "plan", "dpo")
    assert planned.returncode == 0, planned.stderr
    assert "the evaluation operator 'brevity' of an installed package can't be loaded: " in planned.stderr
    assert why in planned.stderr
