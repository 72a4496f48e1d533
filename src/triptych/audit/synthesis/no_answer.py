"""Responses that never came, broke off, go round in circles, or hold what is no answer (S10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from triptych.audit.diagnostic import ANY, Diagnostic, Share
from triptych.audit.estimates import difference
from triptych.audit.finding import Bars, Finding
from triptych.audit.mitigations import sampling
from triptych.audit.needs import LIBRARIES, PAIRS, PROMPTS, RESPONSES, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_LEAST_WORDS, _LEAST_UNSPACED = 8, 20


class ResponsesWithoutAnswer(Share):
    """Share of a model's responses that failed or were refused."""

    name = "responses_without_answer"
    failure_mode = "S10"
    good = (0.0, 0.05)
    error = (0.0, 0.5)
    by = ("model",)
    change = "read the errors of these rows; raise timeout_s or max_retries, or take another model"
    mitigations = (sampling.patient,)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each response, and whether it lacks an answer."""
        import polars as pl

        lost = pl.col("status") != "ok"
        return data.responses.with_columns(part=lost, whole=1, shows=lost)

    def say(self, model: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the model."""
        return model, f"{model} failed or refused to answer in"


class _Defect(Share):
    """A share of a source's responses that have a defect. A source is the model, or what the response says of itself."""

    failure_mode = "S10"
    needs: ClassVar[tuple[Need, ...]] = (RESPONSES,)
    by = ("source",)
    repair = "drop_defective"
    did: ClassVar[str]

    def defect(self) -> pl.Expr:
        """Which responses have it; null where that can't be told."""
        raise NotImplementedError

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each response, and whether it has the defect."""
        import polars as pl

        return (
            data.features.lazy()
            .with_columns(part=self.defect(), whole=1, id="response_id", source=pl.col("model").fill_null(""))
            .filter(pl.col("part").is_not_null())
            .with_columns(shows="part")
        )

    def say(self, source: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the source."""
        return source, f"{source or 'The source'} {self.did}"


class CutOff(_Defect):
    """Share of a model's responses that ended because no more tokens were allowed (finish reason `length`).

    Only responses count whose endpoint says why they ended.
    """

    name = "cut_off_responses"
    counts = (
        "reasons why responses ended",
        "sample from an endpoint: what is imported does not say why a response ended",
    )
    good = (0.0, 0.05)
    error = (0.0, 0.5)
    did = "was cut off by its limit of tokens in"
    change = "raise max_tokens, or ask for shorter answers"
    mitigations = (sampling.longer,)

    def defect(self) -> pl.Expr:
        """Whether the limit ended it."""
        import polars as pl

        return pl.col("finish_reason") == "length"


class Looping(_Defect):
    """Share of a source's responses of 400 characters and more whose end (8,000 characters) DEFLATE makes six times shorter.

    Prose comes to about two, tables to five; what says the same over and over to ten and more.
    """

    name = "looping_responses"
    counts = (
        "responses of 400 characters or more",
        "none is needed where answers are short",
    )
    good = (0.0, 0.01)
    error = (0.0, 0.2)
    did = "goes round in circles in"
    change = "lower the temperature or set a repetition penalty in extra_body, and stop at the end of a turn"
    mitigations = (sampling.less_repetitive,)

    def defect(self) -> pl.Expr:
        """Whether it packs better than any prose or table."""
        import polars as pl

        return pl.col("packs") >= 6


class TemplateLeaks(_Defect):
    """Share of a source's responses that hold marks of a chat template, such as `<|im_end|>`, `<end_of_utterance>`, `[INST]` or
    `### Human:`."""

    name = "template_leaks"
    good = (0.0, 0.005)
    error = (0.0, 0.1)
    did = "leaks marks of a chat template in"
    change = "declare the right chat template, and stop at its marks"
    mitigations = (sampling.stopped_at_marks,)

    def defect(self) -> pl.Expr:
        """Whether there is such a mark."""
        import polars as pl

        return pl.col("leaks_template")


class EmptyAnswers(_Defect):
    """Share of a source's responses, among those that came, that say nothing but white space."""

    name = "empty_answers"
    good = (0.0, 0.005)
    error = (0.0, 0.1)
    did = "says nothing in"
    change = "look at the chat template and the stop marks, and drop these rows"

    def defect(self) -> pl.Expr:
        """Whether there is no word."""
        import polars as pl

        return pl.col("words") == 0


