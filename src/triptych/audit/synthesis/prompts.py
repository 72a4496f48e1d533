"""Prompts: some that are noise (S8); copies, unequal shares of the data, and tests among them (S9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.estimates import smooth
from triptych.audit.finding import Finding, Histogram
from triptych.audit.intervals import Estimate, ratio, student
from triptych.audit.mitigations import pairing
from triptych.audit.needs import GRADED, IMPORTED, LIBRARIES, MARGINS, PAIRS, PROMPTS, RESPONSES, SCORES, TEST_SETS
from triptych.audit.prompts import near_copies, seen_tests

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from triptych.audit.data import Data

LOW, WIDE, SHORT = 0.25, 0.5, 0.5


class NoisyPrompts(Share):
    """Share of prompts that show all three signs of noise that RIP looks at (arXiv:2501.18578), in its hardest pair.

    The signs: the rejected response scores low (0.25 or less), the gap to the chosen one is wide (0.5 or more), and the
    rejected response is short (at most half as long as the median rejected one). RIP keeps prompts by bounds on the same
    three numbers, tuned for each data set; these bounds are ours. Of a prompt's pairs the one with the widest gap counts.
    """

    name = "noisy_prompts"
    failure_mode = "S8"
    needs = (PAIRS, MARGINS, GRADED)
    good = (0.0, 0.05)
    error = (0.0, 0.5)
    change = "keep prompts as RIP does: bounds on the rejected response's score and length, and on the margin"
    repair = "drop_noisy_prompts"
    mitigations = (pairing.good_rejected,)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each prompt, and whether all three signs are there."""
        import polars as pl

        score = data.overall.lazy().select("response_id", "score")
        low, wide = pl.col("score") <= LOW, pl.col("margin") >= WIDE
        short = pl.col("rejected_chars") <= SHORT * pl.col("rejected_chars").median()
        return (
            data.pair_features.lazy()
            .filter(pl.col("margin").is_finite())
            .join(score, left_on="rejected", right_on="response_id")
            .sort("margin", "id", descending=[True, False])
            .unique("prompt_id", keep="first", maintain_order=True)
            .with_columns(part=low & wide & short, whole=1, id="prompt_id", shows=low & wide & short)
        )

    def say(self) -> tuple[str, str]:  # type: ignore[override]
        """About all prompts."""
        return "", "The rejected response scores low and is short, and the gap is wide, for prompts that make up"


class RejectedScore(Diagnostic):
    """The mean score of rejected responses, in [0, 1]: the first number of RIP's three (arXiv:2501.18578). Of a response it is
    the mean over who scored it by itself or in a list, and on what.

    Prompts whose rejected response scores low tend to be unclear or not to be answered at all. What is low depends on
    the judge, so no range is expected; the plot shows how it goes with the gap.
    """

    name = "rejected_score"
    failure_mode = "S8"
    needs = (LIBRARIES, PAIRS, SCORES)
    counts = (
        "scores other than yes or no of rejected responses",
        "score with a rubric or a reward model: a label alone does not say how bad the rejected one is",
    )
    change = "keep prompts by a bound on the rejected response's score"

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it over pairs whose rejected response has a score of its own, which is more than yes or no."""
        import numpy as np
        import polars as pl

        from triptych.audit.estimates import bounded_mean

        own = data.scored.filter(pl.col("score").is_finite())
        if set(own["score"].unique()) <= {0.0, 1.0}:
            return
        told = data.pairs.join(
            own.group_by("response_id").agg(pl.col("score").mean()), left_on="rejected", right_on="response_id"
        )
        found = bounded_mean(told, "score")
        if found is None:
            return
        counts, edges = np.histogram(told["score"].to_numpy(), bins=20, range=(0, 1))
        plot = Histogram(tuple(edges.tolist()), tuple(counts.tolist()), "score of the rejected response")
        yield self.found(found, "Rejected responses score in the mean", plot=plot, data=data)


class NearDuplicatePrompts(Share):
    """Share of prompts that are near copies of an earlier one: the sets of three-word stretches of what the user says, in its
    first 200 words, have a Jaccard similarity of 0.8 or more.

    Candidates come from MinHash with 16 bands of 4 values (Broder, 1997), and each is compared exactly with the first
    prompt in its band. The interval is that of so many prompts drawn one by one.
    """

    name = "near_duplicate_prompts"
    failure_mode = "S9"
    needs = (LIBRARIES, PROMPTS)
    good = (0.0, 0.05)
    error = (0.0, 0.5)
    change = "drop near copies of prompts before sampling"
    repair = "drop_copied_prompts"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each prompt, and whether it is a copy."""
        import polars as pl

        copy = pl.col("copy_of").is_not_null()
        return near_copies(data.prompts).lazy().with_columns(part=copy, whole=1, id="prompt_id", shows=copy)

    def say(self) -> tuple[str, str]:  # type: ignore[override]
        """About all prompts."""
        return "", "Near copies of earlier prompts make up"


