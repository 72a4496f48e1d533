"""Whether the responses to one prompt are alike (S2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from triptych.audit.diagnostic import ANY, Diagnostic, Share
from triptych.audit.estimates import bounded_mean
from triptych.audit.finding import Finding, Histogram
from triptych.audit.mitigations import sampling
from triptych.audit.needs import EMBEDDINGS, LIBRARIES, SEVERAL_RESPONSES, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_HIGHER = "raise the temperature, sample with `verbalized`, or sample from several models, system prompts or principles"
_BINS = 20


class _Alike(Diagnostic):
    """The mean over prompts of a number in [0, 1] on the responses to one."""

    failure_mode = "S2"
    needs: ClassVar[tuple[Need, ...]] = (LIBRARIES, SEVERAL_RESPONSES)
    change = _HIGHER
    said: ClassVar[str]
    axis: ClassVar[str]
    worst_first: ClassVar[bool]
    """Whether the greatest values are the worst."""

    def values(self, data: Data) -> pl.DataFrame:
        """Columns: prompt_id, value."""
        raise NotImplementedError

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it on the sampled prompts."""
        told = self.values(data)
        found = bounded_mean(told, "value")
        if found is None:
            return
        rows = told.sort("value", "prompt_id", descending=[self.worst_first, False])["prompt_id"].head(10)
        yield self.found(found, self.said, rows=rows.to_list(), plot=self._drawn(told), data=data)

    def _drawn(self, told: pl.DataFrame) -> Histogram:
        import numpy as np

        counts, edges = np.histogram(told["value"].to_numpy(), bins=_BINS, range=(0, 1))
        return Histogram(tuple(edges.tolist()), tuple(counts.tolist()), self.axis)


class SiblingCosine(_Alike):
    """The mean cosine of two responses to one prompt, over prompts with two or more.

    Responses are vectors of the hashed words and pairs of words in their first 2,000 characters, by TF-IDF; up to 8
    responses to each of up to 1,500 prompts.
    """

    name = "sibling_cosine"
    good = (0.0, 0.8)
    error = (0.0, 0.95)
    said = "Two responses to one prompt have in the mean a cosine of words of"
    axis = "mean cosine of the responses to a prompt"
    worst_first = True
    mitigations = (sampling.hotter, sampling.verbalized_too)

    def values(self, data: Data) -> pl.DataFrame:
        """The mean cosine of each prompt's responses."""
        import polars as pl

        from triptych.audit.vectors import siblings

        told = siblings(data.word_vectors) if data.embeddings is not None else data.siblings
        return told.select("prompt_id", value=pl.col("cosine").clip(0, 1))


class EmbeddedSiblingCosine(_Alike):
    """The mean cosine of the embeddings of two responses to one prompt, over prompts with two or more.

    Models of embeddings differ in what cosine unlike texts have, so no range is expected.
    """

    name = "sibling_cosine_of_embeddings"
    needs = (LIBRARIES, SEVERAL_RESPONSES, EMBEDDINGS)
    good = ANY
    said = "Two responses to one prompt have in the mean a cosine of embeddings of"
    axis = "mean cosine of the responses to a prompt"
    worst_first = True

    def values(self, data: Data) -> pl.DataFrame:
        """The mean cosine of each prompt's responses."""
        import polars as pl

        return data.siblings.select("prompt_id", value=pl.col("cosine").clip(0, 1))


class VendiShare(_Alike):
    """The Vendi score of a prompt's responses (arXiv:2210.02410) as a share: (score - 1) / (k - 1), in the mean over prompts.

    The score is how many wholly different responses would be as diverse as the k that there are: the exponential of the
    entropy of the eigenvalues of their matrix of cosines over k. 0 if all are the same, 1 if none shares anything with
    another. Vectors are those of `sibling_cosine`, or embeddings where there are some.
    """

    name = "vendi_share"
    good = (0.1, 1.0)
    said = "Of the diversity that as many responses could have, those to one prompt have a share of"
    axis = "(Vendi score - 1) / (responses - 1)"
    worst_first = False
    mitigations = (sampling.hotter, sampling.verbalized_too)

    def values(self, data: Data) -> pl.DataFrame:
        """The share of each prompt's responses."""
        import polars as pl

        return data.siblings.select("prompt_id", value=((pl.col("vendi") - 1) / (pl.col("k") - 1)).clip(0, 1))


class ClusterEntropy(_Alike):
    """The entropy -sum(p log p) of the sizes of clusters of a prompt's responses, over log k, in the mean over prompts.

    Two responses are in one cluster if a chain of cosines of 0.8 or more joins them. 0 if all say the same, 1 if each
    says something else. Vectors are those of `sibling_cosine`, or embeddings where there are some.
    """

    name = "cluster_entropy"
    good = (0.5, 1.0)
    said = "Responses to one prompt fall into clusters with a relative entropy of"
    axis = "entropy of clusters / log k"
    worst_first = False
    mitigations = (sampling.hotter, sampling.verbalized_too)

    def values(self, data: Data) -> pl.DataFrame:
        """The relative entropy of each prompt's responses."""
        import polars as pl

        return data.siblings.select("prompt_id", value=pl.col("clusters").clip(0, 1))


class DistinctBigrams(_Alike):
    """Distinct-2 (arXiv:1510.03055): different pairs of neighbouring words over all such pairs in a prompt's responses.

    In the mean over prompts with two or more responses; up to 8 responses to each of up to 1,500 prompts. It falls with
    the length of what is said, so compare it between runs of one kind.
    """

    name = "distinct_2"
    counts = (
        "responses of two words or more",
        "none is needed where answers are single words",
    )
    good = (0.3, 1.0)
    said = "Of the pairs of words in the responses to one prompt, different ones are a share of"
    axis = "different pairs of words / all"
    worst_first = False
    mitigations = (sampling.hotter, sampling.verbalized_too)

    def values(self, data: Data) -> pl.DataFrame:
        """Distinct-2 of each prompt's responses."""
        import polars as pl

        several = data.ngrams.table.group_by("prompt_id").len().filter(pl.col("len") > 1)
        told = data.ngrams.pairs_of_words.join(several, on="prompt_id", how="semi")
        return told.select("prompt_id", value=pl.col("distinct") / pl.col("said"))


class NearDuplicateSiblings(Share):
    """Share of responses that say nearly the same words as an earlier response to their prompt: a cosine of 0.9 or more.

    Vectors are those of `sibling_cosine`, or embeddings where there are some.
    """

    name = "near_duplicate_siblings"
    failure_mode = "S2"
    needs = (LIBRARIES, SEVERAL_RESPONSES)
    good = (0.0, 0.3)
    error = (0.0, 0.8)
    change = _HIGHER
    mitigations = (sampling.hotter, sampling.verbalized_too)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each prompt: how many responses are copies, of how many that could be."""
        import polars as pl

        return data.siblings.lazy().with_columns(
            part="copies", whole=pl.col("k") - 1, id="prompt_id", shows=pl.col("copies") > 0
        )

    def say(self) -> tuple[str, str]:  # type: ignore[override]
        """About all responses."""
        return "", "Responses that nearly repeat an earlier one to their prompt make up"

