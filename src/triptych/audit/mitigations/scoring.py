"""Mitigations in instantiation, of what becomes of verdicts: who counts, how much, and corrected for what."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from triptych.audit.mitigations.mitigation import Edits, mitigation
from triptych.audit.mitigations.places import panel, scored
from triptych.recipes.judged import OF_JUDGEMENTS, criteria_of

if TYPE_CHECKING:
    from triptych.audit.data import Data

_FEWEST_GOLD = 30
"""As many as a calibration asks for."""


@mitigation
def without_length(data: Data, subject: str) -> Edits:
    """Take what length explains of the verdicts out of them (`length: residual`)."""
    plain = {place: one for place, one in scored(data, length="keep", style="keep").items() if one.kind != "stepwise"}
    return {f"{place}.length": "residual" for place in plain}


@mitigation
def without_style(data: Data, subject: str) -> Edits:
    """Take what length and Markdown explain of the verdicts out of them (`style: residual`)."""
    return {f"{place}.style": "residual" for place, one in scored(data, style="keep").items() if one.kind != "stepwise"}


@mitigation
def calibrated(data: Data, subject: str) -> Edits:
    """Calibrate the evaluators on gold verdicts (`calibrate`)."""
    import polars as pl

    told = data.by_gold.filter((pl.col("status") == "ok") & (pl.col("response_ids").list.len() == 1))
    responses = pl.col("response_ids").list.first().n_unique()
    known = told.group_by("evaluator").agg(responses.alias("n")).filter(pl.col("n") >= _FEWEST_GOLD)
    names = known.sort(["n", "evaluator"], descending=[True, False]).collect()["evaluator"].to_list()
    if not names:
        return {}
    return {f"{place}.calibrate": {"gold": names[0]} for place in scored(data, calibrate=None)}


@mitigation
def lower_bound(data: Data, subject: str) -> Edits:
    """Count the mean of several judges less their standard deviation (`panel: {combine: lower_bound}`)."""
    if not _judged_twice(data):
        return {}
    return {f"{place}.panel": {"combine": "lower_bound"} for place in scored(data, panel=None)}


def _judged_twice(data: Data) -> bool:
    """Whether two evaluators judge on the same criterion, as far as the recipe tells."""
    named = [criteria_of(one) for one in panel(data, "evaluation").values() if one.kind not in OF_JUDGEMENTS]
    return any(first is None or second is None or first & second for first, second in combinations(named, 2))


@mitigation
def everybody(data: Data, subject: str) -> Edits:
    """Have everybody count who judged."""
    return {f"{place}.evaluators": None for place, one in scored(data).items() if one.evaluators is not None}


@mitigation
def without_annotator(data: Data, subject: str) -> Edits:
    """Leave this annotator's verdicts out."""
    import polars as pl

    names = data.judgements.select(pl.col("evaluator").unique().sort()).collect()["evaluator"].to_list()
    if subject not in names or len(names) < 2:
        return {}
    others = [name for name in names if name != subject]
    return {f"{place}.evaluators": others for place in scored(data, evaluators=None)}


@mitigation
def dawid_skene(data: Data, subject: str) -> Edits:
    """Weigh annotators by how each of them errs (`panel: {combine: dawid_skene}`)."""
    people = any(one.kind in ("verdicts", "annotators") for one in panel(data, "evaluation").values())
    return {f"{place}.panel": {"combine": "dawid_skene"} for place in scored(data, panel=None) if people}


@mitigation
def lighter(data: Data, subject: str) -> Edits:
    """Have the criterion that decides alone count half as much."""
    assert data.recipe is not None
    criterion = data.recipe.objective.criteria.get(subject)
    if criterion is None or "." in subject:
        return {}
    return {f"objective.criteria.{subject}.weight": criterion.weight / 2}