class _OfFile(Diagnostic):
    """A share of the rows of imported data. They are in no table, and are counted, not estimated."""

    needs = (IMPORTED,)
    good = (0.0, 0.01)
    error = (0.0, 0.1)
    unit = "share"
    say: ClassVar[str]
    """The sentence's beginning."""

    def number(self, data: Data) -> int:
        """How many they are."""
        raise NotImplementedError

    def measure(self, data: Data) -> Iterator[Finding]:
        """Count them."""
        share = self.number(data) / data.rows_read
        yield self.found(Estimate(share, share, share, data.rows_read, data.rows_read), self.say, data=data, counted=True)


class RepeatedRows(_OfFile):
    """Share of rows of imported data that repeat an earlier one whole: prompt, responses and verdicts. They count once in
    whatever else is said, and in no trainer that reads the file as it is. It is counted, not estimated.
    """

    name = "repeated_rows"
    failure_mode = "S9"
    change = "drop repeated rows; what Triptych exports of imported data has none"
    say = "Rows that repeat an earlier one, and count once here, make up"

    def number(self, data: Data) -> int:
        """Those that an import sets aside as repeated."""
        return data.rows_repeated


class UnusableRows(_OfFile):
    """Share of rows of imported data that can't be used, such as those that lack a response, or whose response is empty.

    Nothing else that is said counts them. A trainer that reads the file as it is may stop at them, or train on nothing. It is
    counted, not estimated.
    """

    name = "unusable_rows"
    failure_mode = "S10"
    change = "mend or drop these rows; `triptych import` writes each with what is wrong with it to set_aside.jsonl"
    say = "Rows that can't be used make up"

    def number(self, data: Data) -> int:
        """Those that an import sets aside for any other reason."""
        return data.rows_unusable


