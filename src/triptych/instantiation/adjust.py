"""What is done to verdicts before they are joined: calibration on gold verdicts, and length taken out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from triptych.errors import MissingExtra, TriptychError

if TYPE_CHECKING:
    import polars as pl

_DECIMALS = 12


class Calibration(BaseModel):
    """Maps each evaluator's verdicts to the chance that the gold evaluator finds the response good.

    Fitted for each evaluator and criterion on the responses that both have judged, over all prompts; gold is good above
    0.5. `platt` fits a logistic curve (J. Platt, 1999), `isotonic` any rising one (B. Zadrozny and C. Elkan, 2002),
    `temperature` scales the verdict's log-odds by one number (arXiv:1706.04599). The gold verdicts themselves then do
    not enter the score.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gold: str
    """The name of the evaluator whose verdicts are taken for right, such as one of people's verdicts."""
    method: Literal["platt", "isotonic", "temperature"] = "isotonic"
    """The curve that is fitted."""
    min_gold: int = Field(default=30, ge=2)
    """Fewest responses with a gold verdict for each evaluator; with fewer nothing is made and the run says so."""

    def calibrated(self, said: pl.LazyFrame) -> pl.LazyFrame:
        """Replace the verdicts; those of the gold evaluator are left out.

        Raises `TriptychError` where there is too little gold, `MissingExtra` without scikit-learn.
        """
        import polars as pl

        gold, others = pl.col("evaluator") == self.gold, pl.col("evaluator") != self.gold
        truth = said.filter(gold).group_by("row").agg((pl.col("verdict").mean() > 0.5).alias("good")).collect()
        whole = said.filter(others).collect()
        each = ["evaluator_id", "criterion"]
        parts = [whole.clear()]
        for _, part in whole.group_by(each, maintain_order=True):
            means = part.group_by("row", maintain_order=True).agg(pl.col("verdict").mean())
            known = means.join(truth, on="row", maintain_order="left")
            self._check(known, part["evaluator"][0])
            levels = part["verdict"].unique().sort()
            mapped = self._fitted(known["verdict"].to_numpy(), known["good"].to_numpy(), levels.to_numpy())
            curve = pl.DataFrame({"verdict": levels, "calibrated": mapped.clip(0, 1)})
            parts.append(
                part.join(curve, on="verdict", how="left", maintain_order="left")
                .with_columns(pl.col("calibrated").round(_DECIMALS).alias("verdict"))
                .drop("calibrated")
            )
        return pl.concat(parts).lazy()

    def _check(self, known: pl.DataFrame, evaluator: str) -> None:
        if known.height < self.min_gold or known["good"].n_unique() < 2:
            kinds = "good and bad ones" if known.height >= self.min_gold else f"at least {self.min_gold}"
            raise TriptychError(
                f"{evaluator} can't be calibrated on {self.gold}: {known.height} of the responses that it judged have a "
                f"gold verdict, and {kinds} are needed. Judge more of them, or lower min_gold"
            )

    def _fitted(self, verdicts: Any, good: Any, at: Any) -> Any:
        """Fit the curve of goodness over verdicts, and read it at some."""
        try:
            from sklearn.isotonic import IsotonicRegression
            from sklearn.linear_model import LogisticRegression
        except ImportError as error:
            raise MissingExtra("calibration needs scikit-learn: pip install 'triptych[panels]'") from error
        if self.method == "isotonic":
            curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(verdicts, good.astype(float))
            return curve.predict(at)
        if self.method == "platt":
            platt = LogisticRegression(C=1e6).fit(verdicts.reshape(-1, 1), good)
            return platt.predict_proba(at.reshape(-1, 1))[:, 1]
        return _by_temperature(verdicts, good, at)


def _by_temperature(verdicts: Any, good: Any, at: Any) -> Any:
    """Scale the log-odds by what makes the gold verdicts likeliest."""
    from scipy.optimize import minimize_scalar
    from scipy.special import expit, log_expit, logit

    odds = logit(verdicts.clip(1e-6, 1 - 1e-6))

    def unlikely(log_scale: float) -> float:
        scaled = odds * 2.718281828459045**log_scale
        return -float((log_expit(scaled) * good + log_expit(-scaled) * ~good).sum())

    best = minimize_scalar(unlikely, bounds=(-6, 6), method="bounded")
    return expit(logit(at.clip(1e-6, 1 - 1e-6)) * 2.718281828459045**best.x)


def without_length(said: pl.LazyFrame, responses: pl.LazyFrame) -> pl.LazyFrame:
    """Take out of each verdict what the length of the response explains of it (see `_without`).

    Length is the logarithm of the characters. A difference that goes with length for a good reason is lost as well.
    """
    return _without(said, responses, {"length": _length()})


def without_style(said: pl.LazyFrame, responses: pl.LazyFrame) -> pl.LazyFrame:
    """Take out of each verdict what length and Markdown explain of it together (see `_without`).

    Markdown is counted as Chatbot Arena's style control counts it: headings, items of lists and bold spans, each as the
    logarithm of one more than their number. What goes with style for a good reason is lost as well.
    """
    return _without(said, responses, {"length": _length()} | {name: _marks(mark) for name, mark in _MARKDOWN.items()})


_MARKDOWN = {
    "headings": r"(?m)^ {0,3}#{1,6}\s",
    "items": r"(?m)^\s*(?:[-*+]|\d+[.)])\s",
    "bold": r"\*\*[^*\n]+\*\*|__[^_\n]+__",
}


def _length() -> pl.Expr:
    import polars as pl

    characters = pl.col("messages").list.eval(pl.element().struct.field("content").str.len_chars()).list.sum()
    return (characters + 1).log()


def _marks(pattern: str) -> pl.Expr:
    import polars as pl

    counted = pl.element().struct.field("content").str.count_matches(pattern)
    return (pl.col("messages").list.eval(counted).list.sum() + 1).log()


def _without(said: pl.LazyFrame, responses: pl.LazyFrame, features: dict[str, pl.Expr]) -> pl.LazyFrame:
    """Take the least-squares fit on features of the responses out of the verdicts, which stay in [0, 1].

    For each evaluator and criterion, over all prompts: verdicts and features, all less their mean over the prompt's
    responses. Each feature in turn is taken out of the verdicts and of the features after it, which is the same as
    fitting all at once.
    """
    import polars as pl

    known = responses.select(**features).with_row_index("row")
    by_prompt, by_judge = ["evaluator_id", "criterion", "prompt"], ["evaluator_id", "criterion"]
    away = [(pl.col(name) - pl.col(name).mean()).over(by_prompt) for name in (*features, "verdict")]
    left = said.join(known, on="row", how="left").with_columns(each.alias(f"{each.meta.output_name()}_away") for each in away)
    names = [f"{name}_away" for name in features]
    for place, name in enumerate(names):
        feature, rest = pl.col(name), [*names[place + 1 :], "verdict_away"]
        squares = (feature**2).sum().over(by_judge)
        slope = {
            other: pl.when(squares > 1e-12).then((feature * pl.col(other)).sum().over(by_judge) / squares).otherwise(0.0)
            for other in rest
        }
        left = left.with_columns(
            pl.col("verdict") - slope["verdict_away"] * feature,
            *(pl.col(other) - slope[other] * feature for other in rest),
        )
    return left.with_columns(pl.col("verdict").clip(0, 1).round(_DECIMALS)).drop(*features, *names, "verdict_away")