class Refusals(_Defect):
    """Share of a source's responses that begin as refusals do, in English: `I'm sorry`, `I can't`, `I'm unable to`, `As an AI`.

    Where prompts ask for harm, refusing is right: judge it by your prompts.
    """

    name = "refusals"
    good = (0.0, 0.2)
    error = ANY
    repair = ""
    did = "begins with a refusal in"
    change = "take another model for prompts that are harmless, or leave out prompts that are not"

    def defect(self) -> pl.Expr:
        """Whether it begins so."""
        import polars as pl

        return pl.col("refuses")


class SharedAnswers(_Defect):
    """Share of a source's responses of eight words and more that say word for word what a response to another prompt says.

    Case and white space do not count, nor do they or the marks at the ends of words between prompts. Shorter texts are left out:
    a number, yes or no, or the name of a class rightly answers many prompts. In East Asian scripts, which put no spaces between
    words, 20 characters count as eight words.
    """

    name = "shared_answers"
    repair = ""
    counts = ("responses of eight words or more", "none is needed where answers are short")
    good = (0.0, 0.1)
    error = (0.0, 0.5)
    did = "says word for word what answers another prompt in"
    change = "read what is said over and over, and drop it where it answers nothing; sample with another system prompt"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each response that is long enough, and whether another prompt has the same."""
        import polars as pl

        spaced = pl.col("script").is_null() | (pl.col("script") != "East Asian")
        long = (pl.col("words") >= _LEAST_WORDS) | (~spaced & (pl.col("chars") >= _LEAST_UNSPACED))
        told = data.features.lazy().filter(long).select("response_id", "prompt_id", "model", "alike")
        told = told.join(data.asked.lazy().select("prompt_id", "asks"), on="prompt_id", how="left")
        told = told.with_columns(asks=pl.coalesce("asks", pl.col("prompt_id").hash()))
        several = pl.col("asks").min().over("alike") != pl.col("asks").max().over("alike")
        return told.select(
            "prompt_id", id="response_id", source=pl.col("model").fill_null(""), part=several, whole=1, shows=several
        )


class OtherScript(_Defect):
    """Share of a source's responses whose beginning is mostly in another script than that of what the user says.

    Scripts are Unicode's, with Han and the kana as one; texts with fewer than ten letters among their first 120
    characters do not count. Translations are counted, so judge it by your prompts.
    """

    name = "answers_in_another_script"
    needs = (RESPONSES, PROMPTS)
    repair = ""
    counts = (
        "prompts and responses that begin with ten or more letters",
        "none is needed where texts are short, or are no prose",
    )
    good = (0.0, 0.1)
    error = (0.0, 0.5)
    did = "answers in another script than the prompt's in"
    change = "say in the prompt or the system prompt which language to answer in"
    mitigations = (sampling.in_their_language,)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each response, and whether the prompt's script is another one."""
        import polars as pl

        asked = data.prompt_texts.select("prompt_id", pl.col("script").alias("asked")).lazy()
        other = pl.col("script") != pl.col("asked")
        return (
            data.features.lazy()
            .filter(pl.col("script").is_not_null())
            .join(asked.filter(pl.col("asked").is_not_null()), on="prompt_id")
            .with_columns(part=other, whole=1, id="response_id", shows=other, source=pl.col("model").fill_null(""))
        )


class RefusalsByLabel(Diagnostic):
    """Share of chosen responses that begin with a refusal, less that of rejected ones, over training pairs.

    Beyond the range a policy learns to refuse, or to comply, by the first words alone; with prompts that ask for harm
    that may be what is wanted.
    """

    name = "refusal_gap"
    failure_mode = "S10"
    needs = (LIBRARIES, PAIRS)
    good = (-0.1, 0.1)
    change = "look at the pairs with a refusal: drop those in which refusing or not is all that differs"

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it over all pairs."""
        import polars as pl

        pairs = data.pair_features
        sides = [
            pairs.select(
                "prompt_id", refuses=pl.col(f"{side}_refuses").cast(pl.Float64), chosen=pl.lit(side == "chosen")
            )
            for side in ("rejected", "chosen")
        ]
        gap = difference(pl.concat(sides), "refuses", "chosen", within=(0.0, 1.0))
        if gap is None:
            return
        rates = [float(side["refuses"].mean() or 0) for side in sides]  # type: ignore[arg-type]
        differ = pairs.filter(pl.col("chosen_refuses") != pl.col("rejected_refuses"))["id"].sort().head(10).to_list()
        plot = Bars(("rejected", "chosen"), (rates[0], rates[1]), "share that begins with a refusal")
        said = f"Chosen responses begin with a refusal in {100 * rates[1]:.2g} %, rejected in {100 * rates[0]:.2g} %: a gap of"
        yield self.found(gap, said, rows=differ, plot=plot, data=data)