class PromptGini(Diagnostic):
    """The Gini coefficient of the rows per prompt: training examples, or responses where there are none.

    0 if each prompt has as many, towards 1 if a few have nearly all.
    """

    name = "gini_of_rows_per_prompt"
    failure_mode = "S9"
    needs = (LIBRARIES, RESPONSES)
    good = (0.0, 0.5)
    error = (0.0, 0.9)
    change = "cap how many examples a prompt gives"
    repair = "cap_per_prompt"
    mitigations = (pairing.capped,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it over all prompts that have a row."""
        import numpy as np

        counted = _rows_per_prompt(data)
        counts = np.sort(counted["rows"].to_numpy().astype(float))
        found = gini(counts)
        if found is None:
            return
        most = counted.sort(["rows", "prompt_id"], descending=[True, False])["prompt_id"].head(10).to_list()
        edges = np.unique(np.round(np.geomspace(1, counts.max() + 1, 16)))
        drawn, at = np.histogram(counts, bins=edges if len(edges) > 1 else np.array([1.0, 2.0]))
        plot = Histogram(tuple(at.tolist()), tuple(drawn.tolist()), "rows of a prompt")
        said, only_counted = "Rows per prompt have a Gini coefficient of", found.low == found.high
        yield self.found(found, said, rows=most, plot=plot, data=data, counted=only_counted)


class EffectivePrompts(Diagnostic):
    """The effective number of prompts over their number: (sum n_i)^2 / (N sum n_i^2) for n_i rows of prompt i.

    Rows are training examples, or responses where there are none. 1 if each prompt has as many.
    """

    name = "effective_prompts_share"
    told_by = "gini_of_rows_per_prompt"
    failure_mode = "S9"
    needs = (LIBRARIES, RESPONSES)
    good = (0.5, 1.0)
    error = (0.1, 1.0)
    unit = "share"
    change = "cap how many examples a prompt gives, or weigh them by one over their number"
    repair = "cap_per_prompt"
    mitigations = (pairing.capped,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it over all prompts that have a row."""
        import numpy as np

        rows = _rows_per_prompt(data)["rows"].to_numpy().astype(float)
        found = smooth(
            np.stack([rows, rows**2, np.ones(len(rows))], axis=-1),
            lambda s: s[..., 0] ** 2 / (s[..., 2] * s[..., 1]),
            n=len(rows),
            within=(0.0, 1.0),
        )
        if found is not None:
            yield self.found(found, "By their rows, the prompts count as many as", data=data)


class TestsSeen(Diagnostic):
    """Share of a test set's texts that a prompt of the data holds: shared stretches of 8 words cover more than half of it.

    The prompt that covers the most counts, as in the tool of Tulu 3 (arXiv:2411.15124); words are told apart by spaces and
    signs, without case. Tests of fewer than 8 words are left out. Only what users say is looked at.
    """

    name = "tests_seen"
    failure_mode = "S9"
    needs = (LIBRARIES, PROMPTS, TEST_SETS)
    good = (0.0, 0.0)
    error = (0.0, 0.02)
    unit = "share"
    change = "drop the prompts that hold these tests"
    repair = "drop_test_prompts"

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each test set."""
        for name, tests in sorted(data.test_sets.items()):
            seen = seen_tests(data.prompts, tests)
            hits = seen["prompt_id"].count()
            if not seen.height:
                continue
            n = seen.height
            found = ratio(n, hits, n, hits, hits, n)
            held = sorted(set(seen["prompt_id"].drop_nulls().to_list()))[:10]
            yield self.found(found, f"Prompts hold texts of the tests {name}:", subject=name, rows=held, data=data)


def _rows_per_prompt(data: Data) -> pl.DataFrame:
    """Columns: prompt_id, rows."""
    import polars as pl

    rows = pl.len().alias("rows")
    counted = data.examples.group_by("prompt_id").agg(rows).collect()
    if not counted.height:
        counted = data.responses.group_by("prompt_id").agg(rows).collect()
    return counted.drop_nulls("prompt_id").sort("prompt_id")


def gini(counts: np.ndarray) -> Estimate | None:
    """The Gini coefficient of sorted counts, with the jackknife's interval on the logit; None without any.

    Where all others have as many rows and one prompt alone has more, the jackknife has nothing to say, and the interval no width.
    """
    import numpy as np

    n = len(counts)
    if n == 0 or counts.sum() <= 0:
        return None
    rank = np.arange(1, n + 1)
    weighted, total = float((rank * counts).sum()), float(counts.sum())
    value = min(max(2 * weighted / (n * total) - (n + 1) / n, 0.0), 1.0)
    if n < 3 or value <= 0:
        return Estimate(value, 0.0, 1.0 if n < 3 else min(1.0, 3 / n), n, n)
    # Leaving one out, all ranks above it fall by one.
    above = total - np.cumsum(counts)
    left = total - counts
    with np.errstate(all="ignore"):
        values = 2 * (weighted - rank * counts - above) / ((n - 1) * left) - n / (n - 1)
        logits = _logit(values)
    if not np.isfinite(logits).all():
        return Estimate(value, value, value, n, n)
    error = float(np.sqrt((n - 1) / n * ((logits - logits.mean()) ** 2).sum()))
    middle, reach = float(_logit(value)), student(n - 1) * error
    return Estimate(value, float(1 / (1 + np.exp(reach - middle))), float(1 / (1 + np.exp(-reach - middle))), n, n)


def _logit(share: Any) -> Any:
    import numpy as np

    return np.log(share) - np.log1p(-share)
