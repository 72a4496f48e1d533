"""Prompts of another run, chosen by what was said there of the responses to them."""

import json
import math
from statistics import fmean

import polars as pl
import pytest
from pydantic import ValidationError

import triptych as tp
from triptych.errors import PromptError
from triptych.prompts.run import RunPrompts
from world import World, quality, world


class Wordy(World):
    """Its responses are of different lengths."""

    def _say(self, body, text):
        kind, message = super()._say(body, text)
        if kind == "sample":
            said = message["message"]["content"]
            message["message"]["content"] = said + " And on." * (sum(map(ord, said)) % 4)
        return kind, message


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Sixty-four prompts with three responses each, scored by two criteria of which one counts three times."""
    out = tmp_path_factory.mktemp("runs") / "judged"
    with world(Wordy()) as (_, base_url):
        model = {"backend": "openai", "model": "m", "base_url": base_url}
        recipe = tp.Recipe.model_validate(
            {
                "name": "judged",
                "models": {"m": model},
                "prompts": {"kind": "examples", "name": "everyday"},
                "synthesis": {"kind": "sample", "model": "m", "n": 3},
                "objective": {"criteria": {"good": {"text": "It is good.", "weight": 3}, "well": {"text": "Well."}}},
                "evaluation": [
                    {"kind": "rubric", "model": "m", "criteria": ["good", "well"], "scale": [0, 10]},
                    {
                        "kind": "verify",
                        "constraints": [{"kind": "words", "max": 8}],
                        "criterion": "short",
                        "use_prompt": False,
                    },
                ],
            }
        )
        tp.run(recipe, out)
    return out


def known(out):
    """The scores and lengths of the responses to each prompt, in the order of the prompts, worked out by hand."""
    run = tp.open_run(out)
    found = {each: [] for each in run.prompts().collect()["id"]}
    for row in run.responses().collect().iter_rows(named=True):
        text = row["messages"][-1]["content"]
        score = (3 * quality(text) / 10 + quality(text) / 10 + (len(text.split()) <= 8)) / 5
        found[row["prompt_id"]].append((round(score, 12), len(text)))
    return found


def ids(source, out):
    rows = list(source.rows(out.parent))
    assert len(rows) == source.count(out.parent)
    return [row.prompt.id for row in rows]


def test_all_prompts_of_a_run_are_taken_over_as_they_are(judged):
    source = RunPrompts(path="judged")
    rows = list(source.rows(judged.parent))
    before = list(tp.load_recipe("divpo").prompts.rows(judged.parent))
    assert [row.prompt for row in rows] == [row.prompt for row in before]
    assert [row.row for row in rows] == [*range(1, 65)]


STATISTICS = {
    "gap": lambda said: max(said)[0] - min(said)[0],
    "advantage": lambda said: max(said)[0] - fmean(score for score, _ in said),
    "best": lambda said: max(said)[0],
    "worst": lambda said: min(said)[0],
    "mean": lambda said: fmean(score for score, _ in said),
    "pass_rate": lambda said: fmean(score >= 0.6 for score, _ in said),
    "worst_length": lambda said: next(length for score, length in said if score == min(said)[0]),
}


@pytest.mark.parametrize("of", STATISTICS)
def test_a_band_holds_a_statistic_of_the_responses(judged, of):
    value = {each: round(float(STATISTICS[of](said)), 10) for each, said in known(judged).items()}
    middle = sorted(value.values())[31]
    for bounds, fits in (
        ({"min": middle}, lambda one: one >= middle),
        ({"max": middle}, lambda one: one <= middle),
        ({"min_quantile": 1.0}, lambda one: one == max(value.values())),
        ({"max_quantile": 0.0}, lambda one: one == min(value.values())),
    ):
        source = RunPrompts(path="judged", keep=[{"of": of, **bounds}], passing=0.6)
        assert ids(source, judged) == [each for each, one in value.items() if fits(one)]


def test_quantiles_are_over_all_prompts_whatever_other_bands_leave(judged):
    """As in R.I.P.: each of the three by the median of all prompts."""
    said = known(judged)
    bands = [{"of": "worst", "min_quantile": 0.5}, {"of": "worst_length", "min_quantile": 0.5}, {"of": "gap", "max_quantile": 0.5}]  # fmt: skip
    kept = [{*ids(RunPrompts(path="judged", keep=[band]), judged)} for band in bands]
    assert ids(RunPrompts(path="judged", keep=bands), judged) == [each for each in said if all(each in some for some in kept)]  # fmt: skip


def test_the_share_with_the_greatest_statistic_is_taken_in_the_order_of_the_run(judged):
    gaps = {each: round(STATISTICS["gap"](said), 10) for each, said in known(judged).items()}
    for share in (0.25, 0.3, 1.0):
        taken = ids(RunPrompts(path="judged", by="gap", share=share), judged)
        assert len(taken) == math.ceil(share * 64)
        assert taken == [each for each in gaps if each in {*taken}]
        assert min(gaps[each] for each in taken) >= max((gaps[each] for each in gaps if each not in taken), default=0)


def test_drawn_prompts_come_up_in_proportion_to_the_statistic(judged):
    """Drawn one at a time, each as often as its share of all gaps; one without a gap never before one with."""
    gaps = {each: round(STATISTICS["gap"](said), 10) for each, said in known(judged).items()}
    times = dict.fromkeys(gaps, 0)
    for seed in range(200):
        (taken,) = ids(RunPrompts(path="judged", by="gap", share=1 / 64, drawn=True, seed=seed), judged)
        times[taken] += 1
    whole = sum(gaps.values())
    assert sum(times[each] for each in gaps if gaps[each] == 0) == 0
    off = sum((times[each] - 200 * gap / whole) ** 2 / (200 * gap / whole) for each, gap in gaps.items() if gap)
    degrees = sum(gap > 0 for gap in gaps.values()) - 1
    assert off < degrees + 4 * math.sqrt(2 * degrees), "chi squared, four standard deviations"


def test_criteria_and_evaluators_may_be_named(judged):
    short = {each: [len(row) for row in texts] for each, texts in texts_of(judged).items()}
    taken = ids(RunPrompts(path="judged", keep=[{"of": "best", "min": 1}], evaluators=["verify"]), judged)
    assert taken == [each for each, lengths in short.items() if min(lengths) <= 8]
    assert 0 < len(taken) < 64
    by_criterion = RunPrompts(path="judged", keep=[{"of": "best", "min": 1}], criteria=["short"])
    assert ids(by_criterion, judged) == taken


def texts_of(out):
    found = {each: [] for each in tp.open_run(out).prompts().collect()["id"]}
    for row in tp.open_run(out).responses().collect().iter_rows(named=True):
        found[row["prompt_id"]].append(row["messages"][-1]["content"].split())
    return found


def test_a_recipe_runs_on_the_prompts_of_another_run(tmp_path, judged):
    recipe = tp.Recipe(
        name="next", prompts=RunPrompts(path=str(judged), by="gap", share=0.125), synthesis=[{"kind": "given"}]
    )
    assert tp.plan(recipe).prompts == 8
    run = tp.run(recipe, tmp_path / "run")
    assert run.manifest.prompts == 8
    assert run.prompts().collect()["constraints"].ne("[]").all()


def test_prompts_without_a_score_are_left_out_where_scores_count(tmp_path, judged):
    unjudged = tp.Recipe(name="x", prompts=RunPrompts(path=str(judged)), synthesis=[{"kind": "given"}])
    tp.run(unjudged, tmp_path / "run")
    assert ids(RunPrompts(path="run", keep=[{"of": "best", "min": 0}]), tmp_path / "run") == []
    assert len(ids(RunPrompts(path="run"), tmp_path / "run")) == 64


def test_a_run_of_before_prompts_had_calls_is_read(tmp_path, judged):
    (tmp_path / "old").mkdir()
    for file in judged.iterdir():
        if file.suffix in (".json", ".yaml", ".parquet"):
            (tmp_path / "old" / file.name).write_bytes(file.read_bytes())
    pl.read_parquet(judged / "prompts.parquet").drop("call_ids").write_parquet(tmp_path / "old/prompts.parquet")
    assert ids(RunPrompts(path="old"), tmp_path / "old") == ids(RunPrompts(path="judged"), judged)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"share": 0.5}, "need by"),
        ({"drawn": True}, "need by"),
        ({"keep": [{"of": "gap"}]}, "has no bound"),
        ({"keep": [{"of": "gap", "min": 0.5, "max": 0.1}]}, "no prompt fits"),
        ({"by": "luck"}, "luck"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, said):
    with pytest.raises(ValidationError, match=said):
        RunPrompts(path="x", **settings)


def test_a_folder_that_holds_no_run_says_so(tmp_path, judged):
    with pytest.raises(PromptError, match="is not a run folder"):
        RunPrompts(path="nowhere").count(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/run.json").write_text(json.dumps(json.loads((judged / "run.json").read_text())))
    with pytest.raises(PromptError, match="no table of prompts yet"):
        list(RunPrompts(path="empty").rows(tmp_path))
