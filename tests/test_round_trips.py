"""What is exported to a trainer and imported again is the same: of every format that is both written and read."""

from __future__ import annotations

import polars as pl
import pytest

import triptych as tp


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    content = {
        "name": "made",
        "prompts": {
            "kind": "inline",
            "prompts": [
                {
                    "prompt": f"Write {i} \u201cwords\u201d.\nNo more.",
                    "responses": [" ".join(["w\u00f6rd"] * n) for n in range(1, 5)],
                    "constraints": [{"kind": "words", "max": n} for n in range(1, i + 2)],
                }
                for i in range(1, 4)
            ],
        },
        "synthesis": {"kind": "given"},
        "evaluation": {"kind": "verify"},
        "instantiation": [{"kind": "pairs", "choose": "all_pairs"}, {"kind": "unpaired", "good": 0.7}, {"kind": "sft", "keep": 2}],
    }  # fmt: skip
    return tp.run(tp.Recipe.model_validate(content), tmp_path_factory.mktemp("made") / "run")


def texts(run, kind):
    """What each example of a kind is: the prompt's messages, those of its responses, and its labels."""
    prompts = dict(run.prompts().select("id", "messages").collect().iter_rows())
    responses = dict(run.responses().select("id", "messages").collect().iter_rows())
    rows = run.examples().filter(pl.col("kind") == kind).collect().iter_rows(named=True)

    def said(messages):
        return tuple((message["role"], message["content"]) for message in messages)

    return sorted(
        (said(prompts[row["prompt_id"]]), tuple(said(responses[one]) for one in row["response_ids"]), tuple(row["labels"]))
        for row in rows
    )


CARRIED = [
    *((target, "pair") for target in ("trl", "openrlhf", "llama-factory", "axolotl", "axolotl-orpo", "nemo-rl")),
    *((target, "unpaired") for target in ("trl", "openrlhf", "llama-factory", "axolotl")),
    *((target, "sft") for target in ("trl", "openrlhf", "llama-factory", "axolotl", "nemo-rl", "verl")),
]


@pytest.mark.parametrize(("target", "kind"), CARRIED, ids=[" ".join(each) for each in CARRIED])
def test_what_was_exported_is_read_back_as_it_was(run, tmp_path, target, kind):
    made = tp.export_run(run, target, tmp_path / "out", kinds=[kind])
    file = next(path for path in made.files if path.name.startswith("train."))
    back = tp.import_data(file, out=tmp_path / "back")
    assert texts(back, kind) == texts(run, kind) != []
    assert not (back.path / "set_aside.jsonl").read_text()
