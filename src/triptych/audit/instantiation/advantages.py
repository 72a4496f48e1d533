"""Advantages of groups that heed length, or how hard the prompt is, more than they should (I9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import bounded_mean, cluster_sums, smooth
from triptych.audit.finding import Curve, Finding
from triptych.audit.instantiation.strategies import each_strategy
from triptych.audit.mitigations import pairing, scoring
from triptych.audit.needs import LIBRARIES, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_BINS = 10


def _any_group(data: Data) -> bool:
    import polars as pl

    return not data.examples.filter(pl.col("kind") == "group").head(1).collect().is_empty()


GROUPS = Need("groups with advantages", "instantiate groups", _any_group)


def members(data: Data) -> pl.DataFrame:
    """Each response of each group. Columns: id (of the group), prompt_id, strategy, strategy_id, response_id, score, advantage."""
    import polars as pl

    sizes = [pl.col(name).list.len() for name in ("response_ids", "scores", "labels")]
    return (
        data.examples.filter((pl.col("kind") == "group") & (sizes[0] == sizes[1]) & (sizes[0] == sizes[2]))
        .select(
            "id", "prompt_id", "strategy", "strategy_id", response_id="response_ids", score="scores", advantage="labels"
        )
        .explode("response_id", "score", "advantage")
        .filter(pl.col("score").is_finite() & pl.col("advantage").is_finite())
        .collect()
    )


class AdvantageFollowsLength(Diagnostic):
    """Spearman's rank correlation of advantage with length among the responses of a group, in the mean over groups.

    So no group counts for more than another, however far apart its advantages or lengths are (a rank correlation with a
    blocking variable: Taylor, Biometrics 43, 1987); groups all of whose advantages or lengths are alike are left out. Where
    it is not 0 the policy is taught length. A loss that divides by each response's own length (as GRPO's does) also favours
    long bad and short good responses, whatever this is (arXiv:2503.20783).
    """

    name = "advantage_follows_length"
    failure_mode = "I9"
    needs = (LIBRARIES, GROUPS)
    good = (-0.3, 0.3)
    error = (-0.7, 0.7)
    change = "take length out of the scores, or train with a loss that does not divide by each response's length"
    mitigations = (scoring.without_length,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each strategy."""
        import polars as pl

        lengths = data.features.select("response_id", "chars")
        for strategy, rows in each_strategy(members(data).join(lengths, on="response_id")):
            each = within_groups(rows)
            found = bounded_mean(each, "rho", (-1.0, 1.0))
            if found is not None:
                said = f"Advantages in {strategy} groups follow the length of responses with a mean rank correlation of"
                sign = 1 if found.value >= 0 else -1
                shown = each.sort(sign * pl.col("rho"), "id", descending=[True, False])["id"].head(10)
                yield self.found(found, said, subject=strategy, data=data, rows=tuple(shown.sort()))


def within_groups(rows: pl.DataFrame) -> pl.DataFrame:
    """Spearman's correlation of advantage and chars within each group that has one. Columns: id, prompt_id, rho."""
    import polars as pl

    ranked = rows.with_columns(pl.col("advantage", "chars").rank("average").over("id"))
    each = ranked.group_by("id", "prompt_id").agg(rho=pl.corr("advantage", "chars"))
    return each.filter(pl.col("rho").is_finite()).with_columns(pl.col("rho").clip(-1, 1)).sort("id")


class AdvantageMovedByNormaliser(Diagnostic):
    """Share of the advantages' total size that the group normaliser moves from some prompts to others: half the sum over groups of
    |a / A - s / S|, where a is the root mean square of a group's advantages, s that of its scores less their mean, and A and S
    are their sums.

    0 where scores are only centred (Dr. GRPO, arXiv:2503.20783, or RLOO). Dividing by the standard deviation makes groups whose
    scores hardly differ count as much as those that differ widely, so that very easy and very hard prompts, and noise, count for
    more. Groups of equal scores are left out.
    """

    name = "advantage_moved_by_normaliser"
    failure_mode = "I9"
    needs = (LIBRARIES, GROUPS)
    good = (0.0, 0.2)
    error = (0.0, 0.6)
    unit = "share"
    change = "leave the division by the standard deviation out: advantage: mean, or leave_one_out"
    mitigations = (pairing.centred,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each strategy."""
        import polars as pl

        sizes = (
            members(data)
            .group_by("id", "prompt_id", "strategy", "strategy_id")
            .agg(
                a=(pl.col("advantage") ** 2).mean().sqrt(),
                s=pl.col("score").std(ddof=0),
                passed=pl.col("score").mean(),
            )
        )
        for strategy, groups in each_strategy(sizes.filter(pl.col("s") > 1e-9)):
            sign = (pl.col("a") / pl.col("a").sum() - pl.col("s") / pl.col("s").sum()).round(12).sign()
            rows = groups.with_columns(
                ta=sign * pl.col("a"), ts=sign * pl.col("s"), moved=sign * pl.col("a") / pl.col("s")
            )
            # Where the two shares are alike the sign does not matter, so to first order it may be held fixed.
            found = smooth(cluster_sums(rows, ["ta", "ts", "a", "s"]), _moved, n=rows.height, within=(0.0, 1.0))
            if found is not None:
                said = f"The normaliser of {strategy} groups moves from some prompts to others"
                shown = tuple(rows.top_k(10, by="moved").sort("id")["id"])
                yield self.found(found, said, subject=strategy, data=data, rows=shown, plot=_by_score(groups))


def _moved(s: Any) -> Any:
    ta, ts, a, total = (s[..., i] for i in range(4))
    return (ta / a - ts / total) / 2


def _by_score(groups: pl.DataFrame) -> Curve:
    """The size of advantages by the group's mean score."""
    import polars as pl

    tenth = (pl.col("passed").clip(0, 1) * _BINS).floor().clip(0, _BINS - 1)
    rows = groups.group_by(tenth.alias("tenth")).agg(pl.col("passed").mean(), pl.col("a").mean()).sort("tenth")
    return Curve(
        tuple(rows["passed"]), tuple(rows["a"]), "mean score of the group", "size of its advantages (root mean square)"
    )
