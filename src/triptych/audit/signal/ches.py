"""How alike chosen and rejected responses are to a model: the CHES score, from a model's hidden states (I4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import mean
from triptych.audit.finding import Finding, Histogram
from triptych.audit.instantiation.strategies import each_strategy
from triptych.audit.needs import LIBRARIES, PAIRS, Need
from triptych.errors import MissingExtra, TriptychError
from triptych.store.run import Run
from triptych.store.tables import records

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_EXTRA = "pip install 'triptych[classifier]'"
_BINS = 20

HIDDEN = Need(
    "hidden states of the policy", "name the folder of a transformers model (see triptych.audit.signal.ches)",
    lambda data: data.ches is not None,
)  # fmt: skip


class Ches(Diagnostic):
    """How similar the hidden states of chosen and rejected responses are: the CHES score, normalised by length, <a, b> - <a, a>
    where a and b are the means of the last layer's hidden states from which the tokens of the chosen and the rejected response
    are predicted (arXiv:2410.08847); in the mean over pairs.

    The greater it is, the more the pair lowers the likelihood of the chosen response too. It has no scale that is the same for two
    models: the paper ranks pairs by it and keeps the lowest. The rows shown are those with the highest.
    """

    name = "ches"
    failure_mode = "I4"
    needs = (LIBRARIES, PAIRS, HIDDEN)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each strategy; rows are always shown, since they can be ranked whatever the mean is."""
        import msgspec
        import numpy as np

        assert data.ches is not None
        for strategy, pairs in each_strategy(data.pairs.join(data.ches, on="id")):
            found = mean(pairs, "ches_normalised")
            if found is not None:
                counts, edges = np.histogram(pairs["ches_normalised"].to_numpy(), bins=_BINS)
                plot = Histogram(tuple(map(float, edges)), tuple(map(float, counts)), "CHES, by length")
                said = f"The mean CHES score of {strategy} pairs, by length, is"
                told = self.found(found, said, subject=strategy, data=data, plot=plot)
                shown = tuple(pairs.top_k(10, by="ches_normalised").sort("id")["id"])
                yield msgspec.structs.replace(told, rows=shown)


def ches(
    run: Run,
    path: str | Path,
    *,
    most_pairs: int | None = None,
    max_tokens: int = 4096,
    progress: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """Compute the CHES score of pairs under a causal model of transformers in the folder `path`; what `Data.ches` takes.

    Prompts go through the tokenizer's chat template; the response's tokens are those that follow. `most_pairs` takes those with
    the least ids; pairs of which a text is longer than `max_tokens` tokens are left out. `progress` is told how many are done,
    of how many.

    Columns: id (of the pair), ches, ches_normalised. Raises `MissingExtra` where torch or transformers is missing, or the
    folder holds no model, `TriptychError` where the model can't be read.
    """
    import polars as pl

    tokenizer, model = _loaded(Path(path).expanduser())
    pairs = _pairs(run, most_pairs)
    rows = []
    for number, row in enumerate(pairs.iter_rows(named=True)):
        asks = [_openai(message) for message in records("prompts", [row | {"id": ""}])[0].messages]  # type: ignore[union-attr]
        hidden = [_hidden(tokenizer, model, asks, row[side], max_tokens) for side in ("chosen_says", "rejected_says")]
        if all(each is not None for each in hidden):
            a, b = hidden
            rows.append((row["pair"], _score(a.sum(0), b.sum(0)), _score(a.mean(0), b.mean(0))))
        if progress is not None:
            progress(number + 1, pairs.height)
    return pl.DataFrame(rows, {"id": pl.String, "ches": pl.Float64, "ches_normalised": pl.Float64}, orient="row")


def _score(a: Any, b: Any) -> float:
    return float(a @ b - a @ a)


def _openai(message: Any) -> dict[str, str]:
    return {"role": message.role, "content": message.content}


def _pairs(run: Run, most: int | None) -> pl.DataFrame:
    """Pairs of responses of one message, with the chat that they answer."""
    import polars as pl

    said = run.responses().filter(pl.col("messages").list.len() == 1)
    said = said.select("id", says=pl.col("messages").list.first().struct.field("content")).unique("id")
    place = pl.col("response_ids").list
    pairs = run.examples().filter((pl.col("kind") == "pair") & (pl.col("margin").fill_null(1.0) != 0))
    pairs = pairs.select(
        "prompt_id", pair="id", chosen=place.get(0, null_on_oob=True), rejected=place.get(1, null_on_oob=True)
    ).sort("pair")
    for side in ("chosen", "rejected"):
        pairs = pairs.join(said.rename({"says": f"{side}_says"}), left_on=side, right_on="id", maintain_order="left")
    prompts = run.prompts().select("id", "messages").unique("id")
    found = pairs.join(prompts, left_on="prompt_id", right_on="id", maintain_order="left")
    return (found if most is None else found.head(most)).collect()


def _loaded(folder: Path) -> tuple[Any, Any]:
    for package in ("transformers", "torch"):
        if find_spec(package) is None:
            raise MissingExtra(f"hidden states need {package}: {_EXTRA}")
    if not (folder / "config.json").is_file():
        raise MissingExtra(f"{folder} is no folder of a transformers model: it has no config.json")
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype="float32")
    except (OSError, ValueError, ImportError) as error:
        raise TriptychError(f"the model in {folder} can't be read: {error}") from error
    return tokenizer, model.eval()


def _hidden(tokenizer: Any, model: Any, asks: list[dict[str, str]], says: str | None, max_tokens: int) -> Any:
    """The hidden states from which the response's tokens are predicted, of shape (tokens, width); None where it has none."""
    import torch

    if says is None:
        return None
    text = tokenizer.apply_chat_template(asks, add_generation_prompt=True, tokenize=False)
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    spoken = tokenizer(says, add_special_tokens=False)["input_ids"]
    if not spoken or len(before) + len(spoken) > max_tokens:
        return None
    ids = torch.tensor([before + spoken], device=model.device)
    with torch.no_grad():
        states = model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states[-1][0]
    return states[len(before) - 1 : -1].double()
