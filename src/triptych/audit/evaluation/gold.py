"""Whether judges agree with gold labels (E4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from triptych.audit.agreement import each_evaluator
from triptych.audit.coefficients import cohen_kappa, krippendorff_alpha
from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.finding import FEWEST_PROMPTS, Finding
from triptych.audit.mitigations import judging
from triptych.audit.needs import GOLD, LIBRARIES

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data
    from triptych.audit.intervals import Estimate

_MOST_SLICES = 20


class GoldAccuracy(Share):
    """Share of a judge's verdicts on pairs that name the response that gold labels call the better one; ties count half.

    Each order asked counts by itself. A share e of wrong verdicts leaves about 1 - 2e of the signal.
    """

    name = "gold_accuracy"
    failure_mode = "E4"
    needs = (GOLD,)
    good = (0.7, 1.0)
    error = (0.5, 1.0)
    by: ClassVar[tuple[str, ...]] = ("evaluator", "evaluator_id")
    change = "take a stronger judge, a clearer rubric, or show it the reference"
    mitigations = (judging.another_judge, judging.critique_first, judging.debated)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each verdict on a pair with a gold label, and whether it is right."""
        import polars as pl

        return data.judged.lazy().with_columns(part="right", whole=1, id="judgement_id", shows=pl.col("right") < 0.5)

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the judge."""
        return evaluator, f"{evaluator} names the response that gold calls better in"


class GoldAccuracyBySlice(GoldAccuracy):
    """The same share within the prompts that have a tag, for up to twenty tags with 20 prompts or more, the commonest first.

    Where the judge is as far from gold on all prompts, `gold_accuracy` alone is a warning.
    """

    name = "gold_accuracy_by_slice"
    told_by = "gold_accuracy"
    counts = (
        "tags that 20 or more judged prompts have",
        "tag prompts with what they are about",
    )
    good = (0.6, 1.0)
    error = (0.35, 1.0)
    by = ("evaluator", "evaluator_id", "tag")
    change = "take a judge that is good on these prompts, or let people judge them"
    mitigations = (judging.another_judge, judging.critique_first, judging.debated)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each verdict, for each tag of its prompt."""
        import polars as pl

        tags = data.prompts.select(prompt_id="id", tag="tags").explode("tag").drop_nulls().unique().collect()
        tags = tags.join(data.judged.select("prompt_id").unique(), on="prompt_id", how="semi")
        size = tags.group_by("tag").agg(pl.len()).filter(pl.col("len") >= FEWEST_PROMPTS)
        kept = size.sort(["len", "tag"], descending=[True, False]).head(_MOST_SLICES)
        return super().rows(data).join(tags.join(kept, on="tag", how="semi").lazy(), on="prompt_id")

    def say(self, evaluator: str, _id: str, tag: str = "") -> tuple[str, str]:  # type: ignore[override]
        """Name the judge and the tag."""
        return f"{evaluator}: {tag}", f"On prompts tagged {tag}, {evaluator} names what gold calls better in"


class _Coefficient(Diagnostic):
    failure_mode = "E4"
    needs = (LIBRARIES, GOLD)
    called: str

    def measure(self, data: Data) -> Iterator[Finding]:
        """Compare each judge's verdicts with gold."""
        for judge, rows in each_evaluator(data.judged):
            found = self.coefficient(rows)
            if found is not None:
                wrong = rows.filter(rows["right"] < 0.5)["judgement_id"].sort()[:10].to_list()
                yield self.found(
                    found, f"{judge} agrees with gold by {self.called}", subject=judge, rows=wrong, data=data
                )

    def coefficient(self, rows: pl.DataFrame) -> Estimate | None:
        """Measure agreement on rows of `Data.judged`."""
        raise NotImplementedError


class GoldKappa(_Coefficient):
    """Cohen's kappa of a judge's verdicts with gold labels: which place the better response has among the two shown.

    Agreement that the judge's own lean to one place would give by chance is taken off. Of responses scored apart the places
    are in the order of their ids. It is a figure, not a warning of its own: where either place is as often the better one
    and neither is favoured, it is twice `gold_accuracy` less 1, so that the 70 % expected there are 0.4 here, where Landis
    and Koch (Biometrics 33, 1977) let moderate agreement begin; a lean to one place is told by `first_slot_rate`.
    """

    name = "gold_kappa"
    called = "Cohen's kappa"

    def coefficient(self, rows: pl.DataFrame) -> Estimate | None:
        """Cohen's kappa."""
        return cohen_kappa(*places(rows), rows["prompt_id"].to_numpy())


class GoldAlpha(_Coefficient):
    """Krippendorff's nominal alpha of a judge's verdicts with gold labels: which place the better response has.

    It is a figure, not a warning of its own, as `gold_kappa` is. Krippendorff (Content Analysis, 2004) draws even tentative
    conclusions from 0.667 on only; that is of coders who make data, and would be 83 % of verdicts right here. What
    people say is held to it, in `annotator_alpha`.
    """

    name = "gold_alpha"
    called = "Krippendorff's alpha"

    def coefficient(self, rows: pl.DataFrame) -> Estimate | None:
        """Krippendorff's alpha."""
        return krippendorff_alpha(counts(rows), rows["prompt_id"].to_numpy())


def places(rows: pl.DataFrame) -> tuple[Any, Any]:
    """What the judge and gold say of the response shown first: 1 better, -1 worse, 0 neither."""
    import polars as pl

    turn = pl.when(pl.col("a_first").fill_null(True)).then(1).otherwise(-1)
    placed = rows.select(said=pl.col("prefers") * turn, true=pl.col("truth") * turn)
    return placed["said"].to_numpy(), placed["true"].to_numpy()


def counts(rows: pl.DataFrame) -> Any:
    """How often judge and gold together say worse, neither and better of the response shown first: shape (rows, 3)."""
    import numpy as np

    said, true = places(rows)
    return np.column_stack([(said == place) + 1.0 * (true == place) for place in (-1, 0, 1)])
